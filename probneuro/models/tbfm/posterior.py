"""The exact posterior of the coefficients given bases and noise, and how a result holds it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, final

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from probneuro.core import names
from probneuro.core.closed_form import ClosedFormPosterior
from probneuro.core.engine import Arrays
from probneuro.core.errors import DataError
from probneuro.models.tbfm.closed_form import LEVELS, Fit, solve_channel
from probneuro.models.tbfm.design import Design, Scaling
from probneuro.models.tbfm.selection import Selection

Floats = NDArray[np.float64]

HORIZON_PAIR: Final = "horizon_of_pair"
FEATURE_PAIR: Final = "feature_of_pair"
DESCRIPTOR: Final = "descriptor"
TRIED: Final = "tried"
TRIED_BASES: Final = "tried_bases"

PARAMETER_DIMS: Final[Mapping[str, Sequence[str]]] = {
    "bases": (names.BASIS, names.HORIZON),
    "coefficient": (names.CHANNEL, names.REGRESSOR, names.BASIS),
    "weight": (names.CHANNEL, names.FEATURE, names.BASIS),
    "intercept": (names.CHANNEL, names.PATTERN, names.BASIS),
    "own_penalty": (),
    "cross_penalty": (),
    "noise_covariance": (names.CHANNEL, names.HORIZON, HORIZON_PAIR),
    "noise_scale": (names.CHANNEL, names.HORIZON),
    "error_quantile": (names.LEVEL, names.CHANNEL, names.HORIZON),
    "explained": (names.HORIZON,),
}
SCALING_DIMS: Final[Mapping[str, Sequence[str]]] = {
    "channel_scale": (names.CHANNEL,),
    "channel_alive": (names.CHANNEL,),
    "feature_mean": (names.PATTERN, names.FEATURE),
    "pulse_pattern": (names.PATTERN, DESCRIPTOR),
    "channel_level": (names.CHANNEL,),
    "carried": (),
    "channel_name": (names.CHANNEL,),
    "sampling_rate": (),
    "signal_unit": (),
    "state_dependent": (),
}
CONSTANT_DIMS: Final[Mapping[str, Sequence[str]]] = {
    **SCALING_DIMS,
    "pattern_count": (names.PATTERN,),
    "gram": (names.FEATURE, FEATURE_PAIR),
}
HISTORY_DIMS: Final[Mapping[str, Sequence[str]]] = {
    "own_penalty_per_trial": (TRIED,),
    "cross_penalty_per_trial": (TRIED,),
    "held_out_r2": (TRIED, TRIED_BASES),
}


@final
class TBFMPosterior(ClosedFormPosterior):
    r"""Matrix-normal posterior of every channel's coefficients.

    .. math::

        A_c \mid y \sim \mathcal{MN}\big(\hat A_c,\; (Z_c^\top Z_c + D_c)^{-1},\;
        B \Sigma_c B^\top\big)

    with Z the regressors of the channel's complete trials and D the penalties.

    Parameters
    ----------
    fit : Fit
        The closed-form fit.
    design : Design
        The trials that it was fitted to.
    """

    def __init__(self, fit: Fit, design: Design) -> None:
        self.fit, self.design = fit, design
        self._factors: list[tuple[Floats, Floats]] = []
        self._columns: Floats = np.linalg.cholesky(fit.basis_noise()).astype(np.float64)

    def factors(self) -> list[tuple[Floats, Floats]]:
        """Return each channel's mean, and the lower triangle of its rows' precision."""
        if not self._factors:
            fit = self.fit
            found: list[tuple[Floats, Floats]] = []
            for channel in range(len(fit.weight)):
                mean, precision = solve_channel(self.design, fit.bases, channel, fit.own, fit.cross)
                lower: Floats = np.linalg.cholesky(precision).astype(np.float64)
                found.append((mean, lower))
            self._factors = found
        return self._factors

    @property
    def columns(self) -> Floats:
        """Lower triangles of the noise along the bases, shape (channel, basis, basis)."""
        return self._columns

    def draw(self, rng: np.random.Generator) -> Arrays:
        """Return one draw of all coefficients, shape (channel, regressor, basis)."""
        drawn = []
        for (mean, lower), column in zip(self.factors(), self._columns, strict=True):
            noise = rng.normal(size=mean.shape)
            rows = solve_triangular(lower, noise, lower=True, trans="T")
            drawn.append(mean + rows @ column.T)
        return {"coefficient": np.stack(drawn)}

    def draw_size(self) -> int:
        """Return the bytes of one draw."""
        regressors = self.fit.weight.shape[1] + len(self.fit.counts)
        return self.fit.weight.shape[0] * regressors * len(self.fit.bases) * 8

    def parameters(self) -> Arrays:
        """Return the fit's estimates."""
        return parameters_of(self.fit)

    def constants(self) -> Arrays:
        """Return scales, means and second moments of the training trials."""
        return constants_of(self.fit)

    def history(self) -> Arrays:
        """Return the held-out scores of penalties and bases."""
        tried = self.fit.selection.tried
        named = (tried[:, 0], tried[:, 1], tried[:, 2:])
        return dict(zip(HISTORY_DIMS, named, strict=True))


