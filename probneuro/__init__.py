"""probneuro: generative models of neural recordings and the inference that fits them."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from probneuro import az as az
    from probneuro.compare import compare as compare
    from probneuro.compare_rules import compare_rules as compare_rules
    from probneuro.connectivity import connectivity as connectivity
    from probneuro.convert.from_pyro import from_pyro as from_pyro
    from probneuro.convert.from_svi import from_pyro_svi as from_pyro_svi
    from probneuro.convert.log_density import compute_log_likelihood as compute_log_likelihood
    from probneuro.convert.log_density import compute_log_prior as compute_log_prior
    from probneuro.convert.predictive import predictions as predictions
    from probneuro.convert.predictive import (
        sample_posterior_predictive as sample_posterior_predictive,
    )
    from probneuro.convert.predictive import sample_prior_predictive as sample_prior_predictive
    from probneuro.core.results import load as load
    from probneuro.core.results import save as save
    from probneuro.data import SpikeTrains as SpikeTrains
    from probneuro.data import read_spikes as read_spikes
    from probneuro.infer import infer as infer
    from probneuro.lfo import lfo_cv as lfo_cv
    from probneuro.predictive_check import predictive_check as predictive_check

__version__ = "0.1.0"

_FACE: Final = {
    "SpikeTrains": "probneuro.data",
    "compare": "probneuro.compare",
    "compare_rules": "probneuro.compare_rules",
    "compute_log_likelihood": "probneuro.convert.log_density",
    "compute_log_prior": "probneuro.convert.log_density",
    "connectivity": "probneuro.connectivity",
    "from_pyro": "probneuro.convert.from_pyro",
    "from_pyro_svi": "probneuro.convert.from_svi",
    "infer": "probneuro.infer",
    "lfo_cv": "probneuro.lfo",
    "load": "probneuro.core.results",
    "predictive_check": "probneuro.predictive_check",
    "predictions": "probneuro.convert.predictive",
    "read_spikes": "probneuro.data",
    "sample_posterior_predictive": "probneuro.convert.predictive",
    "sample_prior_predictive": "probneuro.convert.predictive",
    "save": "probneuro.core.results",
}

__all__ = ["__version__", "az", *_FACE]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import probneuro`` is quick."""
    if name == "az":
        return import_module("probneuro.az")
    if name not in _FACE:
        raise AttributeError(f"module 'probneuro' has no attribute '{name}'")
    value = getattr(import_module(_FACE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """Keeps ``probneuro.infer`` the function, whoever imports the module of that name first."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _FACE and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
