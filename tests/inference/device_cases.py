"""Small programs, one for every engine that computes on a device, and what a run of each gives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
import xarray as xr

from probneuro import infer
from probneuro.convert.log_density import compute_log_likelihood, compute_log_prior
from probneuro.convert.predictive import predictions, sample_posterior_predictive
from probneuro.core.engine import Engine
from probneuro.inference.em import EM
from probneuro.inference.filtering import ParticleFilter
from probneuro.inference.hmc import HMC
from probneuro.inference.nuts import NUTS
from probneuro.inference.particle_em import ParticleEM
from probneuro.inference.particle_gibbs import ParticleGibbs
from probneuro.inference.pmmh import PMMH
from probneuro.inference.site_gibbs import Gibbs
from probneuro.inference.slice_sampler import Slice
from probneuro.inference.state_space import filter_states, forecast_states, simulate, smooth_states
from probneuro.inference.svi import SVI
from probneuro.inference.tempered_smc import TemperedSMC
from probneuro.learning_rules import Additive
from probneuro.models.stdp_glm import STDPGLM
from probneuro.simulators.plastic_glm import simulate_plastic_glm
from probneuro.testing.state_space import FiniteChain, LinearGaussian

TRUTH = {"decay": 0.9, "noise": 0.5}
SIZES: dict[str, Any] = {"draws": 5, "chains": 2, "seed": 1, "progress": False}
X = torch.linspace(-1.0, 1.0, 8)
Y = 0.5 * X + 0.1
SPIKES = simulate_plastic_glm(Additive(), duration=3.0, seed=1)[0]
SERIES = simulate(LinearGaussian(), TRUTH, 6, seed=1).series


def line(data: dict[str, torch.Tensor]) -> None:
    """Priors of many kinds, written without a word about devices."""
    x, y = data["x"], data["y"]
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    scale = pyro.sample("scale", dist.Exponential(1.0))
    share = pyro.sample("share", dist.Dirichlet(torch.ones(3)))
    level = pyro.sample("level", dist.MultivariateNormal(torch.zeros(2), torch.eye(2)))
    pyro.deterministic("twice", 2 * slope)
    with pyro.plate("trial", len(x)):
        mean = slope * x + share[0] + level.sum()
        pyro.sample("y", dist.Normal(mean, scale + 0.1), obs=y)


def branching(x: torch.Tensor) -> None:
    """No graph can stand for it, so that it runs as it is."""
    slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
    width = 1.0 if float(slope) > 0 else 2.0
    pyro.sample("x", dist.Normal(slope, width).expand([len(x)]).to_event(1), obs=x)


def mixture(y: torch.Tensor) -> None:
    """A discrete site for every observation."""
    low = pyro.sample("low", dist.Beta(1.0, 1.0))
    with pyro.plate("trial", len(y)):
        kind = pyro.sample("kind", dist.Categorical(torch.tensor([0.3, 0.7])))
        pyro.sample("y", dist.Normal(kind + low, 1.0), obs=y)


_LINE = (line, ({"x": X, "y": Y},))
_KALMAN = (LinearGaussian(), (SERIES,))
CASES: dict[str, tuple[Any, tuple[Any, ...], Engine]] = {
    "nuts": (*_LINE, NUTS(warmup=5)),
    "nuts_untraced": (branching, (X,), NUTS(warmup=5)),
    "hmc": (*_LINE, HMC(warmup=5)),
    "svi": (*_LINE, SVI(steps=5)),
    "gibbs": (mixture, (Y,), Gibbs(warmup=5)),
    "slice": (*_LINE, Slice(warmup=5)),
    "em": (mixture, (Y,), EM(iterations=5)),
    "tempered_smc": (*_LINE, TemperedSMC(particles=40, max_moves=2)),
    "particle_filter": (*_KALMAN, ParticleFilter(params=TRUTH, num_particles=20)),
    "pmmh": (*_KALMAN, PMMH(warmup=5, num_particles=20)),
    "particle_em": (*_KALMAN, ParticleEM(iterations=5, burn_in=2, num_particles=20)),
    "particle_gibbs": (*_KALMAN, ParticleGibbs(warmup=5, num_particles=20)),
    "particle_filter_of_a_list": (
        FiniteChain(),
        ([0, 1, 7, 5],),
        ParticleFilter(params={"stay": 0.7}, num_particles=20),
    ),
    "nuts_of_a_series": (*_KALMAN, NUTS(warmup=5)),
    "svi_of_spikes": (STDPGLM(rule=Additive()), (SPIKES,), SVI(steps=3)),
    "svi_of_an_array": (LinearGaussian(), (SERIES.values,), SVI(steps=5)),
}


def run(name: str, device: Any, **options: Any) -> xr.DataTree:
    """Run a case on a device."""
    model, args, engine = CASES[name]
    return infer(model, *args, engine=engine, device=device, **{**SIZES, **options})


def close(ours: xr.DataTree, theirs: xr.DataTree, group: str) -> bool:
    """Whether a group holds the same numbers twice."""
    return all(
        np.allclose(values, theirs[group][name], rtol=1e-6)
        for name, values in ours[group].data_vars.items()
    )


def check_conversions(device: Any) -> None:
    """Compare what is computed of draws on a device with what is computed on the CPU."""
    added: dict[str, Callable[..., xr.DataTree]] = {
        "log_likelihood": compute_log_likelihood,
        "log_prior": compute_log_prior,
    }
    for name in ("nuts", "gibbs"):
        model, args, _ = CASES[name]
        result = run(name, "cpu")
        for group, compute in added.items():
            here, there = (
                compute(result, model, *args),
                compute(result, model, *args, device=device),
            )
            assert close(there, here, group), (name, group)
        for draw in (sample_posterior_predictive, predictions):
            drawn = draw(result, model, *args, seed=1, device=device)
            assert {"posterior_predictive", "predictions"} & set(drawn.children), name


def check_state_space(device: Any) -> None:
    """Run filter, smoother, forecast and simulation on a device."""
    model = LinearGaussian()
    assert simulate(model, TRUTH, 6, seed=1, device=device).states.shape == (6, 2)
    found = filter_states(model, TRUTH, SERIES, seed=1, num_particles=20, device=device)
    assert found.states.shape == (6, 20, 2)
    paths = smooth_states(model, TRUTH, SERIES, seed=1, num_paths=3, device=device)
    assert paths.shape == (3, 6, 2)
    assert forecast_states(model, TRUTH, SERIES, 4, seed=1, device=device).states.shape[1:] == (
        4,
        2,
    )
