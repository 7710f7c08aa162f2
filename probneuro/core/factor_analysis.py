"""Factor analysis in closed form: moments, maximum likelihood by two routes, posterior means."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from scipy.optimize import minimize

from probneuro.core.errors import DataError, SettingError
from probneuro.core.factor_newton import newton

Floats = NDArray[np.float64]

FLOOR: Final = 1e-6
"""Least private variance, as a share of the electrode's variance."""
_ROUNDING: Final = 1e-9
_STEPS: Final = 500
_MEMORY: Final = 20


def varies(values: Floats) -> NDArray[np.bool_]:
    """Return which columns change by more than rounding does, shape (column,).

    Examples
    --------
    >>> varies(np.array([[0.1, 1.0], [0.1, 2.0], [0.1, 3.0]]))
    array([False,  True])
    """
    found: NDArray[np.bool_] = np.ptp(values, axis=0) > _ROUNDING * np.abs(values).max(axis=0)
    return found


@final
@dataclass(frozen=True)
class FactorMoments:
    """All that factor analysis asks of data: how many, their mean and covariance.

    Parameters
    ----------
    count : int
        Observations.
    mean : ndarray
        Shape (electrode,).
    covariance : ndarray
        Divided by `count`, shape (electrode, electrode).
    """

    count: int
    mean: Floats
    covariance: Floats

    @staticmethod
    def of(values: ArrayLike) -> "FactorMoments":
        """Return the moments of observations, shape (observation, electrode).

        Raises
        ------
        DataError
            If there are too few, they are not finite, or an electrode never changes.

        Examples
        --------
        >>> FactorMoments.of([[0.0, 1.0], [2.0, 0.0], [1.0, 2.0]]).mean
        array([1., 1.])
        """
        if np.ma.is_masked(values):
            raise DataError(
                "`values` has masked entries, which would be taken for data. Drop those bins, or "
                "the electrode."
            )
        array = np.asarray(values, dtype=np.float64)
        if array.ndim != 2 or array.shape[0] < 2 or array.shape[1] < 1:
            raise DataError(
                "`values` must have shape (observation, electrode) with two observations or more; "
                f"got {array.shape}. Reshape trials and bins into one axis."
            )
        if not np.isfinite(array).all():
            raise DataError(
                f"`values` holds {int((~np.isfinite(array)).sum())} entries that are not finite. "
                "Drop those bins, or the electrode."
            )
        mean = array.mean(axis=0)
        centred = array - mean
        covariance = centred.T @ centred / len(array)
        still = np.flatnonzero(~varies(array))
        if still.size:
            raise DataError(
                f"`values` of electrode {int(still[0])} never change; got {mean[still[0]]:g} in "
                "all. Leave electrodes without variance out."
            )
        return FactorMoments(len(array), mean, covariance)


