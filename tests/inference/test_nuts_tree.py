"""The tree grown leaf by leaf is the recursive one: same joins, same draws, same numbers."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest

from probneuro.core.engine import Asking, Floats
from probneuro.core.gibbs import SmoothConditional
from probneuro.inference.hamiltonian import DIVERGENCE, Dynamics, Point, Tally, answered
from probneuro.inference.nuts import transition


class Banana(SmoothConditional):
    """A curved density, so that trajectories turn early and late."""

    def value_and_gradient(self, position: Floats) -> tuple[float, Floats]:
        x, rest = position[0], position[1:]
        error = rest - 0.5 * x**2
        gradient = np.concatenate([[-x + 2 * x * error.sum() / 0.5], -2 * error / 0.5])
        return float(-0.5 * x**2 - (error**2).sum() / 0.5), gradient


class Tree(NamedTuple):
    begin: Point
    end: Point
    momentum: Floats
    log_weight: float
    draw: Point


def goes_on(left: Tree, right: Tree) -> bool:
    both = left.momentum + right.momentum
    into_right = left.momentum + right.begin.momentum
    into_left = right.momentum + left.end.momentum
    pairs = (
        (left.begin, both),
        (right.end, both),
        (left.begin, into_right),
        (right.begin, into_right),
        (left.end, into_left),
        (right.end, into_left),
    )
    return all(float(point.velocity @ momentum) > 0 for point, momentum in pairs)


def grown(
    dynamics: Dynamics,
    start: Point,
    depth: int,
    step: float,
    tally: Tally,
    chances: Iterator[float],
) -> Asking[Tree | None]:
    """Hoffman & Gelman 2014, algorithm 6, with the weights of Betancourt 2017."""
    if depth == 0:
        point = yield from dynamics.leap(start, step)
        log_weight = tally.add(point)
        return None if tally.diverging else Tree(point, point, point.momentum, log_weight, point)
    left = yield from grown(dynamics, start, depth - 1, step, tally, chances)
    if left is None:
        return None
    right = yield from grown(dynamics, left.end, depth - 1, step, tally, chances)
    if right is None or not goes_on(left, right):
        return None
    log_weight = float(np.logaddexp(left.log_weight, right.log_weight))
    takes = np.log(next(chances)) < right.log_weight - log_weight
    momentum = left.momentum + right.momentum
    return Tree(left.begin, right.end, momentum, log_weight, (right if takes else left).draw)


def recursive(
    dynamics: Dynamics, start: Point, step: float, max_depth: int, rng: np.random.Generator
) -> Asking[tuple[Point, Tally, int]]:
    tally = Tally(start.energy)
    tree = Tree(start, start, start.momentum, 0.0, start)
    depth, on = 0, True
    while on and depth < max_depth:
        *inside, last, direction = rng.random(2**depth + 1)
        edge, signed = (tree.end, step) if direction > 0.5 else (tree.begin, -step)
        fresh = yield from grown(dynamics, edge, depth, signed, tally, iter(inside))
        if fresh is None:
            break
        depth += 1
        takes = np.log(last) < fresh.log_weight - tree.log_weight
        turned = fresh._replace(begin=fresh.end, end=fresh.begin)
        left, right = (tree, fresh) if direction > 0.5 else (turned, tree)
        on = goes_on(left, right)
        log_weight = float(np.logaddexp(tree.log_weight, fresh.log_weight))
        momentum, draw = left.momentum + right.momentum, (fresh if takes else tree).draw
        tree = Tree(left.begin, right.end, momentum, log_weight, draw)
    return tree.draw, tally, depth


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("step", [0.02, 0.2, 0.7, 3.0])
def test_the_tree_is_the_recursive_one(step: float, dense: bool) -> None:
    rng = np.random.default_rng(5)
    target, depths, diverging = Banana(), set(), 0
    root = rng.normal(size=(3, 3))
    metric = root @ root.T + np.eye(3) if dense else rng.uniform(0.5, 2.0, 3)
    dynamics, position = Dynamics(metric), np.zeros(3)
    for number in range(60):
        start = dynamics.kick(position, *target.value_and_gradient(position), rng)
        ours = answered(transition(dynamics, start, step, 6, np.random.default_rng(number)), target)
        draw, tally, depth = answered(
            recursive(dynamics, start, step, 6, np.random.default_rng(number)), target
        )
        assert int(ours.report["tree_depth"]) == depth
        assert (ours.tally.steps, ours.tally.diverging) == (tally.steps, tally.diverging)
        assert ours.tally.acceptance == pytest.approx(tally.acceptance, rel=1e-9)
        assert bool(ours.report["reached_max_treedepth"]) == (depth == 6)
        for name in Point._fields:
            found, expected = getattr(ours.point, name), getattr(draw, name)
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
        assert ours.point.energy == pytest.approx(draw.energy, rel=1e-9)
        position = draw.position
        depths.add(depth)
        diverging += tally.diverging
    assert len(depths) > 1 or step == 0.02 or diverging
    assert DIVERGENCE == 1000.0


def test_a_draw_is_no_view_of_the_tree() -> None:
    target, dynamics = Banana(), Dynamics(np.ones(3))
    rng = np.random.default_rng(0)
    start = dynamics.kick(np.zeros(3), *target.value_and_gradient(np.zeros(3)), rng)
    moved = answered(transition(dynamics, start, 0.2, 5, rng), target)
    tree = moved.point.position.base
    assert tree is None or tree.shape == (3, 3)
