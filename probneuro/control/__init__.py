"""Closed-loop parts: controllers, policies, what keeps stimulation safe, and experiments."""

from probneuro.control.adaptive import AdaptivePolicy, Choice, Policy, Trial
from probneuro.control.baselines import MiSO, NoStimulation, RandomPattern, Static
from probneuro.control.bayesian import BayesianBilinear
from probneuro.control.costs import Cost, ReferenceTrajectory, TargetRange
from probneuro.control.experiment import Experiment, ExperimentLog, Rig, SimulatedRig, replay
from probneuro.control.finite_set import Outcome, choose, closed_loop
from probneuro.control.inverse_network import InverseNetwork
from probneuro.control.inverse_policy import ExactInverse, InversePolicy
from probneuro.control.model_store import ModelStore
from probneuro.control.patterns import PatternSet
from probneuro.control.readout import Readout
from probneuro.control.response_cache import ResponseCache
from probneuro.control.safety import SafeOutput, SafetyLimits, SafetyState, make_safe
from probneuro.control.tasks import RangeTask, ReferenceTask, range_task, reference_task
from probneuro.control.tuning import TunedPolicy, tune_policy

__all__ = [
    "AdaptivePolicy",
    "BayesianBilinear",
    "Choice",
    "Cost",
    "ExactInverse",
    "Experiment",
    "ExperimentLog",
    "InverseNetwork",
    "InversePolicy",
    "MiSO",
    "ModelStore",
    "NoStimulation",
    "Outcome",
    "PatternSet",
    "Policy",
    "RandomPattern",
    "RangeTask",
    "Readout",
    "ReferenceTask",
    "ReferenceTrajectory",
    "ResponseCache",
    "Rig",
    "SafeOutput",
    "SafetyLimits",
    "SafetyState",
    "SimulatedRig",
    "Static",
    "TargetRange",
    "Trial",
    "TunedPolicy",
    "choose",
    "closed_loop",
    "make_safe",
    "range_task",
    "reference_task",
    "replay",
    "tune_policy",
]
