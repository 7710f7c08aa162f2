"""Closed-loop parts: what a controller wants, how it chooses, and how it is judged."""

from probneuro.control.costs import Cost, ReferenceTrajectory, TargetRange
from probneuro.control.finite_set import Outcome, choose, closed_loop
from probneuro.control.tasks import RangeTask, ReferenceTask, range_task, reference_task

__all__ = [
    "Cost",
    "Outcome",
    "RangeTask",
    "ReferenceTask",
    "ReferenceTrajectory",
    "TargetRange",
    "choose",
    "closed_loop",
    "range_task",
    "reference_task",
]
