"""Stochastic EM of the STDP-GLM ends at the mode of the density with everything hidden summed out.

With one synapse onto each neuron that density is known: a grid filter integrates the trajectory
out, the edge is a sum of two terms, and scipy climbs the rest.
"""

from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import minimize

from probneuro import infer
from probneuro.components.basis import CosineBasis
from probneuro.components.links import Softplus
from probneuro.core.errors import CapabilityError, SettingError
from probneuro.core.priors import Normal
from probneuro.data import BinnedSpikes
from probneuro.inference import gibbs_em
from probneuro.inference.collapsed import log_marginal
from probneuro.inference.gibbs_em import Coordinates, GibbsEMKernel, StochasticEM, _Sweep
from probneuro.inference.grid_filter import GridFilter
from probneuro.inference.score_steps import Stencil, damped_step
from probneuro.learning_rules import Additive, AdditiveBounded, LearningRule, Oja, Static
from probneuro.models.stdp_glm import STDPGLM, Candidates
from probneuro.simulators.plastic_glm import simulate_plastic_glm
from probneuro.testing.stats import LARGEST_Z
from stdp_glm.problems import Lively, recording

Floats = NDArray[np.float64]
RESTARTS = 4
GAMMAS = {"self_impulse": "self_log_gamma", "impulse": "log_gamma"}
SIZES: dict[str, Any] = {"draws": 2, "chains": RESTARTS, "seed": 2, "progress": False}


def problem(rule: LearningRule, probability: float = 1.0) -> tuple[STDPGLM, BinnedSpikes]:
    """Return a model with one synapse, and six seconds of two neurons in 30 windows."""
    link = Softplus(10.0)
    model = STDPGLM(
        rule=Lively(rule, 2.0) if rule.plastic else rule, link=link,
        network=Candidates((("0", "1"),), probability=probability),
        basis=CosineBasis(num_bumps=2, duration=0.05), bias_prior=Normal(50.0, 9.0),
        self_weight_prior=Normal(-0.2, 0.3),
    )  # fmt: skip
    truth = {"amplitude_plus": 0.06, "amplitude_minus": 0.03, "tau_plus": 0.02, "tau_minus": 0.02}
    truth |= {"weight_noise": 0.2, "weight_max": 2.0}
    data, _ = simulate_plastic_glm(
        rule, duration=6.0, window=0.2, link=link, synapses=[(0, 1)], seed=4,
        parameters={name: truth[name] for name in rule.priors(1.0)},
    )  # fmt: skip
    return model, data


class Exact:
    """The log density with edge and trajectory summed out, of one real vector."""

    def __init__(self, model: STDPGLM, data: BinnedSpikes, start: xr.Dataset) -> None:
        self.target = model.gibbs(data)
        values = self.target.start(np.random.default_rng(0))
        for name in ("bias", "self_weight", *self.target.priors):
            values[name] = start[name].values.copy()
        for site, name in GAMMAS.items():
            values[name] = np.log(start[site].values)
        self.values = values
        self.names = ["bias", "self_weight", "self_log_gamma", "log_gamma", *self.target.priors]
        self.rule = list(self.target.priors)

    def flat(self) -> Floats:
        own = {n: np.log(v) if n in self.rule else v for n, v in self.values.items()}
        return np.concatenate([own[name].ravel() for name in self.names])

    def at(self, flat: Floats) -> Any:
        values, first = dict(self.values), 0
        for name in self.names:
            part = flat[first : first + values[name].size].reshape(values[name].shape)
            values[name] = np.exp(part) if name in self.rule else part
            first += part.size
        return self.target.at(values)

    def height(self, flat: Floats) -> float:
        """Log density in the coordinates of the engine: logarithms of what is positive."""
        point = self.at(flat)
        values, chain = point.values, point.chain(0)
        law = point.law(0, {name: float(values[name][0]) for name in self.rule})
        total = point.log_density() - law.log_density(values["weight"][0])
        total += values["log_gamma"].sum() + values["self_log_gamma"].sum()
        total += sum(float(np.log(values[name][0])) for name in self.rule)
        total -= point.neuron_log_likelihood(1)
        if np.isfinite(chain.log_prior_odds):  # of the edge, which is on here
            total -= chain.log_prior_odds
        evidence = GridFilter(chain.observation).log_evidence(law)
        return float(total + log_marginal(chain, evidence))

    def gradient(self, flat: Floats) -> Floats:
        steps = 2e-3 * np.eye(flat.size)
        return np.array([(self.height(flat + h) - self.height(flat - h)) / 4e-3 for h in steps])

    def mode(self) -> Floats:
        found = minimize(
            lambda u: -self.height(u), self.flat(), jac=lambda u: -self.gradient(u),
            method="BFGS", options={"gtol": 1e-2},
        )  # fmt: skip
        return np.asarray(found.x)


