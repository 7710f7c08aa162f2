"""Engines of largest entropy: known answers, lost modes, improper problems, resuming."""

from typing import Any

import numpy as np
import pytest
import xarray as xr

from probneuro import infer, load, save
from probneuro.core.errors import InferenceError, SettingError
from probneuro.data.behaviour import Behaviour
from probneuro.inference.augmented_lagrangian import AugmentedLagrangian
from probneuro.inference.importance_dual import ImportanceDual
from probneuro.inference.sobol_dual import SobolDual
from probneuro.models.dsn import DSN
from probneuro.simulators.linear_2d import eigenvalues, exact_entropy, oscillation

pytestmark = pytest.mark.slow  # a statistical suite: minutes, not seconds

SIZES: dict[str, Any] = {"draws": 500, "chains": 1, "progress": False}
SQUARE = Behaviour({"x": (0.0, 4.0), "y": (0.0, 4.0)}, means={"sum": 2.0})
QUICK = ImportanceDual(rounds=20, simulations=500, batch=250)


def total(z: Any) -> dict[str, Any]:
    return {"sum": z["x"] + z["y"]}


def truncated_entropy(mean: float, length: float) -> float:
    """Return the entropy of a truncated exponential of a given mean, by the dual on a grid."""
    x = (np.arange(100_000) + 0.5) * length / 100_000
    rates = np.linspace(0.01, 5.0, 4000)
    means = [float((x * np.exp(-r * x)).sum() / np.exp(-r * x).sum()) for r in rates[::40]]
    rate = float(np.interp(mean, means[::-1], rates[::40][::-1]))
    return float(np.log(np.exp(-rate * x).mean() * length) + rate * mean)


def one(result: xr.DataTree) -> xr.Dataset:
    return result["max_entropy"].to_dataset().isel(chain=0)


@pytest.mark.stat
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_truncated_exponentials(seed: int) -> None:
    exact = 2.0 * truncated_entropy(1.0, 4.0)
    result = infer(DSN(total), SQUARE, engine=QUICK, seed=seed, **SIZES)
    found = one(result)
    assert float(found.dual_entropy) == pytest.approx(exact, abs=0.03)
    assert float(found.entropy) == pytest.approx(exact, abs=0.12)
    assert int(found.converged)
    assert result.attrs["diagnostics"] == "[]"
    weights = np.exp(result["sample_stats/log_weight"].values[0])
    assert weights.sum() == pytest.approx(1.0)


def test_the_sequence_gives_the_exact_answer() -> None:
    result = infer(DSN(total), SQUARE, engine=SobolDual(log2_points=14), seed=0, **SIZES)
    assert float(one(result).dual_entropy) == pytest.approx(
        2 * truncated_entropy(1.0, 4.0), abs=2e-3
    )
    assert int(one(result).converged)
    mean = result["posterior_predictive/statistics"].mean().item()
    assert mean == pytest.approx(2.0, abs=0.15)


def test_the_sequence_on_the_linear_system() -> None:
    model = DSN(eigenvalues, differentiable=True, swap=("a2", "a3"))
    result = infer(model, oscillation(), engine=SobolDual(log2_points=17), seed=0, **SIZES)
    assert float(one(result).dual_entropy) == pytest.approx(7.734882, abs=0.03)
    assert float(one(result).mode_share) == pytest.approx(0.5, abs=0.03)


@pytest.mark.stat
def test_the_linear_system_in_short() -> None:
    """A shorter run than the default one, which is measured over ten seeds in the card."""
    behaviour = oscillation()
    model = DSN(eigenvalues, differentiable=True, swap=("a2", "a3"))
    engine = ImportanceDual(rounds=25, simulations=1000)
    result = infer(model, behaviour, engine=engine, seed=0, **{**SIZES, "draws": 2000})
    found, exact = one(result), exact_entropy(behaviour)
    means = result["posterior_predictive/statistics"].values[0].mean(axis=0)
    divergence = exact.divergence(float(found.entropy), means)
    assert divergence < 1.0
    assert float(found.divergence) == pytest.approx(divergence, abs=0.25)
    assert abs(float(found.dual_entropy) - exact.entropy) < 0.1
    assert float(found.mode_share) == pytest.approx(0.5, abs=0.1)


