"""Self connections that may be absent: program, conditionals, engines and results know them."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from probneuro import infer, predictive_check
from probneuro.components.links import Exponential, Softplus
from probneuro.core.engine import Engine
from probneuro.core.errors import SettingError
from probneuro.core.priors import Normal
from probneuro.core.switched_scalars import ScalarLikelihood, SwitchedScalar
from probneuro.data import BinnedSpikes
from probneuro.inference.gibbs import CollapsedGibbs
from probneuro.inference.gibbs_em import StochasticEM
from probneuro.inference.particle_gibbs import ParticleGibbs
from probneuro.inference.svi import SVI
from probneuro.inference.switched_scalars import move_scalar
from probneuro.learning_rules import Additive, LearningRule, Multiplicative, Oja, Static
from probneuro.models.stdp_glm import STDPGLM
from probneuro.plots import result_figures
from probneuro.testing import check_gibbs_target
from probneuro.testing.stats import LARGEST_Z
from stdp_glm.problems import recording

SIZES: dict[str, Any] = {"draws": 6, "chains": 2, "seed": 1, "progress": False}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "rule", [Static(), Additive(), Multiplicative(), Oja()], ids=lambda rule: rule.name
)
def test_program_and_conditionals_agree(rule: LearningRule, seed: int) -> None:
    link = (Softplus(1.0), Softplus(10.0), Exponential())[seed]
    model = STDPGLM(rule=rule, link=link, self_edge_probability=0.3)
    check_gibbs_target(model, recording(seed, gap=True, stimulus=bool(seed)), seed=seed)


def test_a_wrong_conditional_of_a_self_weight_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    from probneuro.models.stdp_glm import self_edges

    original = self_edges.SelfWeightLikelihood.__call__
    monkeypatch.setattr(
        self_edges.SelfWeightLikelihood, "__call__",
        lambda self, value: original(self, value) + (0.1 if value else 0.0),
    )  # fmt: skip
    with pytest.raises(AssertionError, match="change with the scalar of block 0"):
        check_gibbs_target(STDPGLM(self_edge_probability=0.5), recording(0))


class Bump(ScalarLikelihood):
    """A skewed likelihood, so that a quadrature about its mode is not exact."""

    def __call__(self, value: float) -> float:
        return 2.0 * value - np.exp(1.5 * value)

    def slope_and_information(self, value: float) -> tuple[float, float]:
        return 2.0 - 1.5 * np.exp(1.5 * value), 2.25 * np.exp(1.5 * value)


class Misled(Bump):
    """The same with slopes of another place and width: proposals and odds are poor."""

    def slope_and_information(self, value: float) -> tuple[float, float]:
        return -6.0 * (value + 0.6), 6.0


@pytest.mark.stat
@pytest.mark.parametrize("likelihood", [Bump(), Misled()], ids=["steered", "misled"])
def test_moves_of_a_scalar_have_the_exact_posterior(likelihood: ScalarLikelihood) -> None:
    prior, odds, rng = Normal(-0.3, 0.8), 0.4, np.random.default_rng(3)
    own = SwitchedScalar(odds, prior, likelihood)

    def moment(power: int) -> float:
        return float(quad(
            lambda x: x**power * np.exp(likelihood(x) + prior.log_density(x)), -6.0, 4.0
        )[0])  # fmt: skip

    share = np.exp(odds) * moment(0)
    chance = share / (share + np.exp(likelihood(0.0)))
    on, value, kept = True, 0.0, []
    for _ in range(4000):
        on, value = move_scalar(own, on, value, rng)
        kept.append((float(on), on * value, on * value**2, (1 - on) * value))
    means = [chance, chance * moment(1) / moment(0), chance * moment(2) / moment(0)]
    means.append((1.0 - chance) * prior.location)
    batches = np.array(kept).reshape(40, 100, 4).mean(1)
    z = (batches.mean(0) - means) / (batches.std(0, ddof=1) / np.sqrt(40))
    assert np.abs(z).max() < LARGEST_Z
    moved = np.mean(np.diff([row[0] for row in kept]) != 0)
    assert moved > (0.3 if type(likelihood) is Bump else 0.01)


def clear(seed: int = 0) -> BinnedSpikes:
    """Return two neurons, of which the second alone is refractory, in 5 windows of 1 s."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.05, (5000, 2))
    last = -100
    for t in np.flatnonzero(rng.random(5000) < 0.08):
        counts[t, 1] = int(t - last > 12)
        last = t if counts[t, 1] else last
    counts[counts[:, 1] > 1, 1] = 1
    fires = np.flatnonzero(counts[:, 1])
    counts[fires[1:][np.diff(fires) < 12], 1] = 0
    return BinnedSpikes(counts, bins_per_window=1000)


ENGINES: list[Engine] = [
    CollapsedGibbs(warmup=20), ParticleGibbs(warmup=20, num_particles=10),
    StochasticEM(iterations=12, burn_in=6),
]  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_engines_record_self_edges(engine: Engine) -> None:
    data, model = clear(), STDPGLM(rule=Static(), self_edge_probability=0.5)
    result = infer(model, data, engine=engine, **{**SIZES, "draws": 20})
    edge = result.posterior["self_edge"]
    assert edge.dims == ("chain", "draw", "neuron") and edge.dtype == np.int8
    assert float(edge[..., 1].mean()) > 0.9 > float(edge[..., 0].mean())
    assert "self_edge" not in result.children.get("parameters", {})


def test_a_coupled_rule_moves_self_edges_too() -> None:
    model = STDPGLM(rule=Oja(), self_edge_probability=0.5)
    engine = ParticleGibbs(warmup=4, num_particles=5)
    result = infer(model, recording(0), engine=engine, **SIZES)
    assert 0.0 < float(result.posterior["self_edge"].mean()) < 1.0


def test_results_know_them() -> None:
    longer, model = clear(), STDPGLM(self_edge_probability=0.5)
    data = BinnedSpikes(longer.counts[:4000], bins_per_window=1000)
    result = infer(model, data, engine=CollapsedGibbs(warmup=4), **SIZES)
    assert float(result.posterior["self_edge"][..., 0].mean()) < 1.0
    assert result_figures(result)
    checked = predictive_check(result, data, model, replicates=2, seed=1)
    assert checked.children
    draws = {name: value.values for name, value in result.posterior.data_vars.items()}
    ahead = model.held_out(draws, longer, 4)["log_likelihood"]
    absent = {**draws, "self_weight": draws["self_edge"] * draws["self_weight"]}
    del absent["self_edge"]
    np.testing.assert_array_equal(ahead, model.held_out(absent, longer, 4)["log_likelihood"])


def test_svi_runs() -> None:
    model = STDPGLM(rule=Static(), self_edge_probability=0.5)
    result = infer(
        model, recording(0), engine=SVI(steps=3), draws=4, chains=1, seed=1, progress=False
    )
    assert set(np.unique(result.posterior["self_edge"].values)) <= {0.0, 1.0}
    assert torch.get_default_dtype() is torch.float32


@pytest.mark.parametrize("probability", [0.0, 1.5, float("nan")])
def test_bad_probabilities(probability: float) -> None:
    with pytest.raises(SettingError, match="`self_edge_probability` must lie above 0"):
        STDPGLM(self_edge_probability=probability)