def known(flat: Floats, exact: Exact) -> dict[str, float]:
    """Return biases, self weights and logarithms of rule parameters."""
    out = dict(zip(["bias 0", "bias 1", "self 0", "self 1"], flat[:4].tolist(), strict=True))
    return out | dict(zip(exact.rule, flat[flat.size - len(exact.rule) :].tolist(), strict=True))


def estimates(result: xr.DataTree, rule: list[str]) -> dict[str, Floats]:
    """Return the same of all restarts."""
    found = result["parameters"].to_dataset().isel(draw=0)
    out = {f"bias {n}": found["bias"].values[:, n] for n in range(2)}
    out |= {f"self {n}": found["self_weight"].values[:, n] for n in range(2)}
    return out | {name: np.log(found[name].values[:, 0]) for name in rule}


def excess(result: xr.DataTree, exact: Exact) -> dict[str, float]:
    """Return how far the restarts' mean is from the mode, next to what Monte Carlo allows.

    The tolerance is 4.9 standard errors of the mean over restarts, and 0.02 (Hz, weights, log
    units) for the climb to the mode and its differences: parameters that no draw moves end at
    the same place in all restarts. Posterior standard deviations are 0.4 and more in log units.
    """
    mode, found = known(exact.mode(), exact), estimates(result, exact.rule)
    errors = {name: LARGEST_Z * x.std(ddof=1) / np.sqrt(x.size) for name, x in found.items()}
    return {n: float(abs(x.mean() - mode[n]) / (errors[n] + 0.02)) for n, x in found.items()}


def fit(rule: LearningRule, probability: float, engine: StochasticEM) -> tuple[xr.DataTree, Exact]:
    model, data = problem(rule, probability)
    result = infer(model, data, engine=engine, **SIZES)
    return result, Exact(model, data, result["parameters"].to_dataset().isel(draw=0, chain=0))


@pytest.mark.stat
def test_an_uncertain_static_synapse_ends_at_the_mode() -> None:
    result, exact = fit(Static(), 0.5, StochasticEM(iterations=80, burn_in=30))
    assert max(excess(result, exact).values()) < 1.0
    assert result["fit_history/bias"].dims == ("chain", "iteration", "neuron")
    assert result["fit_history/log_density"].shape == (RESTARTS, 80)
    assert result.posterior["weight"].dims == ("chain", "draw", "synapse", "window")
    assert "edge" not in result["parameters"]
    np.testing.assert_array_equal(
        result.posterior["bias"].values, np.repeat(result["parameters/bias"].values, 2, 1)
    )


CASES: dict[str, tuple[LearningRule, float]] = {
    "certain": (Additive(), 1.0),
    # prior probabilities at which the mode is without the edge
    "edge": (Additive(), 2e-5),
    "bounded": (AdditiveBounded(), 2e-3),
}


@pytest.mark.slow
@pytest.mark.stat
@pytest.mark.parametrize("name", CASES)
def test_a_plastic_synapse_ends_at_the_mode(name: str) -> None:
    found = excess(*fit(*CASES[name], StochasticEM(iterations=200, burn_in=80)))
    assert max(found.values()) < 1.0, found


@pytest.mark.slow
@pytest.mark.stat
def test_the_check_sees_an_edge_that_is_taken_for_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gibbs_em, "log_marginal", lambda chain, evidence: evidence)
    found = excess(*fit(*CASES["edge"], StochasticEM(iterations=100, burn_in=50)))
    assert max(found.values()) > 1.0, found


