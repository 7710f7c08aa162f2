"""Penalised maximum likelihood of point processes: one GLM a neuron, inputs in groups."""

from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

from probneuro.components.links import SOFTPLUS_CODE, Link
from probneuro.components.point_process import window_terms
from probneuro.core.errors import InferenceError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_MOST_STEPS = 200
_MOST_SWEEPS = 500
_MOST_HALVINGS = 40
# Share of the promised decrease that a step must keep (Armijo; Nocedal & Wright, section 3.1).
_DECREASE = 1e-4
# Added to the curvature of each input, as a share of what an even one would have: inputs of
# neurons with few spikes may have none.
_RIDGE = 1e-6
# The quadratic model is solved to this share of the present breach of the conditions.
_INNER = 0.05
# Groups whose gradient is this share of the threshold join the quadratic model in good time.
_NEAR = 0.7
# Bins whose curvature is below this share of the largest add nothing to the quadratic model,
# which decides the path to the optimum, not where it lies.
_NEGLIGIBLE = 1e-5


@dataclass(frozen=True)
class Regression:
    r"""GLMs of several neurons on the same inputs.

    Neuron n's objective, in nats per second, is

    .. math::

        -\frac{1}{T} \sum_t \bigl[s_{t,n} \log \lambda_{t,n} \mathrm dt
        - \lambda_{t,n} \mathrm dt - \log s_{t,n}!\bigr] + \kappa \sum_{g \ne n} \sqrt{|g|}\,
        \lVert \beta_g \rVert_2, \qquad \lambda_{t,n} = g\bigl(\beta_n^\top x_t\bigr)

    Parameters
    ----------
    inputs : ndarray
        Shape (time, input).
    group : ndarray
        Each input's group, shape (input,), in order; below 0 for inputs that are never penalised.
        Group n, the neuron's own past, is free for neuron n.
    counts : ndarray
        Spike counts, shape (neuron, time).
    observed : ndarray of bool
        Shape (time,).
    link : Link
        Activation to rate.
    bin_width : float
        Seconds.
    """

    inputs: Floats
    group: Integers
    counts: NDArray[np.int64]
    observed: NDArray[np.bool_]
    link: Link
    bin_width: float

    @property
    def seconds(self) -> float:
        """Observed time in seconds."""
        return float(self.observed.sum()) * self.bin_width

    def part(self, first: int, last: int) -> "Regression":
        """Return the same regression on bins first to last (exclusive)."""
        span = slice(first, last)
        return Regression(
            self.inputs[span], self.group, self.counts[:, span], self.observed[span],
            self.link, self.bin_width,
        )  # fmt: skip

    def likelihood(self, neuron: int, activation: Floats) -> tuple[float, Floats]:
        """Return a neuron's log likelihood (nats) and its slope in the activation."""
        slope = np.empty(activation.size)
        spikes = np.flatnonzero(self.counts[neuron])
        value = window_terms(
            activation.copy(), ~self.observed, spikes,
            self.counts[neuron, spikes].astype(np.float64), 0, self.link.code,
            self.link.sharpness, self.bin_width, slope,
        )  # fmt: skip
        return float(value), slope

    def log_likelihoods(self, coefficients: Floats) -> Floats:
        """Return every neuron's log likelihood (nats), shape (neuron,)."""
        activation = coefficients @ self.inputs.T
        return np.array([self.likelihood(n, row)[0] for n, row in enumerate(activation)])

    def gradient(self, coefficients: Floats) -> Floats:
        """Return the gradient of every neuron's smooth part, shape (neuron, input)."""
        activation = coefficients @ self.inputs.T
        slopes = np.array([self.likelihood(n, row)[1] for n, row in enumerate(activation)])
        return np.asarray(-(slopes @ self.inputs) / self.seconds)

    def thresholds(self, penalty: float) -> Floats:
        """Return how long each group's gradient may be before it enters, shape (group,)."""
        return np.asarray(penalty * np.sqrt(np.bincount(self.group[self.group >= 0])))

    def violation(
        self, neuron: int, coefficients: Floats, gradient: Floats, penalty: float
    ) -> float:
        r"""Return how far a neuron is from the optimum: the largest breach of its conditions.

        .. math::

            \nabla_g + \kappa \sqrt{|g|}\, \frac{\beta_g}{\lVert\beta_g\rVert} = 0
            \;(\beta_g \ne 0), \qquad \lVert \nabla_g \rVert \le \kappa \sqrt{|g|}
            \;(\beta_g = 0), \qquad \nabla_{\mathrm{free}} = 0
        """
        thresholds = self.thresholds(penalty)
        free = (self.group < 0) | (self.group == neuron)
        worst = float(np.abs(gradient[free]).max())
        for g in range(thresholds.size):
            rows = self.group == g
            if g == neuron:
                continue
            size = np.linalg.norm(coefficients[rows])
            if size > 0:
                rest = gradient[rows] + thresholds[g] * coefficients[rows] / size
                worst = max(worst, float(np.linalg.norm(rest)))
            else:
                worst = max(worst, float(np.linalg.norm(gradient[rows]) - thresholds[g]))
        return worst

    def curvature(self, neuron: int, activation: Floats) -> Floats:
        """Return minus the second derivative of the log likelihood by bin, shape (time,)."""
        return _curvature(
            activation, self.observed, self.counts[neuron], self.link.code, self.link.sharpness,
            self.bin_width,
        )  # fmt: skip


