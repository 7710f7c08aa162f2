"""A policy that knows how uncertain it is: exact Bayesian updates, exact search over patterns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from probneuro.components.bilinear import BilinearPosterior, bilinear_features
from probneuro.control.adaptive import AdaptivePolicy, Choice, Trial, matching_arrays
from probneuro.control.patterns import PatternSet

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class BayesianBilinear(AdaptivePolicy):
    r"""The pattern of least expected error under a bilinear response model, or of one draw.

    .. math:: S_k = \arg\min_S \sum_l E\,|z^{targ}_l - z^{post}_l(S, Z)|

    Weights drift between trials, so that the posterior stays open to change.

    Parameters
    ----------
    patterns : PatternSet
        To choose from.
    posterior : BilinearPosterior
        What is known of the weights.
    drift : float
        Added to the variance of each weight of stimulation a trial, as a share of `noise_variance`.
    thompson : bool
        Choose by one draw of the weights: exploration in proportion to the chance to be best.

    Notes
    -----
    Ours. Without Thompson draws the best pattern by posterior means is taken: noise that is equal
    for all patterns leaves their order by expected error nearly as it is by distance.

    Examples
    --------
    >>> prior = BilinearPosterior.prior(4, 1)
    >>> policy = BayesianBilinear(patterns=PatternSet(4, 2), posterior=prior)
    >>> rng = np.random.default_rng(0)
    >>> trial = Trial(np.ones(1), np.zeros((5, 1)), (1, 2), np.ones(1))
    >>> policy.learned([trial] * 9).choose(np.ones(1), np.zeros((5, 1)), 0, rng).electrodes
    (1, 2)
    """

    patterns: PatternSet
    posterior: BilinearPosterior
    drift: float = 0.0
    thompson: bool = False

    def predict(self, before: Floats, weights: Floats | None = None) -> Floats:
        """Return expected latents of all patterns, shape (pattern, latent)."""
        used = self.posterior.mean if weights is None else weights
        base = np.concatenate([[1.0], before[-1]])
        split = len(base)
        each = np.tensordot(base, used[split:].reshape(-1, split, used.shape[1]), axes=(0, 1))
        found = each.T @ self.patterns.weights.T
        found += (base @ used[:split])[:, None]
        latents: Floats = found.T
        return latents

    def choose(
        self, target: Floats, before: Floats, trial: int, rng: np.random.Generator
    ) -> Choice:
        """Return the best pattern by posterior means, or by one draw."""
        weights = self.posterior.drawn(rng) if self.thompson else None
        error = self.predict(before, weights).T - np.asarray(target)[:, None]
        best = int(np.abs(error, out=error).sum(axis=0).argmin())
        return Choice(tuple(int(e) for e in self.patterns.members[best]), explored=self.thompson)

    def learned(self, trials: Sequence[Trial]) -> "BayesianBilinear":
        """Return the policy after the exact update with each trial, in order."""
        posterior = self.posterior
        for trial in trials:
            marks = np.zeros((1, self.patterns.num_candidates))
            marks[0, list(trial.electrodes)] = 1
            base = 1 + trial.before.shape[1]
            moved = np.zeros(len(posterior.mean))
            moved[base:] = self.drift
            phi = bilinear_features(marks, trial.before[-1:])
            posterior = posterior.drifted(moved).updated(phi, trial.after[None])
        return replace(self, posterior=posterior)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return mean, covariance and noise of the posterior."""
        held = self.posterior
        return {
            "mean": held.mean, "covariance": held.covariance, "noise_variance": held.noise_variance
        }  # fmt: skip

    def with_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> "BayesianBilinear":
        """Return the policy with another posterior."""
        return replace(self, posterior=BilinearPosterior(**matching_arrays(arrays, self.arrays())))
