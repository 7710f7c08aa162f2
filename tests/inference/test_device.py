"""`device=`: what is moved, what is refused, and that every engine computes where it was told."""

import os
import shutil
import subprocess
import sys
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import device_cases
import numpy as np
import pytest
import torch

import probneuro
from probneuro import infer
from probneuro.core.device import (
    CPU,
    as_numpy,
    computing_on,
    moved,
    refuse_device,
    resolve_device,
    seed_torch,
)
from probneuro.core.engine import RunOptions, RunsOnDevice
from probneuro.core.errors import CapabilityError, CheckpointError, SettingError
from probneuro.core.registry import load, names
from probneuro.inference.gibbs import CollapsedGibbs
from probneuro.inference.particle_gibbs import ParticleGibbs

META = torch.device("meta")  # has shapes and no numbers, on every machine
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device at hand")


@dataclass(frozen=True)
class Recording:
    counts: torch.Tensor
    label: str = "a"


Pair = namedtuple("Pair", "left right")


def test_names_of_devices() -> None:
    assert (
        resolve_device(None) == resolve_device("cpu") == resolve_device(torch.device("cpu")) == CPU
    )
    assert resolve_device(None, [{"x": torch.ones(2)}, 3, "text"]) == CPU
    with pytest.raises(SettingError, match=r"`device` 'gpu' cannot be used here.*CPU"):
        resolve_device("gpu")
    with pytest.raises(SettingError, match="`device` 'meta' cannot be used here"):
        resolve_device(None, torch.ones(2, device=META))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_no_cuda_at_hand() -> None:
    with pytest.raises(
        SettingError, match=r"`device` 'cuda' cannot be used here.*leave `device` out"
    ):
        infer(*_call("nuts"), device="cuda", **device_cases.SIZES)
    with pytest.raises(SettingError, match="`device` 'cuda:1' cannot be used here"):
        device_cases.check_state_space("cuda:1")


def test_what_is_moved() -> None:
    data = {
        "pair": Pair(torch.ones(2), [torch.ones(3), "text"]),
        "recording": Recording(torch.ones(4)),
    }
    there = moved(data, META)
    assert there["pair"].left.device == there["pair"].right[0].device == META
    assert there["recording"].counts.device == META
    assert there["recording"].label == "a" and there["pair"].right[1] == "text"
    assert data["recording"].counts.device == CPU  # type: ignore[attr-defined]
    assert moved(data, CPU) is data


def test_other_tensors_are_named() -> None:
    with (
        pytest.raises(
            CapabilityError, match=r"expected all tensors on meta.*pass data as arguments"
        ),
        computing_on(META),
    ):
        _ = torch.ones(3) + torch.ones(3, device="cpu")
    with (
        pytest.raises(CapabilityError, match=r"expected all tensors on meta.*compute in torch"),
        computing_on(META),
    ):
        raise TypeError("can't convert cuda:0 device type tensor to numpy.")
    with pytest.raises(RuntimeError, match="a mistake of its own"), computing_on(META):
        raise RuntimeError("a mistake of its own")


def test_default_device_is_left_as_found() -> None:
    with computing_on(META):
        assert torch.ones(()).device == META
        with computing_on(CPU):
            assert torch.ones(()).device == CPU
    assert torch.ones(()).device == CPU


def test_streams_of_other_devices_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(seed: int) -> None:
        raise AssertionError(seed)

    monkeypatch.setattr(torch.cuda, "manual_seed_all", fail)
    with torch.random.fork_rng(devices=[]):
        seed_torch(1)
        first = torch.rand(2)
        torch.default_generator.manual_seed(1)
        assert torch.equal(first, torch.rand(2))
    device_cases.run("nuts", None, draws=1, chains=1)


