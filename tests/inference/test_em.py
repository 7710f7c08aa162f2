"""Exact EM against maximisers of the summed density, and sums by hand."""

from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex
from scipy.optimize import minimize

from probneuro import infer
from probneuro.core.errors import CapabilityError, SettingError
from probneuro.inference import discrete_posterior
from probneuro.inference.discrete_posterior import DiscretePosterior
from probneuro.inference.em import EM
from probneuro.inference.pyro_program import read
from probneuro.testing.state_space import FiniteChain

SIZES: dict[str, Any] = {"draws": 2, "chains": 4, "seed": 1, "progress": False}
Y = torch.tensor(np.random.default_rng(0).normal(np.repeat([-1.0, 2.0], [12, 18]), 0.8))


def mixture(y: torch.Tensor) -> None:
    share = pyro.sample("share", dist.Beta(2.0, 2.0))
    centre = pyro.sample("centre", dist.Normal(torch.zeros(2), 3.0).to_event(1))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 0.5))
    with pyro.plate("trial", len(y)):
        kind = pyro.sample("kind", dist.Bernoulli(share)).long()
        pyro.sample("y", dist.Normal(centre[kind], scale), obs=y)


def log_marginal(values: torch.Tensor) -> torch.Tensor:
    """Density of share, centres and scale with the data, in their own space, by hand."""
    share, scale = values[0], values[3]
    each = torch.stack([dist.Normal(values[1 + k], scale).log_prob(Y) for k in (0, 1)])
    mixed = torch.logsumexp(each + torch.stack([(1 - share).log(), share.log()])[:, None], 0)
    prior = dist.Beta(2.0, 2.0).log_prob(share) + dist.LogNormal(0.0, 0.5).log_prob(scale)
    return mixed.sum() + prior + dist.Normal(0.0, 3.0).log_prob(values[1:3]).sum()


def best_by_hand() -> tuple[np.ndarray, float]:
    def loss(free: np.ndarray) -> tuple[float, np.ndarray]:
        u = torch.tensor(free, requires_grad=True)
        value = -log_marginal(torch.cat([u[:1].sigmoid(), u[1:3], u[3:].exp()]))
        value.backward()
        return float(value.detach()), u.grad.numpy()

    found = minimize(loss, [0.0, -1.0, 2.0, 0.0], jac=True, method="BFGS", options={"gtol": 1e-8})
    own = np.concatenate([1 / (1 + np.exp(-found.x[:1])), found.x[1:3], np.exp(found.x[3:])])
    return own, -float(found.fun)


def stacked(parameters: Any) -> np.ndarray:
    """Estimates of each restart, the lower centre first."""
    values = {name: parameters[name].values[:, 0] for name in ("share", "centre", "scale")}
    flip = values["centre"][:, 0] > values["centre"][:, 1]
    share = np.where(flip, 1 - values["share"], values["share"])
    return np.column_stack([share, np.sort(values["centre"], axis=1), values["scale"]])


def test_the_fixed_point_is_the_maximiser_of_the_exact_marginal() -> None:
    result = infer(mixture, Y, engine=EM(), **SIZES)
    best, height = best_by_hand()
    history = result["fit_history/log_density"]
    assert history.dims == ("chain", "iteration")
    np.testing.assert_allclose(history[:, -1], height, atol=1e-6)
    np.testing.assert_allclose(stacked(result["parameters"]), np.tile(best, (4, 1)), atol=1e-3)
    assert result["parameters/centre"].shape == (4, 1, 2)
    assert result["fit_history/centre"].shape == (4, 200, 2)
    assert result["fit_history/share"].dims == ("chain", "iteration")
    assert result.posterior["kind"].dims == ("chain", "draw", "trial")
    np.testing.assert_array_equal(result.posterior["scale"][:, 0], result["parameters/scale"][:, 0])


