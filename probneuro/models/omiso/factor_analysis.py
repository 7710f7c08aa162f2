"""Factor analysis of binned spike counts as a Pyro program."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from numpy.typing import NDArray
from pyro.infer.autoguide import AutoNormal
from torch.distributions import constraints

from probneuro.core.engine import Engine
from probneuro.core.factor_analysis import (
    FactorFit,
    FactorMoments,
    HasFactorMoments,
    check_num_latents,
)
from probneuro.core.model import HasDefaultEngine, Model, Reference
from probneuro.core.registry import load

Floats = NDArray[np.float64]

RUBIN = Reference(
    "Rubin DB, Thayer DT", 1982, "EM algorithms for ML factor analysis", "Psychometrika 47"
)


@final
@dataclass(frozen=True, kw_only=True)
class FactorAnalysis(Model, HasFactorMoments, HasDefaultEngine):
    r"""Few latents behind the counts of many electrodes.

    .. math:: z_j \sim N(0, I), \qquad x_j \mid z_j \sim N(\Lambda z_j + \mu, \Psi)

    Priors are flat, so that the mode is the maximum of the likelihood. Latents are summed out.

    Parameters
    ----------
    num_latents : int
        m, fewer than electrodes. The paper has 5.

    Notes
    -----
    Source: Minai et al. (2025), Eq. 1. Data are counts of shape (time, electrode); 50 ms bins of
    trials without stimulation there.

    Latents are identified up to a rotation. `FactorLikelihood` returns the canonical one;
    samplers wander among all of them.

    Examples
    --------
    >>> import pyro
    >>> counts = np.random.default_rng(0).poisson(2.0, size=(50, 6))
    >>> point = {"mean": torch.zeros(6), "loading": torch.ones(6, 1),
    ...          "noise_variance": torch.ones(6)}
    >>> at = pyro.poutine.condition(FactorAnalysis(num_latents=1).model, data=point)
    >>> pyro.poutine.trace(at).get_trace(counts).nodes["counts"]["value"].shape
    torch.Size([50, 6])
    """

    num_latents: int = 5

    name = "factor_analysis"
    references = (RUBIN,)

    def model(self, data: Any) -> None:
        """Run the program on counts of shape (time, electrode)."""
        counts = torch.as_tensor(np.asarray(data), dtype=torch.float64)
        size = counts.shape[1]
        check_num_latents(self.num_latents, size)
        flat = dist.ImproperUniform
        mean = pyro.sample("mean", flat(constraints.real, (), (size,)))
        loading = pyro.sample("loading", flat(constraints.real, (), (size, self.num_latents)))
        noise = pyro.sample("noise_variance", flat(constraints.positive, (), (size,)))
        law = dist.LowRankMultivariateNormal(mean.double(), loading.double(), noise.double())
        with pyro.plate("time", len(counts)):
            pyro.sample("counts", law, obs=counts)

    def guide(self, data: Any) -> Any:
        """Run a normal guide."""
        return AutoNormal(self.model)(data)

    def dims(self) -> Mapping[str, Sequence[str]]:
        """Return the dimensions of every site."""
        return {
            "mean": ["electrode"],
            "loading": ["electrode", "latent"],
            "noise_variance": ["electrode"],
            "latent_mean": ["time", "latent"],
        }

    def coords(self, data: Any) -> Mapping[str, Any]:
        """Return labels of electrodes and latents."""
        return {
            "electrode": np.arange(np.shape(data)[1]),
            "latent": np.arange(self.num_latents),
        }

    def default_engine(self) -> Engine:
        """Return the exact maximiser."""
        engine: Engine = load("engine", "factor_likelihood")()
        return engine

    def factor_moments(self, data: Any) -> FactorMoments:
        """Return the moments of the counts."""
        return FactorMoments.of(data)

    def factor_latents(self, fit: FactorFit, data: Any) -> Floats:
        """Return posterior means of the latents."""
        return fit.posterior_mean(data)
