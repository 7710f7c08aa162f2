"""Analyses of solutions against cases known by hand, figures, and the example."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from probneuro import infer
from probneuro.core.errors import DataError, SettingError
from probneuro.data.behaviour import Behaviour
from probneuro.inference.importance_dual import ImportanceDual
from probneuro.models.dsn import (
    DSN,
    compare_behaviours,
    conditional,
    directions,
    predictive_check,
)
from probneuro.plots import solution_figures, solution_pairs, voltage_traces

pytestmark = pytest.mark.slow  # a statistical suite: minutes, not seconds

EXAMPLES = Path(__file__).parents[2] / "examples"
BOX = Behaviour({"x": (0.0, 2.0), "y": (0.0, 4.0)}, {"sum": 1.5}, {"sum": 0.04})
MODEL = DSN(lambda z: {"sum": z["x"] + z["y"]})


@pytest.fixture(scope="module")
def result() -> xr.DataTree:
    engine = ImportanceDual(rounds=8, simulations=500)
    return infer(MODEL, BOX, engine=engine, draws=400, chains=1, seed=0, progress=False)


def test_directions_of_a_sum() -> None:
    found = directions(MODEL, BOX, np.array([0.3, 12.5]), {"x": 1.0, "y": 0.5})
    # Widths 2 and 4: the gradient of the sum is (2, 4), its square times twice the multiplier.
    np.testing.assert_allclose(found.curvatures, [25.0 * 20.0, 0.0], atol=1e-4)
    np.testing.assert_allclose(np.abs(found.vectors[0]), np.array([2, 4]) / 20**0.5, atol=1e-6)


def test_directions_at_an_edge_are_refused() -> None:
    model = DSN(lambda z: {"sum": np.where(z["x"] < 1.0, z["x"], np.nan)})
    with pytest.raises(DataError, match=r"`point` lies at the edge.*smaller `step`"):
        directions(model, BOX, np.array([0.0, 1.0]), {"x": 1.0, "y": 1.0})


def test_conditions_move_the_other_parameter(result: xr.DataTree) -> None:
    draws, weights = conditional(result, {"y": 1.0})
    assert weights.sum() == pytest.approx(1.0)
    assert weights @ draws[:, 0] == pytest.approx(0.5, abs=0.15)
    with pytest.raises(SettingError, match=r"`given` holds 'z'\. The result has x, y"):
        conditional(result, {"z": 1.0})
    with pytest.raises(SettingError, match="more than four kernel widths"):
        conditional(result, {"y": 50.0})


def test_a_behaviour_is_not_different_from_itself(result: xr.DataTree) -> None:
    assert compare_behaviours(result, result) == {"x": 0.0, "y": 0.0}
    other = result.copy(deep=True)
    other["posterior"]["z"] = other["posterior"]["z"] + np.array([0.0, 10.0])
    assert compare_behaviours(result, other) == {"y": 1.0, "x": 0.0}
    renamed = xr.DataTree.from_dict(
        {"posterior": result["posterior"].to_dataset().assign_coords(parameter=["x", "w"])}
    )
    with pytest.raises(DataError, match="other parameters"):
        compare_behaviours(result, renamed)


def test_predictive_check_simulates_the_draws(result: xr.DataTree) -> None:
    target, mean, error = predictive_check(MODEL, BOX, result)["sum"]
    assert target == 1.5
    assert abs(mean - target) < 0.2
    assert 0 < error < 0.1


def test_figures(result: xr.DataTree) -> None:
    figures = solution_figures(result, prefix="dsn_")
    assert set(figures) == {"dsn_solution_pairs", "dsn_feature_check", "dsn_entropy_course"}
    axes: Any = figures["dsn_feature_check"].axes[0]
    assert axes.lines[0].get_xdata()[0] == 1.5
    with pytest.raises(SettingError, match=r"`parameters` holds 'w'.*It has x, y"):
        solution_pairs(result, ["w"])


def test_traces_of_circuits() -> None:
    time = np.arange(800) * 2.5e-5
    voltages = [np.stack([np.sin(time + cell) for cell in range(3)], axis=1)] * 2
    figure = voltage_traces(time, voltages)
    assert len(figure.axes) == 6
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["AB/PD", "", "LP", "", "PY", ""]
    assert figure.axes[4].lines[0].get_ydata()[0] == pytest.approx(np.sin(2.0))


def test_the_example_runs() -> None:
    script = str(EXAMPLES / "own_simulator.py")
    done = subprocess.run(
        [sys.executable, script, "--smoke"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "stiffest direction" in done.stdout
