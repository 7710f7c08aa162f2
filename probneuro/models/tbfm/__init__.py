"""Temporal basis function models: forecasts of the response to stimulation."""

from probneuro.models.tbfm.program import TBFM

__all__ = ["TBFM"]
