"""Maximum likelihood of factor analyses: profile likelihood, or expectation maximisation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from probneuro.core.engine import Engine, RunOptions
from probneuro.core.errors import CapabilityError, SettingError
from probneuro.core.factor_analysis import FLOOR, HasFactorMoments, fit_em, fit_profile
from probneuro.core.names import PARAMETERS
from probneuro.core.results import FIT_HISTORY, build_result


@dataclass(frozen=True, kw_only=True)
class FactorLikelihood(Engine):
    r"""Parameters of a factor analysis with the highest likelihood, in milliseconds.

    .. math:: \max_{\mu, \Lambda, \Psi} \; \sum_n \log N(x_n \mid \mu, \Lambda\Lambda' + \Psi)

    Group ``parameters`` holds the estimate and the latents' posterior means; there is no
    uncertainty of the parameters in the result.

    Parameters
    ----------
    by_em : bool
        Expectation maximisation instead of profile likelihood: the paper's way, and lower on weak
        factors.
    floor : float
        Least private variance, as a share of the electrode's variance.

    Raises
    ------
    SettingError
        If the floor is not a share below one.

    Notes
    -----
    Source: `probneuro.core.factor_analysis`.

    Examples
    --------
    >>> from probneuro import infer
    >>> from probneuro.models.omiso import FactorAnalysis
    >>> rng = np.random.default_rng(0)
    >>> counts = rng.normal(size=(200, 1)) + rng.normal(size=(200, 6))
    >>> result = infer(FactorAnalysis(num_latents=1), counts, engine=FactorLikelihood(), seed=1,
    ...                progress=False)
    >>> result["parameters/loading"].dims
    ('chain', 'draw', 'electrode', 'latent')
    """

    by_em: bool = False
    floor: float = FLOOR

    def __post_init__(self) -> None:
        if not 0 <= self.floor < 1:
            raise SettingError(
                f"`floor` must be a share from 0 to below 1; got {self.floor!r}. Pass 1e-6."
            )

    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        """Fit, and return the estimate."""
        if not isinstance(model, HasFactorMoments):
            raise CapabilityError(
                "FactorLikelihood fits models whose likelihood is that of a factor analysis; "
                f"{type(model).__name__} says no such thing. Use NUTS() or SVI()."
            )
        fitted = fit_em if self.by_em else fit_profile
        moments = model.factor_moments(*args, **kwargs)
        fit = fitted(moments, model.num_latents, floor=self.floor)
        found = {
            "mean": fit.mean, "loading": fit.loading, "noise_variance": fit.noise_variance,
            "latent_mean": model.factor_latents(fit, *args, **kwargs),
        }  # fmt: skip
        groups: dict[str, Mapping[str, Any]] = dict(options.groups)
        groups[PARAMETERS] = {name: value[None, None] for name, value in found.items()}
        groups[FIT_HISTORY] = {
            "log_likelihood": np.array(fit.log_likelihood),
            "evaluations": np.array(fit.iterations),
        }
        dims: dict[str, list[str]] = {
            f"{FIT_HISTORY}/log_likelihood": [],
            f"{FIT_HISTORY}/evaluations": [],
        }
        return build_result({}, dims={**options.dims, **dims}, coords=options.coords, groups=groups)