@final
@dataclass(frozen=True)
class FactorFit:
    r"""Parameters of a factor analysis and what follows from them.

    .. math:: z \sim N(0, I), \qquad x \mid z \sim N(\Lambda z + \mu, \Psi)

    Parameters
    ----------
    mean : ndarray
        Shape (electrode,).
    loading : ndarray
        Shape (electrode, latent).
    noise_variance : ndarray
        Diagonal of :math:`\Psi`, shape (electrode,).
    log_likelihood : float
        Nats per observation of the data that it was fitted to.
    iterations : int
        Evaluations that the fit took.
    """

    mean: Floats
    loading: Floats
    noise_variance: Floats
    log_likelihood: float
    iterations: int = 0

    def readout(self) -> Floats:
        r"""Return :math:`\beta = \Lambda'(\Lambda\Lambda' + \Psi)^{-1}`, (latent, electrode)."""
        scaled = self.loading / self.noise_variance[:, None]
        inner = np.eye(self.loading.shape[1]) + self.loading.T @ scaled
        solved: Floats = np.linalg.solve(inner, scaled.T).astype(np.float64, copy=False)
        return solved

    def posterior_mean(self, values: ArrayLike) -> Floats:
        """Return latents of observations, shape (..., latent); see `readout`.

        Examples
        --------
        >>> fit = FactorFit(np.zeros(2), np.ones((2, 1)), np.ones(2), 0.0)
        >>> fit.posterior_mean([1.0, 2.0])
        array([1.])
        """
        found: Floats = (np.asarray(values, dtype=np.float64) - self.mean) @ self.readout().T
        return found

    def rotated(self, rotation: Floats) -> "FactorFit":
        """Return the fit with latents z replaced by O z, O of shape (latent, latent)."""
        return replace(self, loading=self.loading @ rotation.T)

    def covariance(self) -> Floats:
        """Return the covariance that the fit gives to data, shape (electrode, electrode)."""
        whole: Floats = self.loading @ self.loading.T + np.diag(self.noise_variance)
        return whole

    def score(self, moments: FactorMoments) -> float:
        """Return the mean log-likelihood of data with these moments, in nats per observation."""
        apart = moments.mean - self.mean
        second = moments.covariance + np.outer(apart, apart)
        inverse = np.linalg.inv(self.covariance())
        _, logdet = np.linalg.slogdet(self.covariance())
        size = len(self.mean)
        return -0.5 * float(size * np.log(2 * np.pi) + logdet + (inverse * second).sum())


class HasFactorMoments(ABC):
    """A model whose likelihood is that of a factor analysis."""

    @property
    @abstractmethod
    def num_latents(self) -> int:
        """Number of latents."""

    @abstractmethod
    def factor_moments(self, data: Any) -> FactorMoments:
        """Return the moments of the data."""

    @abstractmethod
    def factor_latents(self, fit: FactorFit, data: Any) -> Floats:
        """Return posterior means of the latents, shape (time, latent)."""


def fit_profile(
    moments: FactorMoments,
    num_latents: int,
    *,
    floor: float = FLOOR,
    start: Floats | None = None,
    gradient_tolerance: float = 1e-8,
) -> FactorFit:
    r"""Maximise the likelihood over private variances, the loadings given in closed form.

    .. math::

        \min_\psi \sum_j \log\psi_j + \mathrm{tr} S^* + \sum_{i \le m, \lambda_i > 1}
        (\log\lambda_i + 1 - \lambda_i), \qquad
        S^* = \Psi^{-1/2} S \Psi^{-1/2},\; \Lambda = \Psi^{1/2} U (\lambda - 1)^{1/2}

    Parameters
    ----------
    moments : FactorMoments
        Of the data.
    num_latents : int
        m, fewer than electrodes.
    floor : float
        Least private variance, as a share of the electrode's variance.
    start : ndarray, optional
        Private variances to start from; by default Lawley's
        :math:`(1 - m/2p) / \mathrm{diag}(S^{-1})`.
    gradient_tolerance : float
        Largest slope along the logarithm of a private variance at the end.

    Returns
    -------
    FactorFit
        Loadings are canonical: columns orthogonal under :math:`\Psi^{-1}`, the strongest first.

    Raises
    ------
    SettingError
        If there are not between 1 and p - 1 latents.

    Notes
    -----
    Source: Joreskog (1967), Psychometrika 32, and Lawley and Maxwell (1971). By Newton's method
    (`factor_newton`); where that fails, or ends at the floor, by L-BFGS. An absolute floor, as is
    common with spike counts, costs likelihood on electrodes with low rates; ours is relative.

    Examples
    --------
    >>> z = np.random.default_rng(0).normal(size=(500, 1))
    >>> x = z @ np.ones((1, 4)) + np.random.default_rng(1).normal(size=(500, 4))
    >>> fit_profile(FactorMoments.of(x), 1).loading.shape
    (4, 1)
    """
    covariance = moments.covariance
    check_num_latents(num_latents, len(covariance))
    variances = np.diagonal(covariance)
    first = _lawley_start(covariance, num_latents) if start is None else np.asarray(start, float)
    if first.shape != variances.shape or not (first > 0).all():
        raise SettingError(
            f"`start` must hold one positive variance for each of {len(variances)} electrodes; got "
            f"shape {first.shape}. Leave it out for Lawley's."
        )
    if not 0 <= floor < 1:
        raise SettingError(f"`floor` must be a share, from 0 to 1; got {floor!r}. Pass 1e-6.")
    # Starting at the floor, where the likelihood is steep, would waste steps.
    first = np.clip(first, 1e-3 * variances, variances)
    lower = np.log(max(floor, 1e-12) * variances)
    bounds = lower, np.log(variances * 1.5)
    log_noise, steps = _maximum(np.log(first), covariance, num_latents, bounds, gradient_tolerance)
    noise = np.exp(log_noise)
    loading = _loading(noise, covariance, num_latents)
    value, _ = _profile(log_noise, covariance, num_latents)
    value = -0.5 * (len(noise) * np.log(2 * np.pi) + value)
    return FactorFit(moments.mean, loading, noise, value, steps)


