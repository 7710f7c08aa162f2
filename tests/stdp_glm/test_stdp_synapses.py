"""Delays, short-term plasticity and Dale's law: program, conditionals and simulator agree."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from probneuro import infer
from probneuro.components.basis import CosineBasis
from probneuro.components.delay import delay_bins
from probneuro.core.errors import SettingError
from probneuro.data import BinnedSpikes
from probneuro.inference.gibbs import CollapsedGibbs
from probneuro.inference.particle_gibbs import ParticleGibbs
from probneuro.learning_rules import (
    Additive,
    AdditiveBounded,
    LearningRule,
    Multiplicative,
    Static,
)
from probneuro.models.stdp_glm import STDPGLM, DalesLaw, ShortTermPlasticity
from probneuro.simulators.plastic_glm import PlasticGLM, simulate_plastic_glm
from probneuro.testing import check_gibbs_target
from stdp_glm.problems import recording

SHORT_TERM = ShortTermPlasticity(use=0.4, recovery=0.3, facilitation=0.2)
DALE = DalesLaw(("1",))
SYNAPSES: list[dict[str, Any]] = [
    {"delay": 0.003},
    {"short_term": SHORT_TERM},
    {"delay": 0.002, "short_term": SHORT_TERM},
    {"dale": DALE, "delay": 0.001},
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("settings", SYNAPSES, ids=repr)
def test_program_and_conditionals_agree_on_synapses(settings: Any, seed: int) -> None:
    rules: tuple[LearningRule, ...] = (AdditiveBounded(), Multiplicative(), AdditiveBounded())
    if "dale" not in settings:
        rules = (Static(), Additive(), Multiplicative())
    check_gibbs_target(STDPGLM(rule=rules[seed], **settings), recording(seed), seed=seed)


def ode(times: np.ndarray, u0: float, recovery: float, facilitation: float) -> list[float]:
    """Return u R / U at each spike, with u and R moved in steps of a microsecond."""
    step, u, r, out = 1e-6, 0.0, 1.0, []
    ends = np.round(np.concatenate([times, times[-1:]]) / step).astype(int)
    for now, then in pairwise(ends):
        u += u0 * (1.0 - u)
        out.append(u * r / u0)
        r -= u * r
        for _ in range(then - now):
            u, r = u - step * u / facilitation, r + step * (1.0 - r) / recovery
    return out


@pytest.mark.parametrize("constants", [(0.5, 0.1, 0.02), (0.1, 0.03, 0.2), (1.0, 0.05, 0.05)])
def test_short_term_plasticity_solves_its_equations(constants: Any) -> None:
    times = np.array([0.004, 0.012, 0.013, 0.05, 0.11])
    counts = np.zeros((150, 2), dtype=int)
    places = np.round(times * 1e3).astype(int)
    counts[places, 1] = 1
    use, recovery, facilitation = constants
    own = ShortTermPlasticity(use=use, recovery=recovery, facilitation=facilitation)
    released = own.release(counts, 1e-3)
    expected = ode(times, use, recovery, facilitation)
    np.testing.assert_allclose(released[places, 1], expected, rtol=2e-4)
    assert np.count_nonzero(released) == times.size


def test_spikes_of_one_bin_follow_one_another_at_once() -> None:
    counts = np.zeros((3, 1), dtype=int)
    counts[1] = 2
    released = ShortTermPlasticity(use=0.25, recovery=0.5).release(counts, 1e-3)
    np.testing.assert_allclose(released[:, 0], [0.0, 1.0 + 0.75, 0.0])
    plain = ShortTermPlasticity(recovery=0.0).release(counts, 1e-3)
    np.testing.assert_array_equal(plain, counts)


def one_way(**settings: Any) -> PlasticGLM:
    """Return neuron 0, which never rests, onto neuron 1, with a certain constant synapse."""
    return PlasticGLM(
        rule=Static(), bias=np.array([20.0, 30.0]), self_weight=np.array([-0.1, -0.3]),
        self_impulse=np.full((2, 5), 0.2), impulse=np.array([[0.6, 0.2, 0.1, 0.05, 0.05]]),
        pre=np.array([0]), post=np.array([1]), edge=np.ones(1), parameters={},
        initial_weight=np.array([1.3]), **settings,
    )  # fmt: skip


def slow_activation(network: PlasticGLM, data: BinnedSpikes) -> np.ndarray:
    """Return neuron 1's activation by a loop over the spikes before each bin."""
    bumps = CosineBasis().evaluate(data.bin_width)
    own, response = network.self_impulse[1] @ bumps, network.impulse[0] @ bumps
    late = round(network.delay / data.bin_width)
    size = data.counts[:, 0].astype(float)
    if network.short_term:
        size = network.short_term.release(data.counts, data.bin_width)[:, 0]
    activation = np.full(data.num_bins, network.bias[1])
    for t in np.flatnonzero(data.counts[:, 1]):
        stop = min(own.size, data.num_bins - t - 1)
        activation[t + 1 : t + 1 + stop] += data.counts[t, 1] * -0.3 * own[:stop]
    for t in np.flatnonzero(data.counts[:, 0]):
        stop = max(min(response.size, data.num_bins - t - 1 - late), 0)
        first = t + 1 + late
        activation[first : first + stop] += 1.3 * size[t] * response[:stop]
    return activation