def parameters_of(fit: Fit) -> Arrays:
    """Return a fit's estimates by name; see `PARAMETER_DIMS`."""
    return {
        "bases": fit.bases,
        "weight": fit.weight,
        "intercept": fit.intercept,
        "own_penalty": np.asarray(fit.own),
        "cross_penalty": np.asarray(fit.cross),
        "noise_covariance": fit.noise,
        "noise_scale": np.sqrt(np.diagonal(fit.noise, axis1=1, axis2=2)),
        "error_quantile": fit.quantiles,
        "explained": np.pad(fit.eigenvalues, (0, fit.bases.shape[1] - len(fit.eigenvalues))),
    }


def constants_of(fit: Fit) -> Arrays:
    """Return what a fit keeps of its trials by name; see `CONSTANT_DIMS`."""
    return {**fit.scaling.arrays(), "pattern_count": fit.counts, "gram": fit.gram}


def labels(
    channels: Sequence[str], runway: int, sampling_rate: float, horizon: int, patterns: int
) -> Mapping[str, Any]:
    """Return the labels of a result's dimensions; lags count back from the runway's end."""
    lags = np.arange(1 - runway, 1) / sampling_rate * 1e3
    features = [f"{channel}@{lag:g} ms" for channel in channels for lag in lags]
    times = np.arange(1, horizon + 1) / sampling_rate
    return {
        names.CHANNEL: list(channels),
        names.FEATURE: features,
        FEATURE_PAIR: features,
        names.REGRESSOR: [*(f"pattern {k}" for k in range(patterns)), *features],
        names.PATTERN: np.arange(patterns),
        names.HORIZON: times,
        HORIZON_PAIR: times,
        names.LEVEL: np.asarray(LEVELS),
    }


def fit_from_result(result: xr.DataTree) -> Fit:
    """Put a fit together from a result, as it was or read back from a file.

    Parameters
    ----------
    result : xarray.DataTree
        What `infer` returned for a TBFM under the closed-form engine.

    Returns
    -------
    Fit

    Raises
    ------
    DataError
        If the result is of another model or engine.
    """
    groups = set(result.children)
    if not {names.PARAMETERS, names.CONSTANT_DATA} <= groups or "bases" not in result["parameters"]:
        raise DataError(
            f"`result` holds no TBFM fit: its groups are {', '.join(sorted(groups)) or 'none'}. "
            "Pass what infer(TBFM(), trials) returned."
        )
    estimates = result[names.PARAMETERS].to_dataset()
    constants = result[names.CONSTANT_DATA].to_dataset()
    wanted = [name for name in PARAMETER_DIMS if name != "coefficient"]
    found: dict[str, NDArray[Any]] = {n: estimates[n].values[0, 0] for n in wanted}
    # Older results lack some; they tell channels by their labels alone.
    kept = {n: constants[n].values for n in CONSTANT_DIMS if n in constants}
    kept.setdefault("channel_name", estimates[names.CHANNEL].values)
    kept.setdefault("state_dependent", np.asarray(found["weight"].any()))
    own, cross, num_bases = (
        float(found["own_penalty"]), float(found["cross_penalty"]), len(found["bases"]),
    )  # fmt: skip
    total = float(kept["pattern_count"].sum())
    return Fit(
        scaling=Scaling.from_arrays(kept),
        bases=found["bases"], weight=found["weight"], intercept=found["intercept"], own=own,
        cross=cross, counts=kept["pattern_count"], gram=kept["gram"],
        noise=found["noise_covariance"], quantiles=found["error_quantile"],
        eigenvalues=found["explained"],
        selection=Selection(
            own=own / total, cross=cross / total, num_bases=num_bases, tried=np.zeros((0, 3))
        ),
    )  # fmt: skip