def rises(engine: EM) -> np.ndarray:
    result = infer(mixture, Y, engine=engine, **{**SIZES, "chains": 2})
    return np.diff(result["fit_history/log_density"].values, axis=1)


def test_the_log_density_never_falls() -> None:
    # rounding of a sum of thirty terms
    assert rises(EM(iterations=25, tolerance=0.0)).min() > -1e-10
    assert rises(EM(iterations=25, maximisation_steps=1)).min() > -1e-10


def test_the_check_sees_weights_that_are_no_posterior(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = DiscretePosterior.weights

    def blurred(self: DiscretePosterior, position: Any) -> Any:
        found = exact(self, position)
        softer = {name: share**0.3 for name, share in found.of_factor.items()}
        return discrete_posterior.Weights(found.log_density, softer)

    monkeypatch.setattr(DiscretePosterior, "weights", blurred)
    assert rises(EM(iterations=25, tolerance=0.0)).min() < -1e-4


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-5), (torch.float32, 2e-3)])
def test_a_chain_of_hidden_states_is_treated_exactly(dtype: torch.dtype, error: float) -> None:
    """Weights of a hidden Markov chain against a sum over all of its 16 paths."""
    table = torch.tensor([[0.8, 0.2], [0.3, 0.7]], dtype=dtype)
    seen = torch.tensor([0.3, 1.9, 2.2, -0.4])

    def chain(y: torch.Tensor) -> None:
        high = pyro.sample("high", dist.Normal(0.0, 5.0))
        state = torch.tensor(0)
        for t in pyro.markov(range(len(y))):
            state = pyro.sample(f"z{t}", dist.Categorical(Vindex(table)[state]))
            pyro.sample(f"y{t}", dist.Normal(state * high, 1.0), obs=y[t])

    result = infer(chain, seen, engine=EM(), **SIZES)

    def loss(high: np.ndarray) -> float:
        total = []
        for code in range(16):
            path = [(code >> t) & 1 for t in range(4)]
            steps = [np.log(float(table[a, b])) for a, b in zip([0, *path[:-1]], path, strict=True)]
            rest = seen.double().numpy() - np.array(path) * high[0]
            total.append(sum(steps) - 0.5 * rest @ rest)
        return -np.logaddexp.reduce(total) + 0.5 * (high[0] / 5.0) ** 2

    exact = minimize(loss, [2.0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-12})
    ends = result["fit_history/log_density"][:, -1]
    best = result["parameters/high"].values[int(ends.values.argmax()), 0]
    assert best == pytest.approx(exact.x[0], abs=error)


@pytest.mark.stat
def test_draws_are_of_the_discrete_posterior() -> None:
    result = infer(mixture, Y, engine=EM(), **{**SIZES, "draws": 400, "chains": 1})
    estimate = {name: v.values[0, 0] for name, v in result["parameters"].data_vars.items()}
    centre, scale = torch.tensor(estimate["centre"]), torch.tensor(estimate["scale"])
    each = dist.Normal(centre[:, None], scale).log_prob(Y).exp().numpy()
    odds = each[1] * estimate["share"], each[0] * (1 - estimate["share"])
    exact = odds[0] / (odds[0] + odds[1])
    share = result.posterior["kind"].values[0].mean(0)
    error = np.sqrt(np.maximum(exact * (1 - exact), 1e-4) / 400)
    assert np.abs((share - exact) / error).max() < 4.9


