import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr

from probneuro import infer, load, save
from probneuro.core.diagnostics import say
from probneuro.core.engine import Arrays, Engine, Kernel, RunOptions
from probneuro.core.errors import CapabilityError, CheckpointError, SettingError
from probneuro.core.hashing import stable_hash
from probneuro.core.model import HasDefaultEngine, Model
from probneuro.core.results import build_result
from probneuro.inference.nuts import NUTS
from probneuro.inference.runner import chains_result, run_chains

Y = torch.tensor([1.2, 0.4, 2.2])


class Direct(Kernel):
    """Independent draws of the conjugate posterior."""

    def __init__(self, data: torch.Tensor, spread: float) -> None:
        self.mean = float(data.mean())
        self.spread = spread

    def init(self, rng: np.random.Generator) -> Arrays:
        return {"rate": np.zeros(2)}

    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> tuple[Arrays, Arrays]:
        rate = self.mean + self.spread * rng.normal(size=2)
        return {"rate": rate}, {"lp": np.array(-0.5 * float(rate @ rate))}

    def draw(self, state: Arrays) -> Arrays:
        return state


@dataclass(frozen=True, kw_only=True)
class Toy(Engine):
    """What another engine looks like to `infer`: one method."""

    spread: float = 1.0

    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        chains = run_chains(
            Direct(args[0], self.spread),
            draws=options.draws,
            warmup=5,
            chains=options.chains,
            first_chain=options.first_chain,
            seed=options.seed,
            workers=options.workers,
            progress=options.progress,
            checkpoint=options.checkpoint,
            fingerprint=options.fingerprint,
            keep_warmup=options.save_warmup,
        )
        return chains_result(chains, options)


class Rates(Model, HasDefaultEngine):
    name = "rates"

    def model(self, data: torch.Tensor) -> None:
        pyro.sample("rate", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    def guide(self, data: torch.Tensor) -> None: ...

    def dims(self) -> dict[str, list[str]]:
        return {"rate": ["neuron"]}

    def coords(self, data: torch.Tensor) -> dict[str, Any]:
        return {"neuron": ["a", "b"], "area": ("neuron", ["v1", "v2"])}

    def default_engine(self) -> Engine:
        return Toy()


def program(y: torch.Tensor, *, scale: float = 1.0) -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    with pyro.plate("unit", len(y)):
        pyro.sample("y", dist.Normal(mean, scale), obs=y)


OPTIONS: dict[str, Any] = {"draws": 200, "chains": 2, "seed": 3, "progress": False}


def test_a_model_runs_with_its_own_engine_and_names(tmp_path: Path) -> None:
    result = infer(Rates(), Y, **OPTIONS)
    assert result.posterior["rate"].dims == ("chain", "draw", "neuron")
    assert list(result.posterior["neuron"].values) == ["a", "b"]
    assert list(result["constant_data"]["area"].values) == ["v1", "v2"]
    attrs = result.attrs
    assert (attrs["model"], attrs["engine"], attrs["seed"]) == ("rates", "Toy", 3)
    assert json.loads(attrs["engine_settings"]) == {"spread": 1.0}
    assert json.loads(attrs["versions"])["torch"] == version("torch")
    assert attrs["data_hash"] == stable_hash((Y,), {})
    assert attrs["seconds"] > 0
    assert attrs["created_at"].startswith("20")
    assert json.loads(attrs["diagnostics"]) == []
    xr.testing.assert_identical(result, load(save(result, tmp_path / "r.nc")))


def test_users_names_go_over_the_models() -> None:
    result = infer(Rates(), Y, coords={"neuron": ["x", "y"], "area": ("neuron", [1, 2])}, **OPTIONS)
    assert list(result.posterior["neuron"].values) == ["x", "y"]


def test_pyro_callable_with_nuts_by_default(tmp_path: Path) -> None:
    options = {**OPTIONS, "draws": 5, "chains": 1}
    result = infer(program, Y, scale=2.0, engine=NUTS(warmup=20), save_warmup=True, **options)
    assert result.attrs["model"] == "program"
    assert result["warmup_posterior"].sizes["draw"] == 20
    again = infer(program, Y, scale=2.0, engine=NUTS(warmup=20), workers=1, **options)
    np.testing.assert_array_equal(result.posterior["mean"], again.posterior["mean"])


def test_checkpoint_belongs_to_one_call(tmp_path: Path) -> None:
    first = infer(Rates(), Y, checkpoint=tmp_path, **OPTIONS)
    again = infer(Rates(), Y, checkpoint=tmp_path, **OPTIONS)
    np.testing.assert_array_equal(first.posterior["rate"], again.posterior["rate"])
    with pytest.raises(CheckpointError, match="`data_hash` was"):
        infer(Rates(), Y + 1, checkpoint=tmp_path, **OPTIONS)
    with pytest.raises(CheckpointError, match="`engine_settings` was"):
        infer(Rates(), Y, engine=Toy(spread=2.0), checkpoint=tmp_path, **OPTIONS)


def test_no_seed_draws_one_and_records_it() -> None:
    options = {**OPTIONS, "seed": None}
    first = infer(Rates(), Y, **options)
    again = infer(Rates(), Y, **{**options, "seed": first.attrs["seed"]})
    np.testing.assert_array_equal(first.posterior["rate"], again.posterior["rate"])


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("nuts", r"`engine` must be an engine object; got 'nuts'\. Write e\.g\."),
        (NUTS, r"`engine` is the class NUTS; an object is needed\. Write engine=NUTS\(\)"),
        (3, "must be an engine object; got 3"),
    ],
)
def test_bad_engines(engine: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        infer(program, Y, engine=engine)


def test_bad_models_and_seeds() -> None:
    with pytest.raises(SettingError, match="`model` must be a Model or a Pyro program; got int"):
        infer(3)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="`seed` must be a non-negative integer; got -1"):
        infer(Rates(), Y, seed=-1)
    with pytest.raises(CapabilityError, match="is discrete"):
        infer(lambda: pyro.sample("k", dist.Poisson(2.0)), seed=1)


