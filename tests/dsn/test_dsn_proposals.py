"""Rows of several proposals are weighted as draws from the mixture of all of them."""

import numpy as np
import torch

from probneuro.components.flows import AutoregressiveSpline, Box
from probneuro.core.engine import Arrays
from probneuro.core.flow import Flow
from probneuro.inference.proposals import add, empty

VOLUME = float(np.log(4.0))
SHARE = 0.1


def flow(seed: int) -> Flow:
    built = AutoregressiveSpline(Box([0.0], [4.0]), 1, np.random.default_rng(0), bins=4)
    generator = np.random.default_rng(seed)
    with torch.no_grad():
        for value in built.parameters():
            value += torch.from_numpy(0.3 * generator.standard_normal(value.shape)).float()
    return built


FLOWS = [flow(1), flow(2), flow(3)]


def rows(column: int, count: int) -> Arrays:
    rng = np.random.default_rng(10 + column)
    with torch.no_grad():
        values, _ = FLOWS[column].push(FLOWS[column].base(rng, count))
    statistics, drawn = values.numpy() ** 2, np.ones(count, dtype=bool)
    return {"values": values.numpy(), "statistics": statistics, "drawn": drawn}


def mixture(values: np.ndarray, numbers: list[int]) -> np.ndarray:
    total = np.zeros(len(values))
    for column, number in enumerate(numbers):
        with torch.no_grad():
            density = FLOWS[column].log_prob(torch.from_numpy(values)).exp().numpy()
        total += number * ((1.0 - SHARE) * density + SHARE * np.exp(-VOLUME))
    return np.log(total / sum(numbers))


def test_every_row_has_the_density_of_the_mixture() -> None:
    state = empty(50, 3, 1, 1)
    for column, numbers in enumerate(([30], [30, 10], [10, 10, 30])):
        state = add(state, rows(column, numbers[-1]), column, FLOWS.__getitem__, SHARE, VOLUME)
        kept = sum(numbers)
        expected = mixture(state["values"][:kept], numbers)
        np.testing.assert_allclose(state["log_proposal"][:kept], expected, rtol=1e-6)
        assert np.isnan(state["log_proposal"][kept:]).all()
    assert state["origin"].tolist() == [2] * 30 + [1] * 10 + [0] * 10


def test_a_column_is_used_again_once_its_rows_are_gone() -> None:
    state = empty(20, 2, 1, 1)
    for column in (0, 1, 0):
        state = add(state, rows(column, 10), column, FLOWS.__getitem__, SHARE, VOLUME)
    assert state["origin"].tolist() == [0] * 10 + [1] * 10
    np.testing.assert_allclose(state["log_proposal"], mixture(state["values"], [10, 10]), rtol=1e-6)
