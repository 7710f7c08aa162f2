"""Exact draws and exact evidence of programs whose log density is a quadratic form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from probneuro.core.engine import Engine, RunOptions
from probneuro.core.results import build_result
from probneuro.inference.target import Target


def laplace(program: Any, *args: Any) -> tuple[Target, np.ndarray, np.ndarray, float]:
    """Return the target, the posterior's mean and covariance, and the log evidence."""
    target = Target.from_pyro(program, *args)
    size = target.dimension
    zero = target.value_and_gradient(np.zeros(size))[1]
    columns = [target.value_and_gradient(row)[1] - zero for row in np.eye(size)]
    covariance = np.linalg.inv(-np.array(columns))
    mean = covariance @ zero
    top = target.value_and_gradient(mean)[0]
    log_evidence = top + 0.5 * (size * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1])
    return target, mean, 0.5 * (covariance + covariance.T), float(log_evidence)


@dataclass(frozen=True, kw_only=True)
class ExactGaussian(Engine):
    """Independent draws of the posterior, or of one that is too wide."""

    width: float = 1.0

    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        target, mean, covariance, _ = laplace(model, *args)
        rng = np.random.default_rng(options.seed)
        flat = rng.multivariate_normal(
            mean, self.width**2 * covariance, options.chains * options.draws
        )
        values = target.variables_along(flat)
        shape = (options.chains, options.draws)
        return build_result(
            {n: v.reshape(*shape, *v.shape[1:]) for n, v in values.items()},
            dims={n: [d for d in dims if d] for n, dims in target.dims.items()},
        )
