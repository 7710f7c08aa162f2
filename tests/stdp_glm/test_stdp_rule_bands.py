"""What is said of a fit whose truth is known, on draws made by hand."""

import numpy as np
import pytest
import xarray as xr

from probneuro.reproductions.rule_bands import (
    curve_coverage,
    edge_probability,
    path_errors,
    scaled_rule,
    shapes_held,
    weight_per_unit,
)

TRUTH = {
    "amplitude_plus": np.array([0.01]), "amplitude_minus": np.array([0.02]),
    "tau_plus": np.array([0.02]), "tau_minus": np.array([0.03]),
    "edge": np.array([1, 1, 0]), "weight": np.array([[1.0, 2.0], [3.0, 4.0], [0.0, 0.0]]),
}  # fmt: skip


def fit(*, scale: float = 1.0, amplitude: float = 1.0, width: float = 0.1) -> xr.DataTree:
    """Return draws about the truth, weights and amplitudes multiplied; one synapse is missed."""
    rng = np.random.default_rng(0)
    factor = np.exp(width * rng.standard_normal((2, 100, 1)))
    columns = {
        name: (("chain", "draw", "rule_group"), factor * TRUTH[name] * by)
        for name, by in (
            ("amplitude_plus", amplitude), ("amplitude_minus", amplitude), ("tau_plus", 1.0),
            ("tau_minus", 1.0),
        )
    }  # fmt: skip
    edge = np.broadcast_to([1, 0, 0], (2, 100, 3))
    noise = width * rng.standard_normal((2, 100, 3, 2))
    weight = (scale * TRUTH["weight"] + noise) * edge[..., None]
    posterior = xr.Dataset(columns).assign(
        edge=(("chain", "draw", "synapse"), edge),
        weight=(("chain", "draw", "synapse", "window"), weight),
    )
    return xr.DataTree.from_dict({"posterior": posterior})


def test_bands_about_the_truth_hold_it() -> None:
    result = fit()
    assert edge_probability(result).tolist() == [1.0, 0.0, 0.0]
    assert curve_coverage(result, TRUTH) == 1.0
    assert shapes_held(result, TRUTH) == (True, True, True)
    held, error = path_errors(result, TRUTH)  # of the synapse that was found
    assert held == 1.0 and error < 0.05


def test_weights_in_other_units_are_scaled_first() -> None:
    result = fit(scale=0.1, amplitude=0.1, width=0.02)
    rate = weight_per_unit(result, TRUTH)
    assert rate == pytest.approx(0.1, rel=0.02)
    assert scaled_rule(TRUTH, rate)["amplitude_plus"] == pytest.approx(0.001, rel=0.02)
    assert curve_coverage(result, TRUTH) == 0.0
    assert curve_coverage(result, TRUTH, 0.1) == 1.0
    assert path_errors(result, TRUTH, 0.1)[1] < 0.1
    assert shapes_held(result, TRUTH) == (True, True, True)