def fit_em(
    moments: FactorMoments,
    num_latents: int,
    *,
    floor: float = FLOOR,
    tolerance: float = 1e-10,
    iterations: int = 10_000,
) -> FactorFit:
    """Maximise the likelihood by expectation maximisation on the covariance.

    Parameters
    ----------
    moments, num_latents, floor
        As of `fit_profile`.
    tolerance : float
        An iteration that gains less, in nats per observation, is the last.
    iterations : int
        Most iterations.

    Notes
    -----
    Source: Rubin and Thayer (1982), Psychometrika 47. Fast where factors are strong; where they
    are weak it crawls, and `fit_profile` is higher.

    Examples
    --------
    >>> z = np.random.default_rng(0).normal(size=(500, 1))
    >>> x = z @ np.ones((1, 4)) + np.random.default_rng(1).normal(size=(500, 4))
    >>> moments = FactorMoments.of(x)
    >>> gap = fit_profile(moments, 1).log_likelihood - fit_em(moments, 1).log_likelihood
    >>> bool(abs(gap) < 1e-6)
    True
    """
    covariance = moments.covariance
    check_num_latents(num_latents, len(covariance))
    least = floor * np.diagonal(covariance)
    noise = _lawley_start(covariance, num_latents)
    noise = np.clip(noise, least, np.diagonal(covariance))
    fit = FactorFit(moments.mean, _loading(noise, covariance, num_latents), noise, -np.inf)
    for step in range(1, iterations + 1):
        readout = fit.readout()
        cross = covariance @ readout.T
        second = np.eye(num_latents) - readout @ fit.loading + readout @ cross
        loading: Floats = np.asarray(np.linalg.solve(second, cross.T).T, dtype=np.float64)
        noise = np.maximum(np.diagonal(covariance) - (loading * cross).sum(axis=1), least)
        new = FactorFit(moments.mean, loading, noise, -np.inf, step)
        new = replace(new, log_likelihood=_fast_score(new, covariance))
        gain = new.log_likelihood - fit.log_likelihood
        fit = new
        if gain < tolerance:
            break
    return fit


def check_num_latents(num_latents: int, size: int) -> None:
    """Refuse more latents than electrodes can tell apart.

    Raises
    ------
    SettingError
        If not within 1 and p - 1.
    """
    whole = isinstance(num_latents, int | np.integer)
    if not (whole and 1 <= num_latents < size):
        raise SettingError(
            f"`num_latents` must be a whole number from 1 to {size - 1} for {size} electrodes; got "
            f"{num_latents!r}. Pass fewer, or record from more electrodes."
        )