def test_the_height_is_the_exact_one_where_neurons_have_one_synapse() -> None:
    model, data = problem(Additive(), 0.3)
    target = model.gibbs(data)
    coordinates, rng = Coordinates(target), np.random.default_rng(0)
    values = target.start(rng)
    for _ in range(4):  # with the edge on or off
        point = target.at(values)
        sweep = _Sweep(point, {}, rng, fitting=False)
        coordinates.probe(sweep, 0, target.groups[0], curved=False)
        draw = target.draw(values)
        shares = {name: np.exp(values[key]) for name, key in GAMMAS.items()}
        start = xr.Dataset({n: ([f"{n}_{i}" for i in range(np.ndim(v))], v) for n, v in {
            **draw, **shares}.items()})  # fmt: skip
        exact = Exact(model, data, start)
        own = exact.height(exact.flat())
        own -= values["log_gamma"].sum() + values["self_log_gamma"].sum()
        own -= sum(float(np.log(values[name][0])) for name in exact.rule)
        assert sweep.height() == pytest.approx(own, abs=1e-3)
        values = point.values


@pytest.mark.stat
def test_scores_with_trajectories_summed_out_have_the_mean_of_those_given_them() -> None:
    """Two synapses onto one neuron: each is summed out with the other one held."""
    link = Softplus(10.0)
    model = STDPGLM(
        rule=Lively(Additive(), 2.0), link=link, network=Candidates((("0", "2"), ("1", "2"))),
        basis=CosineBasis(num_bumps=2, duration=0.05), bias_prior=Normal(50.0, 9.0),
    )  # fmt: skip
    target = model.gibbs(recording(3, windows=6, mean=0.06))
    coordinates, rng = Coordinates(target), np.random.default_rng(1)
    point, stencil = target.at(target.start(rng)), Stencil(5, 0.03)
    place = coordinates.read(point)["group.0"]
    scores = []
    for _ in range(400):
        sweep = _Sweep(point, {}, rng, fitting=True)
        coordinates.probe(sweep, 0, [0, 1], curved=False)
        given = []
        for at in place + stencil.places(curved=False):
            laws = point.laws([0, 1], coordinates.parameters(at))
            given.append(sum(laws[s].log_density(point.values["weight"][s]) for s in laws))
            given[-1] += coordinates.log_prior(at)
        scores.append((sweep.score["group.0"], stencil.gradient(np.array(given))))
    first, last = np.swapaxes(np.array(scores), 0, 1)
    assert point.values["edge"].mean() > 0.05 or len(scores) == 400
    batches = (first - last).reshape(20, 20, 5).mean(1)
    z = batches.mean(0) / (batches.std(0, ddof=1) / np.sqrt(20))
    assert np.abs(z).max() < LARGEST_Z
    assert (first.var(0) < 0.5 * last.var(0)).all()  # what it is for


def test_resume_gives_the_same_fit(tmp_path: Any) -> None:
    model, data = problem(Static(), 0.5)
    engine = StochasticEM(iterations=8, burn_in=3)
    options: dict[str, Any] = {"draws": 3, "chains": 2, "seed": 5, "progress": False}
    full = infer(model, data, engine=engine, **options)
    calls, whole = [0], GibbsEMKernel.step

    def failing(self: Any, *args: Any, **how: Any) -> Any:
        calls[0] += 1
        if calls[0] == 7:
            raise RuntimeError("cut")
        return whole(self, *args, **how)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Exception, match="cut"):
        patch.setattr(GibbsEMKernel, "step", failing)
        infer(model, data, engine=engine, checkpoint=tmp_path, workers=1, **options)
    again = infer(model, data, engine=engine, checkpoint=tmp_path, **options)
    for group in ("posterior", "fit_history", "parameters"):
        assert full[group].equals(again[group])


def test_coupled_rules_are_refused() -> None:
    with pytest.raises(CapabilityError, match=r"depend on each other\. Use ParticleGibbs\(\)"):
        infer(STDPGLM(rule=Oja()), recording(0), engine=StochasticEM(), progress=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iterations": 0}, "`iterations` must be at least 1; got 0"),
        ({"burn_in": 300}, "`burn_in` is 300 of 300 iterations, which leaves none to average"),
        ({"decay": 0.5}, r"`decay` must lie above 0\.5 and be at most 1; got 0\.5"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        StochasticEM(**settings)


@pytest.mark.parametrize(
    "curvature", [np.diag([1e-12, 1.0]), np.diag([-2.0, 3.0]), np.ones((2, 2))]
)
def test_steps_climb_and_are_never_long(curvature: Floats) -> None:
    gradient = np.array([0.3, -0.2])
    step = damped_step(gradient, curvature)
    assert gradient @ step > 0.0
    assert (np.abs(step) * np.sqrt(np.abs(np.diag(curvature)))).max() <= 5.0 + 1e-9