def test_a_lost_mode_is_said(tmp_path: Any) -> None:
    """The augmented Lagrangian meets every moment from within one mode."""
    model = DSN(eigenvalues, differentiable=True, swap=("a2", "a3"))
    engine = AugmentedLagrangian(epochs=3, iterations=150, batch=300, learning_rate=3e-3, norms=10)
    result = infer(model, oscillation(), engine=engine, seed=0, **SIZES)
    found = one(result)
    assert not int(found.converged)
    assert abs(float(found.mode_share) - 0.5) > 0.1
    assert "a mode is lost or thin" in result.attrs["diagnostics"]
    save(result, tmp_path / "fit.nc")
    again = load(tmp_path / "fit.nc")
    xr.testing.assert_identical(
        again["max_entropy"].to_dataset(), result["max_entropy"].to_dataset()
    )


def test_the_augmented_lagrangian_meets_a_mean() -> None:
    model = DSN(total, differentiable=True)
    engine = AugmentedLagrangian(epochs=4, iterations=100, batch=100, learning_rate=8e-3, norms=20)
    result = infer(model, SQUARE, engine=engine, seed=1, **SIZES)
    found = one(result)
    assert float(found.entropy) == pytest.approx(2 * truncated_entropy(1.0, 4.0), abs=0.3)
    assert abs(float(found.miss.item())) < 0.3


def test_failed_simulations_are_counted_and_carry_no_weight() -> None:
    def half(z: Any) -> dict[str, Any]:
        return {"sum": np.where(z["x"] < 2.0, z["x"] + z["y"], np.nan)}

    behaviour = Behaviour(SQUARE.bounds, means={"sum": 3.0})
    result = infer(DSN(half), behaviour, engine=QUICK, seed=0, **SIZES)
    found = one(result)
    # Symmetric about the mean: uniform on the half that works.
    assert float(found.dual_entropy) == pytest.approx(np.log(8.0), abs=0.05)
    assert float(result["fit_history/failed_share"][0, 0]) == pytest.approx(0.5, abs=0.1)
    assert float(found.failed_share) < 0.1
    weights = result["sample_stats/log_weight"].values[0]
    broken = np.isnan(result["posterior_predictive/features"].values[0, :, 0])
    assert np.exp(weights[broken]).sum() < 1e-6


def test_targets_that_nothing_reaches_are_said() -> None:
    behaviour = Behaviour(SQUARE.bounds, means={"sum": 9.0})
    result = infer(DSN(total), behaviour, engine=SobolDual(log2_points=10), seed=0, **SIZES)
    assert not int(one(result).converged)
    assert "the dual diverges" in result.attrs["diagnostics"]


def test_simulations_that_all_fail_are_said() -> None:
    model = DSN(lambda z: {"sum": np.full_like(z["x"], np.nan)})
    with pytest.raises(InferenceError, match="no simulation gave finite statistics"):
        infer(model, SQUARE, engine=QUICK, seed=0, **SIZES)


def test_the_same_seed_gives_the_same_draws_and_another_others() -> None:
    short = ImportanceDual(rounds=3, simulations=200, steps=5)
    runs = [infer(DSN(total), SQUARE, engine=short, seed=s, **SIZES) for s in (3, 3, 4)]
    first, again, other = (run["posterior/z"].values for run in runs)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_run_goes_on_from_its_checkpoint(tmp_path: Any) -> None:
    short = ImportanceDual(rounds=3, simulations=200, steps=5)
    whole = infer(DSN(total), SQUARE, engine=short, seed=3, **SIZES)
    for _ in range(2):
        kept = infer(DSN(total), SQUARE, engine=short, seed=3, checkpoint=tmp_path, **SIZES)
        np.testing.assert_array_equal(kept["posterior/z"].values, whole["posterior/z"].values)


@pytest.mark.parametrize(
    ("engine", "settings", "message"),
    [
        (ImportanceDual, {"rounds": 0}, "`rounds` must be positive; got 0. Its default is 60"),
        (ImportanceDual, {"uniform_share": 1.0}, "`uniform_share` must be between 0 and 1"),
        (AugmentedLagrangian, {"penalty": -1.0}, "`penalty` must be positive; got -1.0"),
        (SobolDual, {"log2_points": 3}, "`log2_points` must be between 4 and 30; got 3"),
    ],
)
def test_settings_out_of_range(engine: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        engine(**settings)
