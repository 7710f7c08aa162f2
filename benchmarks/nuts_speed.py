"""Effective draws a CPU second of NUTS: ours, Pyro's, and NumPyro's where an interpreter has it.

A logistic regression of 200 weights on 5000 observations, and eight schools. Medians of bulk ESS
over all parameters, warm-up counted, every contestant in float64 on the one core that this process
is bound to. Our chains run as one batch, Pyro's one after the other, NumPyro's vectorised. Ours
and NumPyro's first run count tracing and compilation; its second run (`warm`) does not compile.
Results are appended to a record:

    OMP_NUM_THREADS=1 python benchmarks/nuts_speed.py [--numpyro PYTHON] [--chains 1 4 8 16]
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import MCMC
from pyro.infer import NUTS as PyroNUTS

import probneuro as pn
from probneuro import az
from probneuro.inference.nuts import NUTS

RECORD = Path(__file__).parent / "records" / "nuts_speed.jsonl"
PEER = Path(__file__).parent / "nuts_speed_peer.py"
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

Program = Callable[..., None]
Data = dict[str, np.ndarray[Any, Any]]


def logistic(x: torch.Tensor, y: torch.Tensor) -> None:
    weight = pyro.sample("weight", dist.Normal(0.0, 2.0).expand([x.shape[1]]).to_event(1))
    with pyro.plate("observation", len(y)):
        pyro.sample("y", dist.Bernoulli(logits=x @ weight), obs=y)


def eight_schools(y: torch.Tensor, sigma: torch.Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("school", 8):
        raw = pyro.sample("raw", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu + tau * raw, sigma), obs=y)


def logistic_data() -> Data:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 200)) / np.sqrt(200)
    weights = 2 * rng.normal(size=200)
    return {"x": x, "y": (rng.random(5000) < 1 / (1 + np.exp(-x @ weights))).astype(float)}


def schools_data() -> Data:
    y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
    return {"y": y, "sigma": np.array([15.0, 10, 16, 11, 9, 11, 10, 18])}


# Program, data, and the steps of warm-up and of draws.
CASES: dict[str, tuple[Program, Data, int]] = {
    "logistic": (logistic, logistic_data(), 300),
    "eight_schools": (eight_schools, schools_data(), 1000),
}


def median_ess(draws: dict[str, Any]) -> float:
    """Return the median of bulk ESS over all parameters, of arrays (chain, draw, ...)."""
    found = az.ess(az.convert_to_dataset(draws))
    return float(np.median(np.concatenate([np.ravel(v) for v in found.data_vars.values()])))


def ours(program: Program, data: Data, steps: int, chains: int, fast: bool) -> dict[str, float]:
    engine = NUTS(warmup=steps, compiled=fast)
    args = [torch.tensor(value) for value in data.values()]
    start = time.process_time()
    result = pn.infer(
        program, *args, engine=engine, draws=steps, chains=chains, seed=1, progress=False
    )
    seconds = time.process_time() - start
    draws = {name: value.values for name, value in result["posterior"].data_vars.items()}
    return {"seconds": seconds, "rate": median_ess(draws) / seconds}


def pyros(program: Program, data: Data, steps: int, chains: int) -> dict[str, float]:
    args = [torch.tensor(value) for value in data.values()]
    found = []
    start = time.process_time()
    for chain in range(chains):
        pyro.set_rng_seed(chain)
        run = MCMC(PyroNUTS(program), steps, warmup_steps=steps, disable_progbar=True)
        run.run(*args)
        found.append(run.get_samples())
    seconds = time.process_time() - start
    draws = {name: np.stack([each[name].numpy() for each in found]) for name in found[0]}
    return {"seconds": seconds, "rate": median_ess(draws) / seconds}


def numpyros(python: str, name: str, data: Data, steps: int, chains: int) -> dict[str, float]:
    """Return the peer's rates, with compilation and without."""
    with tempfile.TemporaryDirectory() as folder:
        files = [f"{folder}/data.npz", f"{folder}/draws.npz"]
        np.savez(files[0], **data)  # type: ignore[arg-type]
        counts = [f"--draws={steps}", f"--warmup={steps}", f"--chains={chains}"]
        answer = subprocess.run(
            [python, str(PEER), name, *files, *counts],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "XLA_FLAGS": ONE_THREAD, "JAX_PLATFORMS": "cpu"},
        )
        seconds = json.loads(answer.stdout.splitlines()[-1])["seconds"]
        with np.load(files[1]) as file:
            runs = [
                {key[:-2]: file[key] for key in file.files if key.endswith(f"-{seed}")}
                for seed in range(2)
            ]
    cold, warm = (median_ess(run) / s for run, s in zip(runs, seconds, strict=True))
    return {"seconds": seconds[0], "rate": cold, "warm_seconds": seconds[1], "warm_rate": warm}


def rows(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for name in given.programs:
        program, data, steps = CASES[name]
        steps = given.steps or steps
        if "pyro" in given.samplers:
            found = pyros(program, data, steps, 1)
            yield {"program": name, "sampler": "pyro", "chains": 1, "steps": steps, **found}
        for chains in given.chains:
            row = {"program": name, "chains": chains, "steps": steps}
            if "ours" in given.samplers:
                yield {**row, "sampler": "ours", **ours(program, data, steps, chains, False)}
            if "compiled" in given.samplers:
                yield {**row, "sampler": "compiled", **ours(program, data, steps, chains, True)}
            if given.numpyro:
                found = numpyros(given.numpyro, name, data, steps, chains)
                yield {**row, "sampler": "numpyro", **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--numpyro", metavar="PYTHON", help="an interpreter that has numpyro")
    parser.add_argument("--chains", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--programs", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--steps", type=int, help="of warm-up, and of draws")
    parser.add_argument(
        "--samplers", nargs="*", choices=["ours", "compiled", "pyro"], default=["ours", "pyro"]
    )
    parser.add_argument("--dry", action="store_true", help="leave the record as it is")
    given = parser.parse_args()
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    if not given.numpyro:
        print("NumPyro is left out: pass --numpyro with an interpreter that has it.")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    print("median ESS a CPU second; `warm` without compilation")
    for row in rows(given):
        row = {k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()}
        warm = f"  warm {row['warm_rate']:.1f}" if "warm_rate" in row else ""
        print(
            f"{row['program']:<14}{row['sampler']:<9}{row['chains']:>3}{row['rate']:>10.1f}{warm}"
        )
        if not given.dry:
            with RECORD.open("a") as file:
                file.write(json.dumps({**row, "commit": commit}) + "\n")


if __name__ == "__main__":
    main()
