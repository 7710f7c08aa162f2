"""NUTS on a device beside the CPU, in one process: a logistic regression, sizes as asked for.

Wall-clock seconds of runs after one that is thrown away, their ratio, and how far the means of
the posterior lie apart:

    python benchmarks/device.py --device cuda [--observations 200000] [--weights 200] [--compiled]
"""

import argparse
import time
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch

import probneuro as pn
from probneuro.inference.nuts import NUTS


def program(x: torch.Tensor, y: torch.Tensor) -> None:
    """A logistic regression; its data are arguments, so that they can be moved."""
    weight = pyro.sample("weight", dist.Normal(0.0, 2.0).expand([x.shape[1]]).to_event(1))
    with pyro.plate("observation", len(y)):
        pyro.sample("y", dist.Bernoulli(logits=x @ weight), obs=y)


def data(observations: int, weights: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw covariates and observations."""
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(observations, weights)) / np.sqrt(weights))
    weight = torch.tensor(2 * rng.normal(size=weights))
    return x, (torch.tensor(rng.random(observations)) < torch.sigmoid(x @ weight)).double()


def timed(device: str, args: Any, given: argparse.Namespace) -> tuple[float, np.ndarray]:
    """Return the seconds of a run, and its draws."""
    engine = NUTS(warmup=given.warmup, compiled=given.compiled)
    options = {"engine": engine, "chains": given.chains, "progress": False, "device": device}
    pn.infer(program, *args, draws=2, seed=0, **{**options, "engine": NUTS(warmup=2)})
    start = time.perf_counter()
    result = pn.infer(program, *args, draws=given.draws, seed=1, **options)
    seconds = time.perf_counter() - start
    return seconds, result["posterior/weight"].values


def main() -> None:
    """Run both and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--observations", type=int, default=200_000)
    parser.add_argument("--weights", type=int, default=200)
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--warmup", type=int, default=50)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--compiled", action="store_true")
    given = parser.parse_args()
    args = data(given.observations, given.weights)
    print(f"{given.observations} observations, {given.weights} weights, {given.chains} chains")
    seconds, means = {}, {}
    for device in ("cpu", given.device):
        seconds[device], draws = timed(device, args, given)
        means[device] = draws.mean((0, 1))
        spread = draws.std((0, 1))
        print(f"{device}: {seconds[device]:.1f} s", flush=True)
    apart = np.abs(means["cpu"] - means[given.device]) / spread
    print(f"ratio cpu / {given.device}: {seconds['cpu'] / seconds[given.device]:.2f}")
    print(f"means at most {apart.max():.3f} posterior standard deviations apart")


if __name__ == "__main__":
    main()
