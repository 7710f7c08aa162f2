"""Bridge sampling: the evidence from draws of a posterior, as a check of another estimate."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from scipy.linalg import solve_triangular
from scipy.special import expit, logsumexp

from probneuro.core.convergence import measure
from probneuro.core.errors import DataError, InferenceError
from probneuro.core.model import Model
from probneuro.core.names import CHAIN, DRAW, POSTERIOR
from probneuro.core.rng import generator, resolve_seed
from probneuro.inference.target import Floats
from probneuro.inference.tempering import TemperedDensity, read_tempered

_ROUNDS: Final = 1000
_CONVERGED: Final = 1e-10
_FEWEST: Final = 20


@dataclass(frozen=True)
class BridgeEvidence:
    """An estimate of the log evidence.

    Parameters
    ----------
    log_evidence : float
        In nats.
    error : float
        Its standard error.
    """

    log_evidence: float
    error: float


def bridge_evidence(
    result: xr.DataTree,
    model: Model | Callable[..., Any],
    *args: Any,
    seed: int | None = 0,
    **kwargs: Any,
) -> BridgeEvidence:
    r"""Estimate the log evidence from a result's posterior draws by bridge sampling.

    Meng & Wong's (1996) optimal bridge between the posterior and a proposal g, solved by
    iteration,

    .. math::

        \hat p(y) = \frac{\frac{1}{n_2} \sum_j \frac{l(\tilde u_j)}{s_1 l(\tilde u_j) +
        s_2 \hat p(y)}}{\frac{1}{n_1} \sum_i \frac{1}{s_1 l(u_i) + s_2 \hat p(y)}},
        \qquad l = \frac{p(u)\, p(y \mid u)}{g(u)}

    in unconstrained space, with :math:`u_i` posterior draws and :math:`\tilde u_j` from g. Half
    of each chain fits g, a normal made symmetric with the posterior (Warp-III of Meng &
    Schilling 2002); the other half is bridged. The error is that of Frühwirth-Schnatter
    (2004), autocorrelation included.

    Parameters
    ----------
    result : xarray.DataTree
        Of any engine, with all latent sites in ``posterior``.
    model : Model or callable
        The model or Pyro program it was fitted with.
    *args, **kwargs
        The program's arguments.
    seed : int or None
        Of the proposal's draws.

    Returns
    -------
    BridgeEvidence
        Log evidence and its error in nats.

    Raises
    ------
    DataError
        If the result lacks a latent site, or has too few draws.
    CapabilityError
        If a prior is improper.
    InferenceError
        If the iteration does not settle.

    Notes
    -----
    Right as far as the draws are: a mode that they miss is missing from the evidence, with no
    sign. The error leaves out that the proposal was fitted.

    Examples
    --------
    >>> import pyro, pyro.distributions as dist, torch
    >>> from probneuro.core.results import build_result
    >>> def coin(heads):
    ...     bias = pyro.sample("bias", dist.Beta(1.0, 1.0))
    ...     pyro.sample("heads", dist.Binomial(10, bias), obs=heads)
    >>> exact = np.random.default_rng(0).beta(8, 4, size=(4, 1000))
    >>> found = bridge_evidence(build_result({"bias": exact}), coin, torch.tensor(7.0))
    >>> bool(abs(found.log_evidence - np.log(1 / 11)) < 4.9 * found.error)
    True
    """
    program = model.model if isinstance(model, Model) else model
    posterior = result[POSTERIOR].to_dataset() if POSTERIOR in result.children else xr.Dataset()
    size = posterior.sizes.get(CHAIN, 0) * (posterior.sizes.get(DRAW, 0) // 2)
    if size < _FEWEST:
        raise DataError(
            f"`result` has {2 * size} draws in `{POSTERIOR}`; at least {2 * _FEWEST} are needed to "
            "fit a proposal. Fit with more draws."
        )
    density = read_tempered(program, args, kwargs, num_places=size)
    positions = _positions(posterior, density)
    fitted, bridged = np.split(positions[:, : 2 * (positions.shape[1] // 2)], 2, axis=1)
    rng = generator(resolve_seed(seed), "bridge")
    return _bridge(density, fitted.reshape(-1, density.dimension), bridged, rng)


def _positions(posterior: xr.Dataset, density: TemperedDensity) -> Floats:
    """Return draws in unconstrained space, shape (chain, draw, dimension)."""
    missing = [name for name in density.latents if name not in posterior]
    if missing:
        raise DataError(
            f"`result` has no draws of `{missing[0]}`; it has {', '.join(map(str, posterior))}. "
            "Pass the result of this very model."
        )
    ordered = {n: posterior[n].transpose(CHAIN, DRAW, ...).values for n in density.latents}
    chains, draws = next(iter(ordered.values())).shape[:2]
    flat = {n: v.reshape(chains * draws, *v.shape[2:]) for n, v in ordered.items()}
    return density.positions(flat).reshape(chains, draws, -1)


def _bridge(
    density: TemperedDensity, fitted: Floats, bridged: Floats, rng: np.random.Generator
) -> BridgeEvidence:
    size = density.dimension
    centre = fitted.mean(0)
    root = np.linalg.cholesky(np.atleast_2d(np.cov(fitted, rowvar=False)))
    volume = float(np.log(root.diagonal()).sum())

    def log_ratio(whitened: Floats) -> Floats:
        """Return the log of posterior over proposal, averaged over both signs."""
        both = [
            (at := density.at(centre + sign * whitened @ root.T, 1.0)).log_prior + at.log_likelihood
            for sign in (1.0, -1.0)
        ]
        normal = -0.5 * (whitened**2).sum(1) - 0.5 * size * np.log(2 * np.pi) - volume
        ratio: Floats = np.logaddexp(*both) - np.log(2.0) - normal
        return ratio

    chains, draws, _ = bridged.shape
    flat = bridged.reshape(-1, size)
    whitened = solve_triangular(root, (flat - centre).T, lower=True).T
    ours = log_ratio(whitened)
    theirs = log_ratio(rng.normal(size=whitened.shape))
    effective = _effective(ours.reshape(chains, draws))
    share = np.log([effective, len(theirs)]) - np.log(effective + len(theirs))
    return _solve(ours.reshape(chains, draws), theirs, share)


def _solve(ours: Floats, theirs: Floats, share: Floats) -> BridgeEvidence:
    flat = ours.ravel()
    value = float(np.median(flat))
    for _ in range(_ROUNDS):
        old = value
        above = theirs - np.logaddexp(share[0] + theirs, share[1] + value)
        below = -np.logaddexp(share[0] + flat, share[1] + value)
        value = float(logsumexp(above) - np.log(len(theirs)) - logsumexp(below) + np.log(len(flat)))
        if abs(value - old) < _CONVERGED * (1 + abs(value)):
            break
    else:
        raise InferenceError(
            f"The bridge did not settle in {_ROUNDS} rounds (last change {abs(value - old):.2g}): "
            "posterior and proposal hardly overlap. Take more draws, or use TemperedSMC()."
        )
    # Both integrands of the bridge, up to constants: the chance of either side at a place.
    first = expit(share[0] + theirs - value - share[1])
    second = expit(share[1] + value - share[0] - ours)
    variance = first.var() / first.mean() ** 2 / len(theirs)
    variance += second.var() / second.mean() ** 2 / _effective(second)
    return BridgeEvidence(value, float(np.sqrt(variance)))


def _effective(draws: Floats) -> float:
    size = float(measure(draws)[1])
    return size if np.isfinite(size) else float(draws.size)