SETTINGS = [{"delay": 0.004}, {"short_term": SHORT_TERM}, {"delay": 0.03, "short_term": SHORT_TERM}]


@pytest.mark.parametrize("settings", SETTINGS, ids=repr)
def test_model_filters_as_a_loop_does(settings: Any) -> None:
    network = one_way(**settings)
    data, _ = network.simulate(3, np.random.default_rng(0), bins_per_window=200)
    target: Any = STDPGLM(rule=Static(), **settings).gibbs(data)
    values = target.start(np.random.default_rng(1))
    with np.errstate(divide="ignore"):
        values |= {
            "bias": network.bias, "self_weight": network.self_weight,
            "self_log_gamma": np.log(network.self_impulse),
            "log_gamma": np.log(np.repeat(network.impulse, 2, axis=0)),
            "edge": np.array([1, 0], dtype=np.int8), "weight": np.full((2, 3), 1.3),
        }  # fmt: skip
    np.testing.assert_allclose(
        target.at(values).activation(1), slow_activation(network, data), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("settings", SETTINGS, ids=repr)
@pytest.mark.parametrize("windows", [1, 4])
def test_simulator_draws_from_the_models_rates(settings: Any, windows: int) -> None:
    # The same uniform numbers, and the activation by a loop, give every count again.
    network, size = one_way(**settings), 600 // windows
    data, _ = network.simulate(windows, np.random.default_rng(5), bins_per_window=size)
    rng = np.random.default_rng(5)
    uniform = np.concatenate([rng.random((size, 2)) for _ in range(windows)])[:, 1]
    mean = np.logaddexp(0.0, slow_activation(network, data)) * data.bin_width
    counts, term, total = np.zeros(600, dtype=int), np.exp(-mean), np.exp(-mean)
    for number in range(1, 10):
        counts += uniform > total
        term = term * mean / number
        total = total + term
    assert counts.sum() > 10
    np.testing.assert_array_equal(data.counts[:, 1], counts)


def test_a_delay_leaves_the_neurons_own_response_and_the_rule_alone() -> None:
    data = recording(0)
    late, soon = STDPGLM(delay=0.005).design(data), STDPGLM().design(data)
    neurons = len(data.units)
    np.testing.assert_array_equal(late.traces[:neurons], soon.traces)
    moved = late.traces[late.sent]
    np.testing.assert_array_equal(moved[:, :, 5:], soon.traces[:, :, :-5])
    assert not moved[:, :, :5].any()
    tau = np.full((6, 1), 0.02)
    with_delay, without = STDPGLM(delay=0.005).pairs(data), STDPGLM().pairs(data)
    np.testing.assert_array_equal(with_delay.post_after_pre(tau), without.post_after_pre(tau))


def test_results_tell_of_delays_and_the_like() -> None:
    model = STDPGLM(rule=AdditiveBounded(), delay=0.002, short_term=SHORT_TERM, dale=DALE)
    told = model.attributes()
    assert told["delay"] == 0.002
    assert told["inhibitory"] == ["1"]
    assert "recovery=0.3" in told["short_term"]
    assert set(STDPGLM().attributes()) == {"rule", "link"}


@pytest.mark.parametrize("rule", [AdditiveBounded(), Multiplicative()], ids=lambda r: r.name)
@pytest.mark.parametrize("engine", [CollapsedGibbs(warmup=20), ParticleGibbs(warmup=20)])
def test_weights_keep_their_sign(rule: LearningRule, engine: Any) -> None:
    spikes, truth = simulate_plastic_glm(rule, num_neurons=3, duration=4.0, seed=3, inhibitory=(1,))
    model = STDPGLM(rule=rule, dale=DALE)
    result = infer(model, spikes, engine=engine, draws=20, chains=1, seed=1, progress=False)
    weight = result["posterior"]["weight"]
    negative = np.array([name.startswith("1->") for name in weight["synapse"].values])
    assert truth["weight"][negative].max() <= 0.0 <= truth["weight"][~negative].min()
    values = weight.values[0]
    assert values[:, negative].max() <= 0.0 <= values[:, ~negative].min()
    assert values[:, negative].min() < -0.05 and values[:, ~negative].max() > 0.05


def test_an_inhibitory_synapse_is_the_mirror_image_of_an_excitatory_one() -> None:
    data = recording(2)
    plain: Any = STDPGLM(rule=Multiplicative()).gibbs(data)
    mirrored: Any = STDPGLM(rule=Multiplicative(), dale=DALE).gibbs(data)
    own = {
        name: float(p.sample(np.random.default_rng(0), 1)[0]) for name, p in plain.priors.items()
    }
    rng = np.random.default_rng(4)
    for s, sign in enumerate(mirrored.sign):
        path = plain.law(s, own).sample(data.num_windows, rng)
        expected = plain.law(s, own).log_density(path)
        assert mirrored.law(s, own).log_density(sign * path) == pytest.approx(expected, rel=1e-12)
        assert np.isfinite(expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: STDPGLM(delay=-0.001), r"`delay` must be 0 s or more; got -0\.001"),
        (lambda: STDPGLM(delay=float("nan")), "`delay` must be 0 s or more; got nan"),
        (lambda: delay_bins(0.0015, 1e-3), r"`delay` must be a whole number of bins of 0\.001 s"),
        (lambda: STDPGLM(delay=0.0004).gibbs(recording(0)), "`delay` must be a whole number"),
        (lambda: STDPGLM(dale=DALE), "`dale` needs a rule whose weights lie between 0 and a"),
        (
            lambda: STDPGLM(rule=AdditiveBounded(-0.5), dale=DALE),
            r"'additive_bounded' has the lower bound -0\.5",
        ),
        (lambda: DalesLaw(("x",)).signs(["0", "1"]), "Unknown neuron 'x'"),
        (lambda: ShortTermPlasticity(use=0.0), r"`use` must be above 0 and at most 1; got 0\.0"),
        (
            lambda: ShortTermPlasticity(recovery=-1.0),
            r"`recovery` must be a time in seconds, 0 or more; got -1\.0",
        ),
        (
            lambda: simulate_plastic_glm(Additive(), inhibitory=(0,)),
            "`inhibitory` needs a rule whose weights lie between 0 and a maximum; got 'additive'",
        ),
    ],
)
def test_senseless_synapses_are_refused(make: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        make()
