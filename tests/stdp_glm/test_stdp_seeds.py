"""One seed, one answer: whatever the workers, and after a kill."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from probneuro import infer
from probneuro.core.errors import InferenceError
from probneuro.inference.gibbs import CollapsedGibbs, CollapsedKernel
from probneuro.inference.particle_gibbs import ParticleGibbs
from probneuro.learning_rules import Additive, Multiplicative, Static
from probneuro.models.stdp_glm import STDPGLM, conditionals
from stdp_glm.problems import recording

OPTIONS: dict[str, Any] = {"draws": 12, "chains": 2, "seed": 3, "progress": False}


def fit(rule: Any, engine: Any = None, **changes: Any) -> xr.DataTree:
    data = recording(0, neurons=2)
    engine = engine or CollapsedGibbs(warmup=10)
    return infer(STDPGLM(rule=rule), data, engine=engine, **{**OPTIONS, **changes})


def assert_same(first: xr.DataTree, second: xr.DataTree) -> None:
    for group in ("posterior", "sample_stats"):
        for name in first[group].data_vars:
            np.testing.assert_array_equal(first[group][name], second[group][name], err_msg=name)


@pytest.mark.parametrize(
    "rule",
    [Static(), Additive(), pytest.param(Multiplicative(), marks=pytest.mark.slow)],
    ids=lambda r: r.name,
)
def test_workers_do_not_change_draws(rule: Any) -> None:
    one = fit(rule, workers=1)
    assert_same(one, fit(rule, workers=2))
    assert np.any(one.posterior["bias"].values != fit(rule, seed=4).posterior["bias"].values)
    alone = fit(rule, chains=1, workers=2)  # its neurons in two threads
    np.testing.assert_array_equal(alone.posterior["weight"], one.posterior["weight"][:1])


def test_what_is_kept_does_not_change_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit(Additive(), chains=1)
    monkeypatch.setattr(conditionals, "_DRIVE_BYTES", 0)  # one drive, and no more
    assert_same(whole, fit(Additive(), chains=1))
    assert_same(whole, fit(Additive(), chains=1, workers=2))


def test_workers_do_not_change_particles() -> None:
    engine = ParticleGibbs(warmup=10, num_particles=10)
    assert_same(fit(Additive(), engine, workers=1), fit(Additive(), engine, workers=2))


@pytest.mark.parametrize("stop", [pytest.param(4, marks=pytest.mark.slow), 15])
def test_a_stopped_run_goes_on_to_the_same_draws(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(Additive(), workers=1)
    original = CollapsedKernel.step
    steps = 0

    def step(self: Any, state: Any, rng: Any, *, warmup: bool) -> Any:
        nonlocal steps
        steps += 1
        if steps > stop:
            raise InferenceError("pulled the plug")
        return original(self, state, rng, warmup=warmup)

    with monkeypatch.context() as patch:
        patch.setattr(CollapsedKernel, "step", step)
        with pytest.raises(InferenceError, match="pulled the plug"):
            fit(Additive(), workers=1, checkpoint=tmp_path)
    assert_same(whole, fit(Additive(), workers=1, checkpoint=tmp_path))
    assert_same(whole, fit(Additive(), workers=2, checkpoint=tmp_path))
