"""The temporal basis function model as a Pyro program, and its exact guide."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final
from weakref import WeakKeyDictionary

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from probneuro.core.closed_form import HasClosedForm
from probneuro.core.engine import Engine
from probneuro.core.model import DescribesData, HasDefaultEngine, Model, Reference
from probneuro.core.registry import load
from probneuro.data import StimTrials
from probneuro.models.tbfm.closed_form import FitOptions, fit_closed_form, prior_precision
from probneuro.models.tbfm.design import design_of
from probneuro.models.tbfm.matrix_normal import MatrixNormal
from probneuro.models.tbfm.posterior import (
    CONSTANT_DIMS,
    HISTORY_DIMS,
    PARAMETER_DIMS,
    TBFMPosterior,
    labels,
)

BRYAN = Reference(
    "Bryan MJ, Schwock F, Yazdan-Shahmorad A, Rao RPN",
    2025,
    "Temporal Basis Function Models for Closed-Loop Neural Stimulation",
    "arXiv",
    "arXiv:2507.15274",
)

_FITS: WeakKeyDictionary[StimTrials, dict[Any, TBFMPosterior]] = WeakKeyDictionary()
"""Fits of trials that are still in use: a program that is run again need not fit again."""


@final
@dataclass(frozen=True, kw_only=True)
class TBFM(Model, HasClosedForm, HasDefaultEngine, DescribesData):
    r"""Forecast of the response to stimulation: a few temporal bases, weighted by the state.

    .. math::

        y_{n,c} = x_{n,c,r} \mathbf 1 + s_c\, B^\top (\alpha_{c,k(n)} + A_c \tilde x_n)
        + s_c\, \varepsilon_{n,c}, \qquad
        \varepsilon_{n,c} \sim \mathcal N(0, \Sigma_c), \qquad
        A_c \sim \mathcal{MN}(0, D_c^{-1}, B \Sigma_c B^\top)

    with x the runway of all channels, standardised, B the bases over the horizon, and k the pulse
    pattern of trial n. Bases, noise and penalties D are set from the data in closed form (empirical
    Bayes); given them the posterior is exact.

    Parameters
    ----------
    num_bases : int or None
        Temporal bases; None chooses on held-out trials.
    own, cross : float or None
        Prior precision, a training trial, of weights from a channel's own lags and from other
        channels'; None chooses.
    max_bases : int
        Most bases to choose from.
    held_out : float
        Share of the training trials, the last ones, on which to choose.
    carry : bool
        Whether forecasts start from the runway's last sample, as in the paper; if not, from the
        channel's mean, which suits signals that soon forget.
    state_dependent : bool
        False for the paper's state-agnostic control: the same response from every state.

    Raises
    ------
    SettingError
        If a setting is out of its range.

    Notes
    -----
    Source: Bryan et al. (2025), section 3.3. Deviations: bases have a global optimum in closed
    form where the paper trains a network by gradient descent; the penalty is squared, and two; the
    noise is Gaussian with a full covariance over time for each channel, whose blocks between the
    bases and the rest are zero; different pulse patterns have their own mean response and share
    everything else.

    Examples
    --------
    >>> from probneuro.simulators.stim_lfp import simulate_ou
    >>> trials = simulate_ou(60, 2, seed=1).trials
    >>> trace = pyro.poutine.trace(TBFM(num_bases=2, own=0.01, cross=10.0).model).get_trace(trials)
    >>> tuple(trace.nodes["coefficient"]["value"].shape)
    (2, 41, 2)
    """

    num_bases: int | None = None
    own: float | None = None
    cross: float | None = None
    max_bases: int = 20
    held_out: float = 0.2
    carry: bool = True
    state_dependent: bool = True

    name = "tbfm"
    references = (BRYAN,)

    def __post_init__(self) -> None:
        self._options()

    def _options(self) -> FitOptions:
        return FitOptions(
            num_bases=self.num_bases, own=self.own, cross=self.cross,
            max_bases=self.max_bases, held_out=self.held_out,
            carry=self.carry, state_dependent=self.state_dependent,
        )  # fmt: skip

    def closed_form(self, data: StimTrials) -> TBFMPosterior:
        """Return the exact posterior given trials; trials still in use are not fitted twice."""
        fits = _FITS.setdefault(data, {})
        if self not in fits:
            fit = fit_closed_form(data, self._options())
            design = design_of(data, fit.scaling)
            fits[self] = TBFMPosterior(fit, design)
        return fits[self]

    def model(self, data: StimTrials) -> Tensor:
        """Run the generative program, given the runways."""
        posterior = self.closed_form(data)
        fit, design = posterior.fit, posterior.design
        columns = torch.as_tensor(posterior.columns)
        spread = [prior_precision(fit.scaling, c, fit.own, fit.cross) for c in range(len(columns))]
        scale = columns[:, None] / torch.as_tensor(np.stack(spread)).sqrt()[:, :, None, None]
        channels = pyro.plate("channel", len(columns), dim=-1)
        with channels:
            zero = torch.zeros(scale.shape[:-1], dtype=scale.dtype)
            law = dist.MultivariateNormal(zero, scale_tril=scale).to_event(1)
            coefficient = pyro.sample("coefficient", law)
        # A batch of draws stands to the left of both plates; trials then have length one.
        flat = coefficient.squeeze(-4) if coefficient.dim() > 3 else coefficient
        path = torch.einsum("np,...cpb->...ncb", torch.as_tensor(design.regressors), flat)
        units = torch.as_tensor(fit.scaling.scale)
        start = torch.as_tensor(np.array(fit.scaling.start(data.runways)))
        mean = start + units[:, None] * (path @ torch.as_tensor(fit.bases))
        lower = units[:, None, None] * torch.linalg.cholesky(torch.as_tensor(fit.noise))
        observed = torch.as_tensor(design.observed)
        values = torch.as_tensor(np.array(data.response, dtype=np.float64))
        with pyro.plate("trial", len(values), dim=-2), channels:
            filled = torch.where(observed[:, :, None], values, torch.zeros(()).double())
            safe = torch.where(observed[:, :, None], mean, torch.zeros(()).double())
            law = dist.MultivariateNormal(safe, scale_tril=lower, validate_args=False)
            return pyro.sample("response", law.mask(observed), obs=filled)

    def guide(self, data: StimTrials) -> Any:
        """Run the guide, which is the exact posterior."""
        posterior = self.closed_form(data)
        means, lowers = zip(*posterior.factors(), strict=True)
        law = MatrixNormal(
            torch.as_tensor(np.stack(means)),
            torch.as_tensor(np.stack(lowers)),
            torch.as_tensor(posterior.columns),
        )
        with pyro.plate("channel", len(means), dim=-1):
            return {"coefficient": pyro.sample("coefficient", law)}

    def dims(self) -> Mapping[str, Sequence[str]]:
        """Return the named dimensions of every recorded variable."""
        return {**PARAMETER_DIMS, **CONSTANT_DIMS, **HISTORY_DIMS}

    def coords(self, data: StimTrials) -> Mapping[str, Any]:
        """Return the labels of every dimension for these trials."""
        return labels(
            data.channels, data.runway, data.sampling_rate, data.horizon, len(data.patterns)
        )

    def default_engine(self) -> Engine:
        """Return the closed-form engine."""
        engine: Engine = load("engine", "closed_form")()
        return engine

    def data_groups(self, data: StimTrials) -> Mapping[str, Mapping[str, Any]]:
        """Return nothing: trials are too large to stand in every result."""
        return {}

    def attributes(self) -> Mapping[str, Any]:
        """Return the settings that were given."""
        return {"carry": self.carry, "state_dependent": self.state_dependent}
