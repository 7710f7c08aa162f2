"""Families whose largest entropy is known: the flow's entropy against the truth, by seed.

Run as ``OMP_NUM_THREADS=1 python benchmarks/dsn_families.py``.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, gammaln

from probneuro import infer
from probneuro.data.behaviour import Behaviour
from probneuro.inference.importance_dual import ImportanceDual
from probneuro.models.dsn import DSN

Case = tuple[Behaviour, Callable[..., Any], float]


def gaussian() -> Case:
    """Mean and covariance of two numbers."""
    covariance = np.array([[1.0, 0.6], [0.6, 0.8]])
    behaviour = Behaviour(
        {"x": (-7.0, 7.0), "y": (-7.0, 7.0)},
        means={"x": 0.0, "y": 0.5, "product": 0.6},
        variances={"x": 1.0, "y": 0.8},
    )
    truth = 0.5 * np.log(np.linalg.det(2 * np.pi * np.e * covariance))
    return behaviour, lambda z: {**z, "product": z["x"] * (z["y"] - 0.5)}, float(truth)


def truncated_exponential() -> Case:
    """Mean of a number between 0 and 3."""
    length, mean = 3.0, 0.8
    rate = brentq(lambda r: 1 / r - length / np.expm1(r * length) - mean, 1e-3, 20.0)
    truth = np.log(-np.expm1(-rate * length) / rate) + rate * mean
    return Behaviour({"x": (0.0, length)}, means={"x": mean}), dict, float(truth)


def gamma() -> Case:
    """Mean and mean logarithm of a positive number."""
    shape, rate = 3.0, 1.5
    behaviour = Behaviour(
        {"x": (0.0, 30.0)},
        means={"x": shape / rate, "log": float(digamma(shape) - np.log(rate))},
    )
    truth = shape - np.log(rate) + gammaln(shape) + (1 - shape) * digamma(shape)
    return behaviour, lambda z: {**z, "log": np.log(z["x"])}, float(truth)


def dirichlet() -> Case:
    """Mean logarithms of three shares."""
    alpha = np.array([2.0, 3.0, 4.0])
    means = digamma(alpha) - digamma(alpha.sum())
    names = ("log_a", "log_b", "log_c")
    behaviour = Behaviour(
        {"a": (0.0, 1.0), "b": (0.0, 1.0)},
        means=dict(zip(names, means.tolist(), strict=True)),
        simplex=True,
    )
    log_beta = gammaln(alpha).sum() - gammaln(alpha.sum())
    truth = log_beta + (alpha.sum() - 3) * digamma(alpha.sum()) - (alpha - 1) @ digamma(alpha)

    def logs(z: Any) -> dict[str, Any]:
        rest = np.maximum(1.0 - z["a"] - z["b"], 1e-300)
        parts = (z["a"], z["b"], rest)
        return {n: np.log(p) for n, p in zip(names, parts, strict=True)}

    return behaviour, logs, float(truth)


def laplace() -> Case:
    """Mean size of a number."""
    behaviour = Behaviour({"x": (-20.0, 20.0)}, means={"size": 1.0})
    return behaviour, lambda z: {"size": np.abs(z["x"])}, float(1.0 + np.log(2.0))


CASES = {
    "Gaussian": gaussian,
    "truncated exponential": truncated_exponential,
    "gamma": gamma,
    "Dirichlet": dirichlet,
    "Laplace": laplace,
}


def main() -> None:
    """Print truth, flow entropy and dual entropy by family and seed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=20_000)
    options = parser.parse_args()
    for name, case in CASES.items():
        behaviour, simulate, truth = case()
        for seed in range(options.seeds):
            start = time.process_time()
            result = infer(
                DSN(simulate), behaviour, engine=ImportanceDual(), draws=options.draws,
                chains=1, seed=seed, progress=False,
            )  # fmt: skip
            found = result["max_entropy"].to_dataset().isel(chain=0)
            print(
                f"{name}, seed {seed}: truth {truth:.4f}, "
                f"flow {float(found.entropy) - truth:+.4f}, "
                f"dual {float(found.dual_entropy) - truth:+.4f}, "
                f"divergence {float(found.divergence):.4f}, converged {int(found.converged)}, "
                f"{time.process_time() - start:.0f} CPU s",
                flush=True,
            )


if __name__ == "__main__":
    main()