def solve(
    problem: Regression,
    coefficients: Floats,
    penalty: float,
    *,
    tolerance: float = 1e-4,
    strict: bool = True,
) -> Floats:
    """Minimise every neuron's objective, from the coefficients given.

    Proximal Newton: the likelihood's quadratic model over the groups that matter is minimised
    with the penalty by exact block coordinate descent, then a line search makes sure that the
    objective falls. The likelihood is concave for both links, so the optimum is the global one.

    Parameters
    ----------
    problem : Regression
        The problem.
    coefficients : ndarray
        Where to start, shape (neuron, input).
    penalty : float
        The weight kappa of the penalty, nats per second.
    tolerance : float
        Largest breach of the optimum's conditions, as a share of the null model's scale: the
        neuron's mean rate of spikes.
    strict : bool
        Whether to raise where the tolerance is not met.

    Returns
    -------
    ndarray
        Shape (neuron, input).

    Raises
    ------
    InferenceError
        If a neuron's conditions are not met after many steps, and `strict`.

    References
    ----------
    Lee, Sun & Saunders (2014), SIAM J Optim 24:1420; blocks as in Qin, Scheinberg & Goldfarb
    (2013), Math Prog Comp 5:143.
    """
    found = coefficients.copy()
    activation = found @ problem.inputs.T
    state = [problem.likelihood(n, row) for n, row in enumerate(activation)]
    rates = problem.counts.sum(axis=1) / problem.seconds
    left, breach = list(range(len(state))), [np.inf] * len(state)
    for _ in range(_MOST_STEPS):
        # All neurons' gradients in one product: the inputs are read once.
        gradient = -(np.array([state[n][1] for n in left]) @ problem.inputs) / problem.seconds
        breach = [
            problem.violation(n, found[n], row, penalty)
            for n, row in zip(left, gradient, strict=True)
        ]
        keep = [i for i, n in enumerate(left) if breach[i] > tolerance * rates[n]]
        left, breach, gradient = [left[i] for i in keep], [breach[i] for i in keep], gradient[keep]
        if not left:
            return found
        moves = np.array([
            _newton_move(problem, n, found[n], gradient[i], activation[n], penalty, breach[i])
            for i, n in enumerate(left)
        ])  # fmt: skip
        shifts = moves @ problem.inputs.T
        moved = False
        for i, n in enumerate(left):
            step, state[n] = _line_search(
                problem, n, found[n], moves[i], gradient[i], activation[n], shifts[i], penalty,
                state[n],
            )  # fmt: skip
            found[n] += step * moves[i]
            activation[n] += step * shifts[i]
            moved |= step > 0.0
        if not moved:
            break
    if strict:
        raise InferenceError(
            f"The group lasso of neuron {left[0]} did not converge at penalty {penalty:.3g}: its "
            f"conditions are off by {breach[0]:.3g}, at {rates[left[0]]:.3g} spikes per second. "
            "Leave the neuron out, or choose larger penalties."
        )
    return found


def _newton_move(
    problem: Regression,
    neuron: int,
    start: Floats,
    gradient: Floats,
    activation: Floats,
    penalty: float,
    breach: float,
) -> Floats:
    """Return the move to the minimum of the quadratic model with its penalty, shape (input,)."""
    thresholds = problem.thresholds(penalty)
    sets = [np.flatnonzero((problem.group < 0) | (problem.group == neuron))]
    limits = [0.0]
    for g in range(thresholds.size):
        rows = np.flatnonzero(problem.group == g)
        near = np.linalg.norm(gradient[rows]) > _NEAR * thresholds[g]
        if g != neuron and (near or np.any(start[rows])):
            sets.append(rows)
            limits.append(float(thresholds[g]))
    rows = np.concatenate(sets)
    weight = problem.curvature(neuron, activation)
    bins = np.flatnonzero(weight > _NEGLIGIBLE * weight.max())
    scaled = _gathered(problem.inputs, bins, rows, np.sqrt(weight[bins] / problem.seconds))
    hessian = scaled.T @ scaled
    hessian[np.diag_indices_from(hessian)] += _RIDGE * weight.sum() / problem.seconds
    borders = np.concatenate([[0], np.cumsum([s.size for s in sets])]).astype(np.int64)
    move = np.zeros(start.size)
    move[rows] = _block_descent(
        hessian, gradient[rows], start[rows], borders, np.array(limits), _INNER * breach
    )
    return move


