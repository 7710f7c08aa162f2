"""The STDP-GLM's own guide fits, whatever the network and the rule."""

from collections.abc import Iterator

import numpy as np
import pyro
import pytest

from probneuro import infer
from probneuro.inference.svi import SVI
from probneuro.learning_rules import Additive, AdditiveBounded, LearningRule, Multiplicative, Static
from probneuro.models.stdp_glm import STDPGLM, DalesLaw, ErdosRenyi, FullyConnected
from probneuro.models.stdp_glm.networks import Network
from stdp_glm.problems import recording


@pytest.fixture(autouse=True)
def store() -> Iterator[None]:
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


@pytest.mark.stat
@pytest.mark.parametrize(
    "network", [pytest.param(FullyConnected(), marks=pytest.mark.slow), ErdosRenyi()], ids=repr
)
@pytest.mark.parametrize(
    "rule",
    [
        Static(),
        pytest.param(Additive(), marks=pytest.mark.slow),
        pytest.param(AdditiveBounded(), marks=pytest.mark.slow),
        pytest.param(Multiplicative(), marks=pytest.mark.slow),
    ],
    ids=lambda r: r.name,
)
def test_the_models_guide_improves_the_elbo(rule: LearningRule, network: Network) -> None:
    data = recording(0, neurons=2, windows=3, size=100, mean=0.03)
    model = STDPGLM(rule=rule, network=network)
    engine = SVI(steps=150, learning_rate=0.05)
    result = infer(model, data, engine=engine, draws=5, chains=1, seed=1, progress=False)
    elbo = result["fit_history/elbo"].values[0]
    assert np.all(np.isfinite(elbo))
    assert elbo[-40:].mean() > elbo[:40].mean() + 5.0
    assert np.all(np.isfinite(result.posterior["weight"]))


@pytest.mark.stat
def test_the_guide_keeps_dales_law() -> None:
    data = recording(0, neurons=2, windows=3, size=100, mean=0.03)
    model = STDPGLM(rule=AdditiveBounded(), dale=DalesLaw(("1",)))
    engine = SVI(steps=30, learning_rate=0.05)
    result = infer(model, data, engine=engine, draws=5, chains=1, seed=1, progress=False)
    weight = result["posterior"]["weight"]
    assert float(weight.sel(synapse="0->1").min()) >= 0.0 >= float(weight.sel(synapse="1->0").max())
