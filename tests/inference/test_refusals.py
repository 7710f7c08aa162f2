"""Programs that an engine would get wrong without a word are refused, with the reason."""

from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoMultivariateNormal
from scipy import stats

from probneuro import infer
from probneuro.core.errors import CapabilityError
from probneuro.inference.hmc import HMC
from probneuro.inference.nuts import NUTS
from probneuro.inference.pyro_target import read_program
from probneuro.inference.svi import SVI
from probneuro.inference.tempered_smc import TemperedSMC
from probneuro.testing.stats import LARGEST_Z, moment_z_scores

GRADIENT_ENGINES = [NUTS(warmup=50), HMC(warmup=50), TemperedSMC(particles=50)]
ONE = torch.tensor(1.0)


def subsampled() -> None:
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("trial", 10, subsample_size=3) as index:
        pyro.sample("y", dist.Normal(mean, 1.0), obs=torch.zeros(10)[index])


def dynamic_support() -> None:
    a = pyro.sample("a", dist.Uniform(0.0, 1.0))
    pyro.sample("b", dist.Uniform(0.0, 1 - a))


def hidden_support() -> None:
    """Torch gives a shifted exponential the support of all real numbers."""
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    shift = dist.transforms.AffineTransform(a, 1.0)
    pyro.sample("b", dist.TransformedDistribution(dist.Exponential(1.0), [shift]))


def vanishing_site() -> None:
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    if a > 0:
        pyro.sample("b", dist.Normal(a, 1.0))
    pyro.sample("y", dist.Normal(a, 1.0), obs=ONE)


def vanishing_data() -> None:
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    if a > 0:
        pyro.sample("y", dist.Normal(a, 1.0), obs=ONE)


def changing_length() -> None:
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    with pyro.plate("unit", 2 if a > 0 else 3):
        pyro.sample("b", dist.Normal(0.0, 1.0))


@pytest.mark.parametrize("engine", GRADIENT_ENGINES, ids=lambda engine: engine.name)
@pytest.mark.parametrize(
    ("program", "message"),
    [
        (subsampled, "Plate `trial` takes 3 of 10 at random, so the log density is noise"),
        (dynamic_support, "support of `b` depends on other variables"),
        (hidden_support, r"Site `b` \(TransformedDistribution\) says that it lives on Real"),
        (vanishing_site, "Site `b` is there in some runs of the program and not in others"),
        (vanishing_data, "Site `y` is observed in some runs of the program and not in others"),
        (changing_length, "Site `b` changes its shape"),
    ],
)
def test_gradient_engines_refuse(program: Any, message: str, engine: Any) -> None:
    with pytest.raises(CapabilityError, match=message):
        infer(program, engine=engine, draws=20, chains=1, seed=1, progress=False)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (dynamic_support, "support of `b` depends on other variables"),
        (vanishing_site, "Site `b` is there in some runs of the program and not in others"),
        (vanishing_data, "Site `y` is observed in some runs of the program and not in others"),
        (changing_length, "Site `b` changes its shape"),
    ],
)
@pytest.mark.parametrize("guide", [None, AutoMultivariateNormal], ids=["mean_field", "class"])
def test_automatic_guides_refuse(program: Any, message: str, guide: Any) -> None:
    with pytest.raises(CapabilityError, match=message):
        infer(program, engine=SVI(steps=5, guide=guide), draws=2, chains=1, seed=1, progress=False)


def test_a_guide_of_ones_own_may_follow_the_program() -> None:
    """What it samples is its business: here it covers the site in the runs that have it."""

    def guide() -> None:
        a = pyro.sample("a", dist.Normal(pyro.param("mean", torch.tensor(-3.0)), 0.01))
        if a > 0:
            pyro.sample("b", dist.Normal(a, 1.0))

    engine = SVI(steps=5, guide=guide, learning_rate=1e-4, final_learning_rate=1e-4)
    infer(vanishing_site, engine=engine, draws=2, chains=1, seed=1, progress=False)