def _line_search(
    problem: Regression,
    neuron: int,
    start: Floats,
    move: Floats,
    gradient: Floats,
    activation: Floats,
    shift: Floats,
    penalty: float,
    before: tuple[float, Floats],
) -> tuple[float, tuple[float, Floats]]:
    """Return the first halved step that lowers the objective enough, 0 if none does."""
    thresholds = problem.thresholds(penalty)

    def price(coefficients: Floats) -> float:
        sizes = np.array([
            np.linalg.norm(coefficients[problem.group == g]) for g in range(thresholds.size)
        ])  # fmt: skip
        sizes[neuron] = 0.0
        return float(thresholds @ sizes)

    at_start = price(start)
    promised = float(gradient @ move) + price(start + move) - at_start
    step = 1.0
    for _ in range(_MOST_HALVINGS):
        after = problem.likelihood(neuron, activation + step * shift)
        change = (before[0] - after[0]) / problem.seconds + price(start + step * move) - at_start
        if change <= _DECREASE * step * promised:
            return step, after
        step *= 0.5
    return 0.0, before


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _curvature(
    activation: Floats, observed: NDArray[np.bool_], counts: Integers, code: int,
    sharpness: float, bin_width: float,
) -> Floats:  # fmt: skip
    out = np.zeros(activation.size)
    for t in range(out.size):
        if not observed[t]:
            continue
        z = activation[t] / sharpness
        if code != SOFTPLUS_CODE:
            out[t] = bin_width * np.exp(min(z, 700.0))
            continue
        if abs(z) > 30.0:
            # The softplus is straight here; the logarithm of its exponential end is too.
            if counts[t] > 0 and z > 0.0:
                out[t] = counts[t] / activation[t] ** 2
            continue
        e = np.exp(-abs(z))
        logistic = 1.0 / (1.0 + e) if z > 0.0 else e / (1.0 + e)
        bend = e / (1.0 + e) ** 2 / sharpness
        out[t] = bin_width * bend
        if counts[t] > 0:
            rate = sharpness * (max(z, 0.0) + np.log1p(e))
            out[t] += counts[t] * max((logistic / rate) ** 2 - bend / rate, 0.0)
    return out


@nb.njit(cache=True, nogil=True)
def _gathered(inputs: Floats, bins: Integers, rows: Integers, scale: Floats) -> Floats:
    out = np.empty((bins.size, rows.size))
    for i in range(bins.size):
        for j in range(rows.size):
            out[i, j] = inputs[bins[i], rows[j]] * scale[i]
    return out


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _block_descent(
    hessian: Floats, gradient: Floats, start: Floats, borders: Integers, limits: Floats,
    accuracy: float,
) -> Floats:  # fmt: skip
    """Return d that minimises g'd + d'Hd/2 + sum of limits * norm(start + d), by blocks."""
    blocks = limits.size
    move = np.zeros(start.size)
    residual = gradient.copy()
    values = np.zeros(start.size)
    vectors = np.zeros(hessian.shape)
    for g in range(blocks):
        a, b = borders[g], borders[g + 1]
        own, axes = np.linalg.eigh(np.ascontiguousarray(hessian[a:b, a:b]))
        values[a:b] = np.maximum(own, 1e-12 * own[-1])
        vectors[a:b, a:b] = axes
    for _ in range(_MOST_SWEEPS):
        largest = 0.0
        for g in range(blocks):
            a, b = borders[g], borders[g + 1]
            axes = np.ascontiguousarray(vectors[a:b, a:b])
            now = start[a:b] + move[a:b]
            # In the block's own axes: minimise sum_i v_i y_i^2 / 2 - c_i y_i + limit * norm(y).
            c = values[a:b] * (axes.T @ now) - axes.T @ residual[a:b]
            change = axes @ _shrunk(values[a:b], c, limits[g]) - now
            if not np.any(change):
                continue
            move[a:b] += change
            effect = np.ascontiguousarray(hessian[:, a:b]) @ change
            residual += effect
            largest = max(largest, np.sqrt(np.sum(effect[a:b] ** 2)))
        if largest < accuracy:
            break
    return move


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _shrunk(values: Floats, c: Floats, limit: float) -> Floats:
    """Return y that minimises sum of v y^2 / 2 - c y, plus limit * norm(y).

    With r the norm of y, y = c r / (v r + limit); r is where the norm of c / (v r + limit) is
    one. Its inverse is concave in r, so that Newton's method climbs to the root from zero.
    """
    if limit == 0.0:
        return c / values
    if np.sum(c**2) <= limit**2:
        return np.zeros(c.size)
    r = 0.0
    for _ in range(100):
        below = values * r + limit
        squares = np.sum((c / below) ** 2)
        slope = np.sum(c**2 * values / below**3)
        rise = (np.sqrt(squares) - 1.0) * squares / slope
        r += rise
        if rise <= 1e-14 * r:
            break
    return c * r / (values * r + limit)