def test_findings_are_printed_and_stored(capsys: pytest.CaptureFixture[str]) -> None:
    result = infer(Rates(), Y, **{**OPTIONS, "draws": 30, "progress": True})
    told = json.loads(result.attrs["diagnostics"])
    assert any("effective draws (at least 200 are wanted)" in line for line in told)
    assert told[0] in capsys.readouterr().err


def test_diagnostics_name_the_place() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 200, 3))
    x[2, :, 1] += 3
    edge = np.ones((4, 200))
    result = build_result(
        {"weight": x, "edge": edge.astype(bool), "broken": np.full((4, 200), np.nan)},
        {
            "diverging": rng.random((4, 200)) < 0.1,
            "reached_max_treedepth": edge.astype(bool),
            "rule_acceptance_rate": 0.1 * rng.random((4, 200)),
        },
        dims={"weight": ["synapse"]},
        coords={"synapse": ["a->b", "b->a", "c->a"]},
    )
    told = " ".join(say(result))
    assert "`weight[b->a]`: R-hat" in told
    assert "more of" not in told
    assert "`edge" not in told
    assert "`broken`: 800 draws are NaN or infinite" in told
    assert "Only 5 % of the moves of rule parameters were accepted: right, but slow." in told
    assert "divergent draws (" in told
    assert "800 draws stopped at the greatest tree depth" in told


def test_diagnostics_of_short_and_single_runs() -> None:
    assert say(build_result({"x": np.zeros((4, 3))})) == [
        "Only 3 draws a chain: too few for any diagnostics."
    ]
    draws = np.random.default_rng(0).normal(size=(1, 500))
    assert say(build_result({"x": draws})) == [
        "One chain only: whether chains agree cannot be told. Run 4."
    ]
    assert say(build_result({}, groups={"truth": {"x": np.zeros(3)}})) == []


def test_hashes_are_stable_and_tell_differences() -> None:
    def one(x: float) -> float:
        return x + 1

    def two(x: float) -> float:
        return x + 2

    values = [
        *(None, True, 1, 1.0, "1", b"1", [1], {"a": 1}, {1, 2}, np.arange(3), np.arange(3.0)),
        *(np.zeros((2, 3)), np.zeros((3, 2)), torch.zeros(2, 3), one, two, Rates(), Toy(spread=2)),
        *(Toy(spread=3), pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]}), range(3)),
        *(xr.DataArray([1.0]), xr.Dataset({"x": 1}), torch.nn.Linear(1, 1), np.array(["a", None])),
    ]
    hashes = [stable_hash(v) for v in values]
    assert len(set(hashes)) == len(hashes)
    assert hashes == [stable_hash(v) for v in values]
    assert stable_hash({"a": 1, "b": 2}) == stable_hash({"b": 2, "a": 1})
    assert stable_hash(np.arange(6).reshape(2, 3).T) == stable_hash(
        np.ascontiguousarray(np.arange(6).reshape(2, 3).T)
    )


IMPORT = """
import sys, time, warnings, numpy as np
start = time.perf_counter()
import probneuro
first = time.perf_counter() - start
assert first < 0.3, first
assert not {"torch", "pyro", "xarray", "arviz_plots"} & set(sys.modules)
import torch, pyro
def state():
    return (torch.get_default_dtype(), torch.random.get_rng_state().tolist(),
        str(np.random.get_state()), np.geterr(), sorted(pyro.get_param_store().keys()),
        torch.get_num_threads(), torch.is_grad_enabled(),
        torch.distributions.Distribution._validate_args)
import pandas, xarray, arviz_base, arviz_stats, numba, pyro.infer.autoguide
import pyro.distributions.torch_patch
filters = list(warnings.filters)
before = state()
import probneuro.infer, probneuro.compare, probneuro.inference.svi, probneuro.inference.nuts
import probneuro.data, probneuro.az
from probneuro import infer, compare, load, save, az, SpikeTrains, read_spikes
assert callable(infer) and callable(compare), (infer, compare)
assert state() == before
assert warnings.filters == filters
assert infer is probneuro.infer and set(dir(probneuro)) >= {"infer", "az", "__version__"}
"""


def test_import_is_quick_and_changes_no_global() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_unknown_public_name() -> None:
    import probneuro

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        probneuro.nothing  # noqa: B018
