"""Steps along a noisy score, by an averaged curvature: stochastic approximation's moves."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from probneuro.core.gibbs import SmoothConditional

Floats = NDArray[np.float64]

_LONGEST: Final = 5.0
"""Longest step in any coordinate, in its conditional standard deviations."""
_FLATTEST: Final = 0.05
"""Least curvature of a direction, next to that of its coordinates: flatter ones are not trusted."""
_LEAST_MEMORY: Final = 0.2
_HALVINGS: Final = 20
_PROBE: Final = 1e-4


@dataclass(frozen=True)
class Stencil:
    r"""Places about a point that give gradient and curvature of a smooth function.

    .. math::

        g_i = \frac{f(+h_i) - f(-h_i)}{2 h_i}, \qquad
        H_{ii} = -\frac{f(+h_i) - 2 f(0) + f(-h_i)}{h_i^2}, \qquad
        H_{ij} = -\frac{f(+h_i + h_j) - f(+h_i) - f(+h_j) + f(0)}{h_i h_j}

    Parameters
    ----------
    size : int
        Coordinates.
    step : float
        The same h for all of them.

    Examples
    --------
    >>> stencil = Stencil(2, 0.01)
    >>> values = np.array([-(p @ p) - p[0] * p[1] for p in stencil.places(curved=True)])
    >>> stencil.curvature(values).round(6)
    array([[2., 1.],
           [1., 2.]])
    """

    size: int
    step: float

    def places(self, *, curved: bool) -> Floats:
        """Return displacements, shape (place, size): zero first; ``curved`` adds the mixed ones."""
        one = self.step * np.eye(self.size)
        mixed = [one[i] + one[j] for i, j in self._pairs()] if curved else []
        return np.vstack([np.zeros((1, self.size)), one, -one, *mixed])

    def gradient(self, values: Floats) -> Floats:
        """Return the gradient from values at the places, shape (size,)."""
        above, below = values[1 : 1 + self.size], values[1 + self.size : 1 + 2 * self.size]
        slope: Floats = (above - below) / (2.0 * self.step)
        return slope

    def curvature(self, values: Floats) -> Floats:
        """Return minus the second derivatives from values at all places, shape (size, size)."""
        above, below = values[1 : 1 + self.size], values[1 + self.size : 1 + 2 * self.size]
        out = np.diag(2.0 * values[0] - above - below)
        for (i, j), value in zip(self._pairs(), values[1 + 2 * self.size :], strict=True):
            out[i, j] = out[j, i] = above[i] + above[j] - value - values[0]
        curvature: Floats = out / self.step**2
        return curvature

    def _pairs(self) -> list[tuple[int, int]]:
        return [(i, j) for i in range(self.size) for j in range(i)]


def smooth_curvature(density: SmoothConditional, position: Floats, size: int) -> Floats:
    """Return minus the second derivatives by a density's first coordinates, (size, size)."""
    out = np.empty((size, size))
    for i in range(size):
        moved, step = position.copy(), _PROBE * (1.0 + abs(float(position[i])))
        moved[i] += step
        above = density.value_and_gradient(moved)[1][:size]
        moved[i] -= 2.0 * step
        out[i] = (density.value_and_gradient(moved)[1][:size] - above) / (2.0 * step)
    symmetric: Floats = 0.5 * (out + out.T)
    return symmetric


def memory(measured: int) -> float:
    """Return the share that a new curvature has in the running mean, after ``measured`` others."""
    return max(1.0 / (measured + 1.0), _LEAST_MEMORY)


def damped_step(gradient: Floats, curvature: Floats) -> Floats:
    r"""Return a Newton step that always climbs, and is never long.

    .. math:: d = |H|^{-1} g

    with the eigenvalues of H, in units of its diagonal, by their size and not below a floor.

    Parameters
    ----------
    gradient : numpy.ndarray
        Shape (coordinate,).
    curvature : numpy.ndarray
        Minus the second derivatives, shape (coordinate, coordinate).

    Examples
    --------
    >>> damped_step(np.array([1.0, -2.0]), np.diag([2.0, -4.0]))
    array([ 0.5, -0.5])
    """
    if not gradient.size:
        return gradient
    scale = np.sqrt(np.maximum(np.abs(np.diag(curvature)), 1e-300))
    values, vectors = np.linalg.eigh(curvature / np.outer(scale, scale))
    sizes = np.maximum(np.abs(values), _FLATTEST)
    step = vectors @ (vectors.T @ (gradient / scale) / sizes)
    shortened: Floats = step / scale * min(1.0, _LONGEST / max(float(np.abs(step).max()), 1e-300))
    return shortened


def climbed(density: SmoothConditional, position: Floats, step: Floats) -> Floats:
    """Return a position moved along a step, halved until the density does not fall.

    Near a mode no step of a stochastic approximation is halved, so that its limit is untouched.
    """
    before = density.value_and_gradient(position)[0]
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(_HALVINGS):
            moved: Floats = position + step
            if density.value_and_gradient(moved)[0] >= before:
                return moved
            step = 0.5 * step
    return position
