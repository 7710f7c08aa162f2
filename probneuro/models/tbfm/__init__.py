"""Temporal basis function models: forecasts of the response to stimulation."""

from probneuro.models.tbfm.closed_form import Fit, FitOptions, fit_closed_form, fit_sessions
from probneuro.models.tbfm.compiled import (
    Compiled,
    FullForecast,
    FunctionalForecast,
    LowRankForecast,
    StreamingForecast,
    compile_forecast,
)
from probneuro.models.tbfm.dependence import independence_test, state_dependence
from probneuro.models.tbfm.evaluate import evaluate
from probneuro.models.tbfm.forecast import Forecaster, coverage
from probneuro.models.tbfm.generator import GeneratedForecaster, VariableProjection
from probneuro.models.tbfm.gradient import (
    AELSTM,
    LSSM,
    ForecastNetwork,
    GradientFit,
    NetworkForecaster,
    TBFMNetwork,
)
from probneuro.models.tbfm.online import update
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
    "AELSTM",
    "LSSM",
    "TBFM",
    "Compiled",
    "Fit",
    "FitOptions",
    "ForecastNetwork",
    "Forecaster",
    "FullForecast",
    "FunctionalForecast",
    "GeneratedForecaster",
    "GradientFit",
    "LowRankForecast",
    "NetworkForecaster",
    "StreamingForecast",
    "TBFMNetwork",
    "VariableProjection",
    "by_state",
    "compile_forecast",
    "coverage",
    "evaluate",
    "fit_closed_form",
    "fit_sessions",
    "independence_test",
    "mean_r2",
    "r2",
    "r2_by_channel",
    "r2_by_horizon",
    "state_dependence",
    "state_dependent_r2",
    "update",
]
