"""Temporal basis function models: forecasts of the response to stimulation."""

from probneuro.models.tbfm.compiled import (
    Compiled,
    FullForecast,
    FunctionalForecast,
    LowRankForecast,
    StreamingForecast,
    compile_forecast,
)
from probneuro.models.tbfm.forecast import Forecaster, coverage
from probneuro.models.tbfm.program import TBFM
from probneuro.models.tbfm.scores import (
    by_state,
    mean_r2,
    r2,
    r2_by_channel,
    r2_by_horizon,
    state_dependent_r2,
)

__all__ = [
    "TBFM",
    "Compiled",
    "Forecaster",
    "FullForecast",
    "FunctionalForecast",
    "LowRankForecast",
    "StreamingForecast",
    "by_state",
    "compile_forecast",
    "coverage",
    "mean_r2",
    "r2",
    "r2_by_channel",
    "r2_by_horizon",
    "state_dependent_r2",
]
