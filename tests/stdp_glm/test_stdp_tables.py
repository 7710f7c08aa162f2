"""Tables of window likelihoods against direct evaluation, over wide weights."""

from typing import Any

import numpy as np
import pytest

from probneuro.components.basis import CosineBasis
from probneuro.components.lagged import lagged_traces
from probneuro.components.links import Link
from probneuro.components.point_process import WindowSpikes, window_log_likelihoods
from probneuro.components.window_table import WindowTable
from stdp_glm.problems import LINKS

WINDOWS, SIZE, WIDTH = 6, 400, 1e-3


class Case:
    """A window table and the same likelihood evaluated bin by bin."""

    def __init__(
        self, link: Link, seed: int, step: float, tolerance: float = 1e-3,
        pre_rate: float | None = None, post_rate: float = 20.0,
    ) -> None:  # fmt: skip
        rng = np.random.default_rng(seed)
        bins = WINDOWS * SIZE
        pre_rate = [30.0, 50.0][seed % 2] if pre_rate is None else pre_rate
        pre, post = rng.poisson(pre_rate * WIDTH, bins), rng.poisson(1.5 * post_rate * WIDTH, bins)
        bumps = CosineBasis().evaluate(WIDTH)
        share = rng.dirichlet(np.full(bumps.shape[0], 0.4))
        self.drive = share @ lagged_traces(pre[:, None], bumps)[0]
        self.base = link.activation(post_rate) + 0.3 * link.bias_scale * rng.standard_normal(bins)
        self.silent = np.zeros(bins, dtype=bool)
        self.silent[SIZE - 50 : SIZE + 70] = True
        post[self.silent] = 0
        self.spikes = WindowSpikes.from_counts(post, SIZE)
        self.link = link
        self.table = WindowTable(
            self.base, self.drive, self.silent, self.spikes, link, WIDTH,
            step * link.weight_scale, tolerance,
        )  # fmt: skip

    def direct(self, weight: float) -> np.ndarray:
        activation = self.base + weight * self.drive
        return window_log_likelihoods(activation, self.silent, self.spikes, self.link, WIDTH)

    def errors(self, weights: np.ndarray) -> np.ndarray:
        got = np.array([self.table.at(k, weights) for k in range(WINDOWS)])
        return np.abs(got - np.array([self.direct(w) for w in weights]).T)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("step", [0.5, 1.0 / 16.0])
@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
def test_tables_meet_their_tolerance_and_own_up(link: Link, step: float, seed: int) -> None:
    case = Case(link, seed, step)
    reach = 4.0 if link.name != "exp" else 1.5
    rng = np.random.default_rng([seed, 1])
    weights = np.sort(rng.uniform(-reach, reach, 400)) * link.weight_scale
    worst = float(case.errors(weights).max())
    assert worst <= 1e-3
    assert case.table.error >= worst / 3.0
    assert case.table.step < 0.5 * link.weight_scale


def test_tables_meet_their_tolerance_to_the_letter() -> None:
    case = Case(LINKS[0], 1, 1.0 / 16.0)
    weights = np.random.default_rng([1, 1]).uniform(-4.0, 4.0, 400)
    assert case.errors(weights).max() <= 1e-3


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
def test_a_table_that_does_not_refine_is_caught(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(link, 0, 0.5, tolerance=1e9)
    weights = np.linspace(-1.5, 1.5, 301) * link.weight_scale
    assert case.errors(weights).max() > 1e-3
    # the error is owned up to even where it is not acted upon
    assert case.table.error >= case.errors(weights).max() / 3.0


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
def test_a_table_made_in_pieces_equals_one_made_at_once(link: Link) -> None:
    weights = np.linspace(-1.0, 1.0, 64) * link.weight_scale
    whole, pieces = Case(link, 1, 0.25), Case(link, 1, 0.25)
    for a, b in ((20, 30), (10, 40), (35, 36), (0, 64)):
        lowest, highest = np.full(WINDOWS, weights[a]), np.full(WINDOWS, weights[b - 1])
        lowest[a % WINDOWS] += 3.0 * link.weight_scale  # not needed: above the highest
        pieces.table.lattice(lowest, highest)
    assert whole.errors(weights).max() <= 1e-3
    assert pieces.errors(weights).max() <= 1e-3


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
def test_quiet_neurons_and_bins_without_drive(link: Link, seed: int) -> None:
    case = Case(link, seed, 1.0 / 16.0, pre_rate=2.0, post_rate=0.5)
    assert (case.drive == 0.0).mean() > 0.5
    weights = np.linspace(-2.0, 2.0, 41) * link.weight_scale
    assert case.errors(weights).max() <= 1e-3


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
def test_a_sketch_shows_every_window(link: Link, seed: int) -> None:
    case = Case(link, seed, 1.0 / 16.0)
    ends = round(-link.weight_scale / case.table.sketch_step), round(2.0 / (1.0 / 16.0)) + 1
    every = np.ones(WINDOWS, dtype=np.int64)
    sketch = case.table.sketch(ends[0] * every, ends[1] * every)
    near = np.arange(*ends) * sketch.step
    direct = np.array([case.direct(weight) for weight in near]).T
    assert np.isclose(near[0], -link.weight_scale) and np.isclose(near[-1], 2 * link.weight_scale)
    errors = np.abs(sketch.values - direct)
    np.testing.assert_array_less(errors, 0.3 + 5e-3 * np.abs(direct))
    assert np.median(errors) < 0.01


def test_a_synapse_that_never_acts_has_flat_windows() -> None:
    for link in LINKS:
        case = Case(link, 2, 0.25)
        flat: Any = WindowTable(
            case.base, np.zeros_like(case.drive), case.silent, case.spikes, link, WIDTH, 0.1
        )
        weights = np.array([-1.0, 0.0, 2.0])
        for k, expected in enumerate(case.direct(0.0)):
            np.testing.assert_allclose(flat.at(k, weights), expected, atol=1e-9)