def _lawley_start(covariance: Floats, num_latents: int) -> Floats:
    size = len(covariance)
    try:
        inverse = np.linalg.inv(covariance)
        found: Floats = (1 - 0.5 * num_latents / size) / np.diagonal(inverse)
    except np.linalg.LinAlgError:
        found = np.full(size, np.nan)
    # With fewer observations than electrodes the covariance cannot be inverted.
    usable = np.isfinite(found) & (found > 0)
    start: Floats = np.where(usable, found, 0.5 * np.diagonal(covariance))
    return start


def _top(noise: Floats, covariance: Floats, num: int) -> tuple[Floats, Floats, Floats]:
    """Return largest eigenvalues, their vectors, and the diagonal of the scaled covariance."""
    root = 1 / np.sqrt(noise)
    scaled = covariance * root[:, None] * root
    size = len(noise)
    values, vectors = eigh(
        scaled, subset_by_index=(size - num, size - 1), overwrite_a=False, check_finite=False
    )
    return values[::-1], vectors[:, ::-1], np.diagonal(scaled)


def _profile(log_noise: Floats, covariance: Floats, num: int) -> tuple[float, Floats]:
    """Return twice the negative log-likelihood less its constant, and its gradient."""
    values, vectors, diagonal = _top(np.exp(log_noise), covariance, num)
    above = np.maximum(values, 1.0)
    # An eigenvalue below one makes no factor, and its terms vanish.
    value = log_noise.sum() + diagonal.sum() + (np.log(above) + 1 - above).sum()
    gradient = 1 - diagonal - ((1 - above) * vectors**2).sum(axis=1)
    return float(value), gradient


def _maximum(
    first: Floats, covariance: Floats, num: int, bounds: tuple[Floats, Floats], tolerance: float
) -> tuple[Floats, int]:
    """Return log private variances at the maximum, and the evaluations that it took."""
    found = newton(first, covariance, num, bounds, tolerance)
    if found is not None and (found[0] > bounds[0]).all():
        return found
    # There may be several maxima, above all where a variance is at its floor: the higher is kept.
    other = _quasi_newton(first, covariance, num, bounds, tolerance)
    if (
        found is None
        or _profile(other[0], covariance, num)[0] < _profile(found[0], covariance, num)[0]
    ):
        return other
    return found


def _quasi_newton(
    first: Floats, covariance: Floats, num: int, bounds: tuple[Floats, Floats], tolerance: float
) -> tuple[Floats, int]:
    """Return log private variances by slopes alone, from any start, and the evaluations."""
    found = minimize(
        _profile, first, args=(covariance, num), jac=True, method="L-BFGS-B",
        bounds=np.stack(bounds, axis=1),
        options={"maxiter": _STEPS, "ftol": 0.0, "gtol": tolerance, "maxcor": _MEMORY},
    )  # fmt: skip
    return found.x, int(found.nfev)


def _loading(noise: Floats, covariance: Floats, num: int) -> Floats:
    values, vectors, _ = _top(noise, covariance, num)
    loading = np.sqrt(noise)[:, None] * vectors * np.sqrt(np.maximum(values - 1, 0.0))
    # Signs are arbitrary; a fixed one makes runs comparable.
    signs = np.sign(loading.sum(axis=0))
    fixed: Floats = loading * np.where(signs == 0, 1.0, signs)
    return fixed


def _fast_score(fit: FactorFit, covariance: Floats) -> float:
    """Return nats per observation by the small matrix, of data about the fit's mean."""
    noise, loading = fit.noise_variance, fit.loading
    scaled = loading / noise[:, None]
    inner = np.eye(loading.shape[1]) + loading.T @ scaled
    logdet = np.log(noise).sum() + np.linalg.slogdet(inner)[1]
    trace = (np.diagonal(covariance) / noise).sum()
    trace -= np.trace(np.linalg.solve(inner, scaled.T @ covariance @ scaled))
    return -0.5 * float(len(noise) * np.log(2 * np.pi) + logdet + trace)