def test_a_plate_of_plates_and_other_data_beside() -> None:
    """Discrete sites at two levels, and a density that depends on none of them."""

    def nested(y: torch.Tensor, other: torch.Tensor) -> None:
        high = pyro.sample("high", dist.Normal(3.0, 1.0))
        pyro.sample("other", dist.Normal(high, 2.0), obs=other)
        with pyro.plate("animal", 2):
            awake = pyro.sample("awake", dist.Bernoulli(0.4))
            with pyro.plate("trial", 3):
                up = pyro.sample("up", dist.Bernoulli(0.2 + 0.6 * awake))
                pyro.sample("y", dist.Normal(up * high, 1.0), obs=y)

    y = torch.tensor([[0.1, 2.2], [3.0, 2.9], [0.2, 3.5]])
    program = read(nested, (y, torch.tensor(1.0)), {}, discrete=True)
    posterior, total = DiscretePosterior(program), 0.0
    place = np.array([2.5])
    for animal in (0, 1):
        by_state = []
        for awake, prior in ((0.0, 0.6), (1.0, 0.4)):
            up = 0.2 + 0.6 * awake
            seen = [
                up * np.exp(-0.5 * (v - 2.5) ** 2) + (1 - up) * np.exp(-0.5 * v**2)
                for v in y[:, animal].double().numpy()
            ]
            by_state.append(prior * np.prod(seen))
        total += np.log(sum(by_state)) - 1.5 * np.log(2 * np.pi)
    total += float(dist.Normal(3.0, 1.0).log_prob(torch.tensor(2.5)))
    total += float(dist.Normal(2.5, 2.0).log_prob(torch.tensor(1.0)))
    assert posterior.log_density(place) == pytest.approx(total, abs=1e-5)
    weights = posterior.weights(place)
    assert weights.log_density == pytest.approx(total, abs=1e-5)
    step = 1e-4
    slope = (posterior.log_density(place + step) - posterior.log_density(place - step)) / (2 * step)
    # Fisher's identity: where the weights were taken, both densities have one gradient
    _, gradient = posterior.expected(weights).value_and_gradient(place)
    assert gradient[0] == pytest.approx(slope, rel=1e-4)


def test_resume_gives_the_same_fit(tmp_path: Any) -> None:
    options: dict[str, Any] = {"draws": 3, "chains": 2, "seed": 5, "progress": False}
    engine = EM(iterations=4)
    full = infer(mixture, Y, engine=engine, **options)
    for _ in range(2):
        again = infer(mixture, Y, engine=engine, checkpoint=tmp_path, workers=1, **options)
        assert full.posterior.equals(again.posterior)
        assert full["fit_history"].equals(again["fit_history"])
        assert full["parameters"].equals(again["parameters"])


def test_what_it_cannot_treat_is_refused() -> None:
    def smooth() -> None:
        pyro.sample("x", dist.Normal(0.0, 1.0))

    def all_discrete() -> None:
        pyro.sample("z", dist.Bernoulli(0.5))

    def scaled() -> None:
        level = pyro.sample("level", dist.Normal(0.0, 1.0))
        z = pyro.sample("z", dist.Bernoulli(0.5))
        with pyro.poutine.scale(scale=0.5):
            pyro.sample("y", dist.Normal(level * z, 1.0), obs=torch.tensor(1.0))

    def wild() -> None:
        pyro.sample("count", dist.Poisson(3.0))

    for program, message in (
        (smooth, r"no discrete variables to average over.*SVI\(guide=AutoDelta\)"),
        (all_discrete, r"no continuous variables to estimate\. Use Gibbs\(\)"),
        (scaled, r"The density of `y` is scaled by 0\.5 and depends on discrete"),
        (wild, r"`count` \(Poisson\) takes infinitely many values"),
    ):
        with pytest.raises(CapabilityError, match=message):
            infer(program, engine=EM(), **SIZES)
    with pytest.raises(CapabilityError, match=r"FiniteChain is a state-space.*ParticleEM\(\)"):
        infer(FiniteChain(), [0.0, 1.0], engine=EM(), **SIZES)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"iterations": 0}, r"`iterations` must be at least 1; got 0\. Its default is 200"),
        ({"maximisation_steps": 0}, "`maximisation_steps` must be at least 1; got 0"),
        ({"tolerance": -1.0}, r"`tolerance` must not be negative; got -1\.0\. Pass e\.g\. 1e-10"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        EM(**settings)
