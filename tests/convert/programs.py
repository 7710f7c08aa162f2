"""Programs whose log likelihood is known by hand, with draws of their variables."""

import numpy as np
import pyro
import pyro.distributions as dist
import torch
import xarray as xr

from probneuro.core.results import build_result


def data(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(seed).normal(size=shape))


def draws(chains: int = 2, count: int = 5, seed: int = 1, **shapes: tuple[int, ...]) -> xr.DataTree:
    rng = np.random.default_rng(seed)
    return build_result({n: rng.normal(size=(chains, count, *s)) for n, s in shapes.items()})


def regression(x: torch.Tensor, y: torch.Tensor | None = None) -> None:
    """No plates at all."""
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0).expand([x.shape[1]]).to_event(1))
    pyro.sample("y", dist.Normal(x @ slope, 1.0), obs=y)


def mixture(y: torch.Tensor) -> None:
    weight = pyro.sample("weight", dist.Dirichlet(torch.ones(2)))
    with pyro.plate("state", 2):
        mean = pyro.sample("mean", dist.Normal(0.0, 5.0))
    with pyro.plate("trial", len(y)):
        which = pyro.sample("which", dist.Categorical(weight))
        pyro.sample("y", dist.Normal(mean[which], 1.0), obs=y)


def mixture_draws(chains: int = 2, count: int = 7, seed: int = 3) -> xr.DataTree:
    rng = np.random.default_rng(seed)
    return build_result(
        {
            "weight": rng.dirichlet([1, 1], size=(chains, count)),
            "mean": 3 * rng.normal(size=(chains, count, 2)),
        },
        dims={"mean": ["state"], "weight": ["state"]},
    )
