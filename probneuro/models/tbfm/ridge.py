"""Ridge regression of every channel on all channels' lags, its own penalised differently."""

from typing import final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@final
class OwnCrossRidge:
    r"""All channels' ridge regressions on the same features, from one eigendecomposition.

    .. math::

        A_c = (X^\top X + \mu_\times I + (\mu_= - \mu_\times) E_c E_c^\top)^{-1} X^\top R_c
            = M H_c - \delta M E_c (I + \delta E_c^\top M E_c)^{-1} E_c^\top M H_c

    with :math:`\mu_=` the penalty of a channel's own lags, whose columns :math:`E_c` picks,
    :math:`\mu_\times` that of other channels', :math:`\delta = \mu_= - \mu_\times`, and
    :math:`M = (X^\top X + \mu_\times I)^{-1}`. Woodbury's identity makes it exact.

    Parameters
    ----------
    features : ndarray
        Centred features, shape (trial, feature), channel by channel.
    width : int
        Features of each channel: the runway's length.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(30, 4))
    >>> ridge = OwnCrossRidge(x, width=2)
    >>> moments = (x.T @ np.ones((30, 2))).reshape(4, 2, 1)
    >>> direct = np.linalg.solve(x.T @ x + np.diag([1.0, 1.0, 5.0, 5.0]), moments[:, 0])
    >>> bool(np.allclose(ridge.solve(moments, own=1.0, cross=5.0)[:, 0], direct))
    True
    """

    def __init__(self, features: Floats, width: int) -> None:
        self.width = width
        self.gram: Floats = features.T @ features
        values, vectors = np.linalg.eigh(self.gram)
        self.vectors: Floats = vectors.astype(np.float64, copy=False)
        self.values: Floats = np.maximum(values, 0.0).astype(np.float64)
        self.num_channels = len(values) // width
        self._own = self.vectors.reshape(self.num_channels, width, -1)

    @classmethod
    def from_gram(cls, gram: Floats, width: int) -> "OwnCrossRidge":
        """Return the regressions from the features' second moments alone, (feature, feature)."""
        new = object.__new__(cls)
        new.width, new.gram = width, gram
        values, new.vectors = np.linalg.eigh(gram)
        new.values = np.maximum(values, 0.0)
        new.num_channels = len(values) // width
        new._own = new.vectors.reshape(new.num_channels, width, -1)
        return new

    def rotate(self, moments: Floats) -> Floats:
        """Return moments (feature, channel, target) along the eigenvectors, of the same shape."""
        flat: Floats = self.vectors.T @ moments.reshape(len(moments), -1)
        return flat.reshape(moments.shape)

    def weights(self, cross: float) -> Floats:
        """Return the eigenvalues of M, shape (feature,)."""
        return 1.0 / (self.values + cross)

    def own_blocks(self, cross: float) -> Floats:
        r"""Return :math:`E_c^\top M E_c`, shape (channel, lag, lag)."""
        return (self._own * self.weights(cross)) @ self._own.transpose(0, 2, 1)

    def own_moments(self, rotated: Floats, cross: float) -> Floats:
        r"""Return :math:`E_c^\top M H_c`, shape (channel, lag, target)."""
        return (self._own * self.weights(cross)) @ rotated.transpose(1, 0, 2)

    def correction(self, blocks: Floats, sides: Floats, own: float, cross: float) -> Floats:
        r"""Return :math:`\delta (I + \delta E_c^\top M E_c)^{-1}` times (channel, lag, any)."""
        gap = own - cross
        found = np.linalg.solve(np.eye(self.width) + gap * blocks, gap * sides)
        return found.astype(np.float64, copy=False)

    def explained(self, rotated: Floats, own: float, cross: float) -> Floats:
        r"""Return what the regressions explain, :math:`\sum_c H_c^\top M_c H_c`.

        Parameters
        ----------
        rotated : ndarray
            Moments as `rotate` gives them.
        own, cross : float
            Penalties.

        Returns
        -------
        ndarray
            Shape (target, target).
        """
        flat = rotated.reshape(-1, rotated.shape[2])
        scaled = (rotated * self.weights(cross)[:, None, None]).reshape(flat.shape)
        sides = self.own_moments(rotated, cross)
        fixed = self.correction(self.own_blocks(cross), sides, own, cross)
        total: Floats = flat.T @ scaled - np.einsum("clq,clk->qk", sides, fixed)
        return 0.5 * (total + total.T)

    def solve(self, moments: Floats, own: float, cross: float) -> Floats:
        """Return the coefficients.

        Parameters
        ----------
        moments : ndarray
            Features times targets, shape (feature, channel, target).
        own, cross : float
            Penalties.

        Returns
        -------
        ndarray
            Shape (feature, channel, target).
        """
        rotated = self.rotate(moments)
        weights = self.weights(cross)
        shape = moments.shape
        found = self.vectors @ (rotated * weights[:, None, None]).reshape(shape[0], -1)
        found = found.reshape(shape)
        sides = self.own_moments(rotated, cross)
        fixed = self.correction(self.own_blocks(cross), sides, own, cross)
        scaled = self.vectors * weights
        for channel in range(self.num_channels):
            found[:, channel] -= scaled @ (self._own[channel].T @ fixed[channel])
        return found

    def spread(self, features: Floats, own: float, cross: float) -> Floats:
        r"""Return :math:`x^\top M_c x` of every trial and channel: its leverage, if centred.

        Parameters
        ----------
        features : ndarray
            Shape (trial, feature).
        own, cross : float
            Penalties.

        Returns
        -------
        ndarray
            Shape (trial, channel).
        """
        rotated = features @ self.vectors
        scaled = rotated * self.weights(cross)
        total = np.einsum("np,np->n", rotated, scaled)
        own_part = (scaled @ self.vectors.T).reshape(len(features), self.num_channels, self.width)
        blocks = self.own_blocks(cross)
        middle = self.correction(
            blocks, np.broadcast_to(np.eye(self.width), blocks.shape), own, cross
        )
        sides = own_part.transpose(1, 0, 2)
        spread: Floats = total[:, None] - ((sides @ middle) * sides).sum(2).T
        return spread

    def covariance(self, channel: int, own: float, cross: float) -> Floats:
        """Return one channel's inverse penalised gram matrix, shape (feature, feature)."""
        penalty = np.full(len(self.values), cross)
        penalty[channel * self.width : (channel + 1) * self.width] = own
        inverse: Floats = np.linalg.inv(self.gram + np.diag(penalty)).astype(np.float64)
        return inverse
