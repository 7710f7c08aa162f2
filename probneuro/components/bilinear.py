"""A linear model of stimulation and its product with the state, updated exactly trial by trial."""

from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probneuro.core.errors import InferenceError, SettingError

Floats = NDArray[np.float64]


def bilinear_features(patterns: ArrayLike, state: ArrayLike) -> Floats:
    """Return ``[1, z, s, s x z]`` of every trial.

    Parameters
    ----------
    patterns : array_like
        Shape (trial, candidate).
    state : array_like
        Latents before stimulation, shape (trial, latent).

    Returns
    -------
    ndarray
        Shape (trial, 1 + latent + candidate * (1 + latent)).

    Examples
    --------
    >>> bilinear_features([[1, 0]], [[3.0]])
    array([[1., 3., 1., 3., 0., 0.]])
    """
    marks, states = np.asarray(patterns, np.float64), np.asarray(state, np.float64)
    base = np.concatenate([np.ones((len(states), 1)), states], axis=1)
    crossed = (marks[:, :, None] * base[:, None, :]).reshape(len(marks), -1)
    return np.concatenate([base, crossed], axis=1)


@final
@dataclass(frozen=True)
class BilinearPosterior:
    r"""Posterior of the weights of a linear response model: normal, exact, and easily moved on.

    .. math:: y_k = W' \phi(s_k, z_k) + \varepsilon_k, \qquad
              W \sim MN(M, P, \Sigma), \; \varepsilon_k \sim N(0, \Sigma)

    Parameters
    ----------
    mean : ndarray
        M, shape (feature, latent).
    covariance : ndarray
        P of the features, shape (feature, feature), in units of the noise variance.
    noise_variance : ndarray
        Diagonal of :math:`\Sigma`, shape (latent,).
    """

    mean: Floats
    covariance: Floats
    noise_variance: Floats

    @staticmethod
    def prior(
        num_candidates: int,
        num_latents: int,
        *,
        drive_scale: float = 0.6,
        state_scale: float = 0.6,
        noise_variance: ArrayLike = 0.5,
    ) -> "BilinearPosterior":
        """Return the prior: independent weights about zero.

        Parameters
        ----------
        num_candidates, num_latents : int
            Sizes.
        drive_scale, state_scale : float
            Sd of what an electrode does, and of how that hangs on a latent.
        noise_variance : array_like
            Of a trial, one number or shape (latent,).

        Raises
        ------
        SettingError
            If a scale is not positive.
        """
        noise = np.broadcast_to(np.asarray(noise_variance, np.float64), (num_latents,)).copy()
        for name, value in {"drive_scale": drive_scale, "state_scale": state_scale}.items():
            if not value > 0:
                raise SettingError(f"`{name}` must be positive; got {value!r}. Pass 0.6.")
        if not (noise > 0).all():
            raise SettingError(f"`noise_variance` must be positive; got {noise.min()!r}. Pass 0.5.")
        base = np.concatenate([[4.0], np.ones(num_latents)])
        each = np.concatenate([[drive_scale**2], np.full(num_latents, state_scale**2)])
        variances = np.concatenate([base, np.tile(each, num_candidates)]) / noise.mean()
        return BilinearPosterior(np.zeros((len(variances), num_latents)), np.diag(variances), noise)

    def updated(self, features: ArrayLike, after: ArrayLike) -> "BilinearPosterior":
        r"""Return the posterior given further trials, by the Kalman filter's update.

        .. math:: K = P\phi (\phi'P\phi + 1)^{-1}, \quad M \leftarrow M + K (y - \phi'M), \quad
                  P \leftarrow P - K \phi' P

        Parameters
        ----------
        features : array_like
            Shape (trial, feature).
        after : array_like
            Shape (trial, latent).

        Raises
        ------
        InferenceError
            If numbers go wrong.
        """
        phi, y = np.asarray(features, np.float64), np.asarray(after, np.float64)
        reach = self.covariance @ phi.T
        inner = phi @ reach + np.eye(len(phi))
        gain = np.linalg.solve(inner, reach.T).T
        mean = self.mean + gain @ (y - phi @ self.mean)
        covariance = self.covariance - gain @ reach.T
        if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
            raise InferenceError(
                f"The update with {len(phi)} trials gave numbers that are not finite. Check the "
                "latents after stimulation."
            )
        return replace(self, mean=mean, covariance=0.5 * (covariance + covariance.T))

    def drifted(self, variances: ArrayLike) -> "BilinearPosterior":
        """Return the posterior after weights have moved by a random walk.

        Parameters
        ----------
        variances : array_like
            Added to the diagonal of `covariance`, shape (feature,) or one number.
        """
        size = len(self.covariance)
        moved = np.broadcast_to(np.asarray(variances, np.float64), (size,))
        return replace(self, covariance=self.covariance + np.diag(moved))

    def log_evidence(self, features: ArrayLike, after: ArrayLike) -> float:
        """Return the log density of trials with the weights integrated out, in nats."""
        phi, y = np.asarray(features, np.float64), np.asarray(after, np.float64)
        inner = phi @ self.covariance @ phi.T + np.eye(len(phi))
        _, logdet = np.linalg.slogdet(inner)
        residual = y - phi @ self.mean
        squares = (residual * np.linalg.solve(inner, residual)).sum(axis=0)
        terms = len(y) * np.log(2 * np.pi * self.noise_variance) + logdet
        return -0.5 * float((terms + squares / self.noise_variance).sum())

    def drawn(self, rng: np.random.Generator) -> Floats:
        """Return weights drawn from the posterior, shape (feature, latent)."""
        root = np.linalg.cholesky(self.covariance + 1e-12 * np.eye(len(self.covariance)))
        noise = rng.normal(size=self.mean.shape) * np.sqrt(self.noise_variance)
        found: Floats = self.mean + root @ noise
        return found
