"""Exact posteriors of small state-space models, parameters and trajectories together."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pyro import distributions as dist

from probneuro.core.state_space import Series, StateSpaceModel
from probneuro.inference.state_space import simulate
from probneuro.testing.state_space import (
    FiniteChain,
    LinearGaussian,
    forward_backward,
    kalman,
)

Floats = NDArray[np.float64]
# Rates and counts that leave every state likely at every time: moments of rare events are
# no test of a short chain.
CHAIN = FiniteChain((1.0, 2.0, 4.0))
COUNTS = Series([1, 0, 4, 3, 2, 1])
PAIR = simulate(LinearGaussian(), {"decay": 0.9, "noise": 0.5}, 3, seed=2).series


@dataclass(frozen=True)
class Exact:
    """Posterior means and variances by name; of the state, those of every time."""

    mean: dict[str, Floats]
    variance: dict[str, Floats]


def exact_chain() -> Exact:
    """The finite chain's, by quadrature over how persistent it is."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    stay = 0.5 * (nodes + 1.0)
    prior = dist.Beta(4.0, 2.0).log_prob(torch.as_tensor(stay)).exp().numpy()
    found = [forward_backward(CHAIN, {"stay": s}, COUNTS) for s in stay]
    states = np.arange(3.0)
    first = np.stack([f.mean @ states for f in found])
    second = np.stack([f.mean @ states**2 for f in found])
    evidence = np.exp([f.log_evidence for f in found])
    return _moments(weights * prior * evidence, {"stay": stay}, first, second)


def exact_pair() -> Exact:
    """The linear-Gaussian model's, by quadrature over decay and the logarithm of the noise."""
    nodes, weights = np.polynomial.legendre.leggauss(36)
    decay, log_noise = np.meshgrid(0.8 + 1.4 * nodes, -0.7 + 2.6 * nodes, indexing="ij")
    decay, noise = decay.ravel(), np.exp(log_noise.ravel())
    prior = np.exp(-0.5 * ((decay - 0.8) / 0.3) ** 2 - 0.5 * ((np.log(noise) + 0.7) / 0.5) ** 2)
    found = [
        kalman(LinearGaussian(), {"decay": d, "noise": s}, PAIR)
        for d, s in zip(decay, noise, strict=True)
    ]
    first = np.stack([f.mean for f in found])
    spread = np.stack([np.einsum("tkk->tk", f.covariance) for f in found])
    evidence = np.exp([f.log_evidence for f in found])
    weight = np.outer(weights, weights).ravel() * prior * evidence
    return _moments(weight, {"decay": decay, "noise": noise}, first, first**2 + spread)


def _moments(weight: Floats, values: dict[str, Floats], first: Floats, second: Floats) -> Exact:
    share = weight / weight.sum()
    mean = {name: np.asarray(share @ value) for name, value in values.items()}
    variance = {n: np.asarray(share @ (v - mean[n]) ** 2) for n, v in values.items()}
    mean["state"] = np.tensordot(share, first, 1)
    variance["state"] = np.tensordot(share, second, 1) - mean["state"] ** 2
    return Exact(mean, variance)


CASES: dict[str, tuple[StateSpaceModel, object]] = {
    "finite_chain": (CHAIN, COUNTS),
    "linear_gaussian": (LinearGaussian(), PAIR),
}
EXACT = {"finite_chain": exact_chain, "linear_gaussian": exact_pair}
