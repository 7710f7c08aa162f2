"""Skeleton of a learning rule's test: a case small enough to work out by hand."""

import numpy as np
import torch
from my_rule import MyRule

from probneuro.learning_rules import SpikePairs


def one_pair() -> SpikePairs:
    """Return a presynaptic spike at 2 ms and a postsynaptic one at 4 ms, in 5 ms windows."""
    counts = np.zeros((10, 2), dtype=int)
    counts[2, 0] = counts[4, 1] = 1
    return SpikePairs(counts, np.array([0]), np.array([1]), 1e-3, 5)


def test_one_pair_moves_the_weight_by_its_distance() -> None:
    parameters = {"amplitude": np.array([[3.0]]), "tau": np.array([[0.002]])}
    drift = MyRule().drift(np.zeros((1, 2)), one_pair(), parameters)
    np.testing.assert_allclose(drift, [[3.0 * np.exp(-1.0), 0.0]])


def test_arrays_and_tensors_agree() -> None:
    arrays = {"amplitude": np.array([[3.0]]), "tau": np.array([[0.002]])}
    tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
    by_array = MyRule().drift(np.zeros((1, 2)), one_pair(), arrays)
    by_tensor = MyRule().drift(torch.zeros(1, 2, dtype=torch.float64), one_pair(), tensors)
    np.testing.assert_allclose(by_array, by_tensor.numpy())
