"""Chains that share every gradient: the same draws as alone, resumed, stopped, or failing."""

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from probneuro import infer
from probneuro.core.checkpoint import ChainStore
from probneuro.core.engine import Arrays, Asking, BatchKernel, Floats
from probneuro.core.errors import InferenceError
from probneuro.inference.hamiltonian_chains import HamiltonianEngine
from probneuro.inference.hmc import HMC
from probneuro.inference.nuts import NUTS
from probneuro.inference.runner import ChainDraws, run_chains


class Walk(BatchKernel):
    """Metropolis on a standard normal, of one to four tries a step; answers are counted."""

    def __init__(self, fail_beyond: float = np.inf, interrupt_after: int = -1) -> None:
        self.fail_beyond = fail_beyond
        self.interrupt_after = interrupt_after
        self.rounds: list[int] = []

    def init(self, rng: np.random.Generator) -> Asking[Arrays]:
        start = rng.standard_normal(2)
        value, _ = yield start
        return {"x": start, "value": np.array(value)}

    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> Asking[tuple[Arrays, Arrays]]:
        tries = int(rng.integers(1, 5))
        for _ in range(tries):
            position = state["x"] + rng.standard_normal(2)
            value, _ = yield position
            if np.log(rng.random()) < value - state["value"]:
                state = {"x": position, "value": np.array(value)}
        return state, {"n_steps": np.array(tries)}

    def draw(self, state: Arrays) -> Arrays:
        return {"x": state["x"]}

    def answer(self, positions: Floats) -> tuple[Floats, Floats]:
        self.rounds.append(len(positions))
        if len(self.rounds) == self.interrupt_after:
            os.kill(os.getpid(), signal.SIGINT)
        if np.abs(positions).max() > self.fail_beyond:
            raise FloatingPointError("too far out")
        return -0.5 * (positions**2).sum(axis=1), -positions


def run(kernel: Walk | None = None, **changes: object) -> ChainDraws:
    settings = {"draws": 60, "warmup": 20, "chains": 4, "seed": 5, "progress": False, **changes}
    return run_chains(kernel or Walk(), **settings)  # type: ignore[arg-type]


def assert_same(a: ChainDraws, b: ChainDraws, chains: int = 4) -> None:
    for kind in ("posterior", "sample_stats", "warmup_posterior", "warmup_sample_stats"):
        left, right = getattr(a, kind), getattr(b, kind)
        assert left.keys() == right.keys()
        for name in left:
            np.testing.assert_array_equal(left[name][:chains], right[name][:chains])


def test_every_round_answers_all_chains_and_none_waits_for_the_longest() -> None:
    kernel = Walk()
    result = run(kernel, keep_warmup=True)
    tries = result.sample_stats["n_steps"].sum(1) + result.warmup_sample_stats["n_steps"].sum(1)
    assert set(kernel.rounds) == {4}
    assert len(kernel.rounds) == tries.max() + 1


@pytest.mark.parametrize(("chains", "workers"), [(1, None), (2, 1), (4, 3)])
def test_a_chain_does_not_depend_on_the_batch_or_on_workers(
    chains: int, workers: int | None
) -> None:
    assert_same(run(chains=chains, workers=workers), run(), chains)


@pytest.mark.parametrize("keep", [(0, 0, 0, 0), (3, 79, 40, 1), (80, 80, 7, 80)])
def test_resume_with_chains_at_different_steps(tmp_path: Path, keep: tuple[int, ...]) -> None:
    full = run(checkpoint=tmp_path, keep_warmup=True, segment_seconds=0.0)
    for chain, number in enumerate(keep):
        for path in (tmp_path / f"chain-{chain}").glob("segment-*.npz"):
            if int(path.stem.split("-")[1]) >= number:
                path.unlink()
    assert_same(full, run(checkpoint=tmp_path, keep_warmup=True))
    finished = Walk()
    assert_same(full, run(finished, checkpoint=tmp_path, keep_warmup=True))
    assert finished.rounds == []


def test_a_failing_answer_names_chain_step_and_seed_and_keeps_the_rest(tmp_path: Path) -> None:
    with pytest.raises(InferenceError, match=r"Chain \d failed at step \d+ .*seed 5.*too far out"):
        run(Walk(fail_beyond=4.0), checkpoint=tmp_path)
    assert max(ChainStore(tmp_path, c).read()[-1].stop for c in range(4)) > 5
    assert_same(run(), run(checkpoint=tmp_path))


def test_one_failing_chain_ends_the_others_at_a_whole_step(tmp_path: Path) -> None:
    class Odd(Walk):
        def draw(self, state: Arrays) -> Arrays:
            if state["x"][0] > 2.5:
                raise ValueError("odd draw")
            return {"x": state["x"]}

    with pytest.raises(InferenceError, match=r"ValueError: odd draw"):
        run(Odd(), checkpoint=tmp_path)
    assert_same(run(), run(checkpoint=tmp_path))


def test_interrupt_keeps_what_is_done(tmp_path: Path) -> None:
    assert threading.current_thread() is threading.main_thread()
    with pytest.raises(KeyboardInterrupt, match="make the same call again to resume"):
        run(Walk(interrupt_after=300), checkpoint=tmp_path, draws=3000)
    stops = [ChainStore(tmp_path, c).read()[-1].stop for c in range(4)]
    assert 0 < min(stops) <= max(stops) < 3020
    shorter = run(draws=3000)
    assert_same(shorter, run(checkpoint=tmp_path, draws=3000))


DATA = torch.tensor([1.2, 0.4, 2.2, 1.9], dtype=torch.float64)


def program() -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
    with pyro.plate("unit", len(DATA)):
        effect = pyro.sample("effect", dist.Normal(mean, scale))
        pyro.sample("y", dist.Normal(effect, 1.0), obs=DATA)


@pytest.mark.parametrize("engine", [NUTS(warmup=40), HMC(warmup=40)])
def test_a_program_resumes_to_the_same_draws(engine: HamiltonianEngine, tmp_path: Path) -> None:
    settings = {"engine": engine, "draws": 30, "chains": 3, "seed": 2, "progress": False}
    full = infer(program, **settings, save_warmup=True)
    folder = tmp_path / "run"
    kept = infer(program, **settings, save_warmup=True, checkpoint=folder)
    again = infer(program, **settings, save_warmup=True, checkpoint=folder)
    for group in ("posterior", "sample_stats", "warmup_posterior", "warmup_sample_stats"):
        for name, values in full[group].data_vars.items():
            np.testing.assert_array_equal(values, kept[group][name])
            np.testing.assert_array_equal(values, again[group][name])
    assert full.posterior["effect"].dims == ("chain", "draw", "unit")


def test_one_chain_of_a_program_draws_as_beside_others() -> None:
    """Equal but for the last bits, which batches of another size may round differently."""
    settings = {"engine": NUTS(warmup=5), "draws": 5, "seed": 2, "progress": False}
    one = infer(program, chains=1, **settings)
    four = infer(program, chains=4, **settings)
    np.testing.assert_allclose(one.posterior["mean"][0], four.posterior["mean"][0], rtol=1e-6)