def test_engines_of_the_cpu_refuse_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(device: Any, *values: Any) -> torch.device:
        return torch.device("cuda:0")

    monkeypatch.setattr(sys.modules["probneuro.infer"], "resolve_device", elsewhere)
    with pytest.raises(CapabilityError, match="'cuda:0', and CollapsedGibbs computes on the CPU"):
        infer(*_call("nuts"), engine=CollapsedGibbs(), device="cuda")
    with pytest.raises(CapabilityError, match="ParticleGibbs of such a model computes on the CPU"):
        ParticleGibbs().run(object(), (), {}, RunOptions(device="cuda:0"))
    refuse_device("cpu", "anything", "do nothing")


def test_every_engine_has_a_case_or_refuses() -> None:
    tried = {type(engine) for _, _, engine in device_cases.CASES.values()}
    on_device = {
        load("engine", n) for n in names("engine") if issubclass(load("engine", n), RunsOnDevice)
    }
    assert on_device == tried


@pytest.mark.parametrize("name", ["nuts", "svi", "gibbs", "particle_filter"])
def test_cpu_is_what_none_is(name: str) -> None:
    ours, theirs = device_cases.run(name, "cpu"), device_cases.run(name, None)
    for variable, values in ours.posterior.data_vars.items():
        np.testing.assert_array_equal(values, theirs.posterior[variable])
    assert ours.attrs["device"] == "cpu"


def test_results_are_arrays() -> None:
    found = as_numpy(torch.ones(2, requires_grad=True))
    assert isinstance(found, np.ndarray)


@pytest.mark.slow
def test_nothing_stays_on_the_cpu(tmp_path: Path) -> None:
    """Run all engines on a device that fails where any tensor is left behind."""
    if shutil.which("g++") is None or shutil.which("ninja") is None:
        pytest.skip("no C++ compiler or no ninja to build the device with")
    script = Path(__file__).with_name("pretend_device.py")
    root = str(Path(probneuro.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]


@needs_cuda
@pytest.mark.parametrize("name", list(device_cases.CASES))
def test_cuda_gives_the_same_numbers_twice(name: str) -> None:
    before = torch.cuda.get_rng_state()
    ours, theirs = device_cases.run(name, "cuda"), device_cases.run(name, "cuda")
    assert torch.equal(before, torch.cuda.get_rng_state())
    assert ours.attrs["device"] == "cuda"
    for variable, values in ours.posterior.data_vars.items():
        assert isinstance(values.values, np.ndarray)
        if name != "tempered_smc":  # many sums, whose order is not fixed there
            np.testing.assert_allclose(values, theirs.posterior[variable], rtol=1e-9)


@needs_cuda
def test_cuda_agrees_with_the_cpu() -> None:
    """NUTS draws its random numbers on the CPU, so that short runs agree but for rounding."""
    ours, theirs = device_cases.run("nuts", "cuda"), device_cases.run("nuts", "cpu")
    assert device_cases.close(ours, theirs, "posterior")
    device_cases.check_conversions("cuda")
    device_cases.check_state_space("cuda")


@needs_cuda
def test_cuda_takes_the_device_of_its_tensors() -> None:
    model, (data,), engine = device_cases.CASES["nuts"]
    there = {name: values.cuda() for name, values in data.items()}
    found = infer(model, there, engine=engine, **device_cases.SIZES)
    assert found.attrs["device"] == "cuda"
    device_cases.close(found, device_cases.run("nuts", "cuda"), "posterior")


@needs_cuda
def test_cuda_checkpoint_goes_on(tmp_path: Path) -> None:
    whole = device_cases.run("svi", "cuda", draws=20)
    device_cases.run("svi", "cuda", draws=20, checkpoint=tmp_path)
    again = device_cases.run("svi", "cuda", draws=20, checkpoint=tmp_path)
    assert device_cases.close(whole, again, "posterior")
    with pytest.raises(CheckpointError, match="device"):
        device_cases.run("svi", "cpu", draws=20, checkpoint=tmp_path)


def _call(name: str) -> tuple[Any, ...]:
    model, args, _ = device_cases.CASES[name]
    return (model, *args)
