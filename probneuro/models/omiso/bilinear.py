"""The Bayesian bilinear response model as a Pyro program."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoMultivariateNormal

from probneuro.components.bilinear import BilinearPosterior, bilinear_features
from probneuro.core.model import Model
from probneuro.data.latent_trials import LatentTrials
from probneuro.models.omiso.response import MINAI


@final
@dataclass(frozen=True, kw_only=True)
class BilinearResponse(Model):
    r"""Responses that are linear in the pattern, and in its product with the state.

    .. math:: y_k \sim N(W' [1, z_k, s_k, s_k \otimes z_k], \mathrm{diag}(\sigma^2)), \qquad
              W_{fl} \sim N(0, v_f \sigma_l^2 / \bar\sigma^2)

    Its posterior is known exactly (`posterior`), and moves on with every trial.

    Parameters
    ----------
    drive_scale, state_scale : float
        Prior sd of an electrode's effect, and of how it hangs on a latent.
    noise_variance : float
        Of a trial.

    Notes
    -----
    Ours. Its exact inverse over all patterns is the probabilistic policy beside the paper's.

    Examples
    --------
    >>> trials = LatentTrials(np.eye(4), np.zeros((4, 5, 2)), np.ones((4, 2)))
    >>> BilinearResponse().posterior(trials).mean.shape
    (15, 2)
    """

    drive_scale: float = 0.6
    state_scale: float = 0.6
    noise_variance: float = 0.5

    name = "omiso_bilinear"
    references = (MINAI,)

    def prior(self, data: LatentTrials) -> BilinearPosterior:
        """Return the prior of the weights for trials of this size."""
        return BilinearPosterior.prior(
            data.patterns.shape[1], data.after.shape[1], drive_scale=self.drive_scale,
            state_scale=self.state_scale, noise_variance=self.noise_variance,
        )  # fmt: skip

    def features(self, data: LatentTrials) -> Any:
        """Return the features of trials, from the last bin before stimulation."""
        return bilinear_features(data.patterns, data.before[:, -1])

    def posterior(self, data: LatentTrials) -> BilinearPosterior:
        """Return the exact posterior."""
        return self.prior(data).updated(self.features(data), data.after)

    def model(self, data: LatentTrials) -> None:
        """Run the program on trials."""
        prior = self.prior(data)
        variances = np.diagonal(prior.covariance)[:, None] * prior.noise_variance
        scale = torch.tensor(np.sqrt(variances))
        law = dist.Normal(torch.tensor(prior.mean), scale).to_event(2)
        weights = pyro.sample("weights", law)
        mean = torch.tensor(self.features(data)) @ weights
        noise = torch.tensor(np.sqrt(prior.noise_variance))
        with pyro.plate("trial", len(data)):
            pyro.sample("after", dist.Normal(mean, noise).to_event(1), obs=torch.tensor(data.after))

    def guide(self, data: LatentTrials) -> Any:
        """Run a normal guide: the exact posterior is of its form."""
        return AutoMultivariateNormal(self.model)(data)

    def dims(self) -> Mapping[str, Sequence[str]]:
        """Return the dimensions of every site."""
        return {"weights": ["feature", "latent"], "after": ["trial", "latent"]}

    def coords(self, data: LatentTrials) -> Mapping[str, Any]:
        """Return labels of features, as ``electrode x latent``."""
        base = ["1", *(f"z{i}" for i in range(data.after.shape[1]))]
        crossed = [f"s{e}*{name}" for e in range(data.patterns.shape[1]) for name in base]
        return {"feature": [*base, *crossed], "latent": np.arange(data.after.shape[1])}