def late_branch() -> None:
    """Another law beyond a value that no probe reaches, so that a traced graph would miss it."""
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(a if a < 2.5 else 5 * a, 1.0), obs=torch.tensor(3.0))


@pytest.mark.stat
@pytest.mark.parametrize(
    "engine",
    [pytest.param(e, marks=pytest.mark.slow) for e in (NUTS(warmup=100), HMC(warmup=200))],
    ids=["NUTS", "HMC"],
)
def test_a_branch_on_a_latent_value_is_followed(engine: Any) -> None:
    grid = np.linspace(-6, 6, 20001)
    mean = np.where(grid < 2.5, grid, 5 * grid)
    weight = stats.norm.pdf(grid) * stats.norm.pdf(3.0, mean)
    weight /= weight.sum()
    first = weight @ grid
    result = infer(late_branch, engine=engine, draws=250, chains=2, seed=1, progress=False)
    draws = result["posterior/a"].values
    scores = moment_z_scores(draws, first, weight @ (grid - first) ** 2)
    assert np.abs(scores).max() < LARGEST_Z
    assert draws.max() < 2.6


def late_site() -> None:
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    b = pyro.sample("b", dist.Normal(0.0, 1.0)) if a < 2.1 else 0.0
    pyro.sample("y", dist.Normal(a + b, 0.5), obs=torch.tensor(6.0))


def late_extra() -> None:
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    b = pyro.sample("b", dist.Normal(0.0, 1.0)) if a > 2.1 else 0.0
    pyro.sample("y", dist.Normal(a + b, 0.5), obs=torch.tensor(4.0))


def late_data() -> None:
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    if a < 2.1:
        pyro.sample("y", dist.Normal(a, 0.5), obs=torch.tensor(4.0))


def late_length() -> None:
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    size = 2 if a < 2.1 else 3
    pyro.sample("b", dist.Normal(a, 1.0).expand([size]).to_event(1))
    pyro.sample("y", dist.Normal(a, 0.5), obs=torch.tensor(4.0))


LATE = {
    late_site: "Site `b` is there in some runs",
    late_extra: "Site `b` is there in some runs",
    late_data: "Site `y` is observed in some runs",
    late_length: r"Site `b` changes its shape from \(2,\) to \(3,\)",
}


@pytest.mark.parametrize("program", LATE, ids=lambda program: program.__name__)
@pytest.mark.parametrize("engine", [NUTS(warmup=100), TemperedSMC(particles=300)], ids=["n", "smc"])
def test_what_changes_late_is_told(program: Any, engine: Any) -> None:
    """No probe comes beyond 2 in the first look, and the sampler does."""
    with pytest.raises(CapabilityError, match=LATE[program]):
        infer(program, engine=engine, draws=100, chains=1, seed=1, progress=False)


def test_what_changes_late_is_told_under_a_guide() -> None:
    for program in (late_site, late_extra):
        with pytest.raises(CapabilityError, match=LATE[program]):
            infer(program, engine=SVI(steps=800), draws=800, chains=1, seed=1, progress=False)


def explosive() -> None:
    x = pyro.sample("x", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    for _ in range(8):
        x = x + x**3
    pyro.sample("y", dist.Normal(x, 1.0).to_event(1), obs=torch.ones(3))


def test_a_program_that_overflows_far_out_is_read_nearer_to_zero() -> None:
    with pytest.raises(ValueError, match="invalid values"), pyro.validation_enabled(True):
        dist.Normal(torch.tensor([torch.nan]), 1.0)
    assert read_program(explosive, (), {}).dimension == 3


def never() -> None:
    x = pyro.sample("x", dist.Normal(0.0, 1.0))
    pyro.sample("y", dist.Normal(x, -1.0), obs=torch.tensor(0.0))


def test_a_program_that_is_wrong_everywhere_fails_with_its_own_error() -> None:
    with pytest.raises(ValueError, match="parameter scale"):
        read_program(never, (), {})
