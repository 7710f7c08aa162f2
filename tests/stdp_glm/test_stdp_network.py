"""The driven network: event by event as a slow loop does it, and as NEURON does."""

import heapq
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from probneuro.core.errors import SettingError
from probneuro.data import example_truth, load_example
from probneuro.models.stdp_glm import STDPGLM
from probneuro.simulators.driven_network import LIFNetwork, WiredNetwork, window_starts
from probneuro.simulators.lif_network import run_lif, simulate_lif_network
from probneuro.simulators.neuron_network import run_in_neuron, simulate_neuron_network

ROOT = Path(__file__).parents[2]


def slow(wired: WiredNetwork, coincident: bool = False) -> tuple[list[tuple[float, int]], list]:
    """Return spikes and final weights, with one queue and sums over all earlier spikes."""
    c = wired.constants
    queue = [
        (float(t), i, int(n), float(w), -1)
        for i, (t, n, w) in enumerate(
            zip(wired.driver_time, wired.driver_target, wired.driver_weight, strict=True)
        )
    ]
    heapq.heapify(queue)
    number = len(queue)
    weight = list(wired.initial_weight)
    trains: list[list[float]] = [[] for _ in range(c.num_neurons)]
    inputs: list[list[tuple[float, float]]] = [[] for _ in range(c.num_neurons)]

    def pairs(times: list[float], t: float, tau: float) -> float:
        return sum(np.exp(-(t - u) / tau) for u in times if u < t or (coincident and u == t))

    while queue and queue[0][0] < wired.duration:
        t, _, n, jump, synapse = heapq.heappop(queue)
        if trains[n] and t < trains[n][-1] + c.refractory:
            continue
        inputs[n].append((t, jump if synapse < 0 else weight[synapse]))
        if sum(w * np.exp(-(t - u) / c.membrane_tau) for u, w in inputs[n]) <= c.threshold:
            continue
        for s, (a, b) in enumerate(zip(wired.pre, wired.post, strict=True)):
            if a == n:
                down = c.amplitude_minus * pairs(trains[b], t, c.tau_minus)
                weight[s] = max(weight[s] - down, 0.0)
                number += 1
                heapq.heappush(queue, (t + c.delay, number, int(b), 0.0, s))
            elif b == n:
                up = c.amplitude_plus * pairs(trains[a], t, c.tau_plus)
                weight[s] = min(weight[s] + up, c.weight_max)
        trains[n].append(t)
        inputs[n].clear()
    return sorted((t, n) for n, train in enumerate(trains) for t in train), weight


def fast(wired: WiredNetwork) -> tuple[list[tuple[float, int]], np.ndarray]:
    """Return spikes and final weights of the module's own loop."""
    neuron, time, weight = run_lif(wired, np.array([0.0, wired.duration]))
    return sorted(zip(time.tolist(), neuron.tolist(), strict=True)), weight[:, -1]


LIVELY = [
    LIFNetwork(),
    LIFNetwork(num_neurons=4, num_synapses=9, amplitude_plus=1.0, amplitude_minus=0.5),
    LIFNetwork(num_neurons=4, num_synapses=9, amplitude_plus=0.3, amplitude_minus=1.5),
    LIFNetwork(tau_plus=5e-3, tau_minus=50e-3, delay=3e-3, membrane_tau=10e-3, driver_rate=20.0),
]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("constants", LIVELY, ids=["paper", "upper", "lower", "other"])
def test_spikes_and_weights_are_those_of_a_slow_loop(constants: LIFNetwork, seed: int) -> None:
    wired = constants.draw(4.0, seed)
    found, expected = fast(wired), slow(wired)
    assert len(expected[0]) > 40
    assert [n for _, n in found[0]] == [n for _, n in expected[0]]
    np.testing.assert_allclose([t for t, _ in found[0]], [t for t, _ in expected[0]], atol=1e-12)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-9)


def chain(**settings: float) -> WiredNetwork:
    """Return three neurons, 0 to 1 and 2, and 1 to 2; only the first is driven, and once."""
    return WiredNetwork(
        constants=LIFNetwork(num_neurons=3, num_synapses=3, weight_max=20.0, **settings),
        duration=0.1,
        pre=np.array([0, 0, 1]),
        post=np.array([1, 2, 2]),
        initial_weight=np.array([13.0, 14.0, 15.0]),
        driver_time=np.array([3.3e-3]),
        driver_target=np.array([0]),
        driver_weight=np.array([13.0]),
    )


def test_coincident_spikes_are_no_pair_and_a_pair_counts_once() -> None:
    wired = chain()
    spikes, weight = fast(wired)
    assert spikes == [(3.3e-3, 0), (3.3e-3 + 1e-3, 1), (3.3e-3 + 1e-3, 2)]
    up = 0.05 * np.exp(-1.0 / 20.0)
    np.testing.assert_allclose(weight, [13.0 + up, 14.0 + up, 15.0], atol=1e-12)
    assert slow(wired, coincident=True)[1][2] != pytest.approx(15.0)


def test_without_bounds_a_weight_sums_all_pairs_of_the_additive_rule() -> None:
    wired = LIFNetwork(weight_max=1e3, amplitude_plus=1e-3, amplitude_minus=1e-3).draw(20.0, 3)
    neuron, time, weight = run_lif(wired, np.array([0.0, 20.0]))
    c, gaps = wired.constants, {}
    for s, (a, b) in enumerate(zip(wired.pre, wired.post, strict=True)):
        gap = time[neuron == b][:, None] - time[neuron == a]
        gaps[s] = c.amplitude_plus * np.exp(-gap[gap > 0] / c.tau_plus).sum()
        gaps[s] -= c.amplitude_minus * np.exp(gap[gap < 0] / c.tau_minus).sum()
    np.testing.assert_allclose(weight[:, 1] - weight[:, 0], list(gaps.values()), atol=1e-9)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_neuron_gives_the_same_spikes(seed: int) -> None:
    pytest.importorskip("neuron", reason="the simulator NEURON comes with probneuro[sim]")
    wired, starts = LIFNetwork().draw(10.0, seed), window_starts(10.0, 1.0)
    neuron, time, weight = run_lif(wired, starts)
    for _ in range(2):  # the second run shows whether the first one left something behind
        others = run_in_neuron(wired, starts)
        order, theirs = np.lexsort((neuron, time)), np.lexsort((others[0], others[1].round(12)))
        np.testing.assert_array_equal(neuron[order], others[0][theirs])
        np.testing.assert_allclose(time[order], others[1][theirs], atol=1e-9)
        np.testing.assert_allclose(weight, others[2], atol=1e-9)
    moved = run_lif(replace(wired, initial_weight=wired.initial_weight - 0.5), starts)
    assert moved[1].size != time.size or np.abs(moved[1] - time).max() > 1e-6


def test_neuron_network_names_its_source() -> None:
    pytest.importorskip("neuron", reason="the simulator NEURON comes with probneuro[sim]")
    spikes, truth = simulate_neuron_network(duration=2.0, seed=4)
    twin, same = simulate_lif_network(duration=2.0, seed=4)
    assert "NEURON" in spikes.source
    assert spikes.counts == twin.counts
    np.testing.assert_allclose(truth["weight"], same["weight"], atol=1e-9)


def test_missing_neuron_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "neuron", None)
    with pytest.raises(SettingError, match=r"needs the simulator NEURON.*'probneuro\[sim\]'"):
        simulate_neuron_network(duration=1.0)


@pytest.mark.stat
def test_default_network_does_what_the_paper_says() -> None:
    rates, decayed, grown = [], [], []
    for seed in range(10):
        spikes, truth = simulate_lif_network(seed=seed)
        rates.append(np.mean(list(spikes.counts.values())) / spikes.duration)
        end = truth["weight"][truth["edge"] == 1][:, -1]
        decayed.append((end < 0.2 * 6.0).sum())
        grown.append((end > 6.0).sum())
    # About 10 Hz, and no seed far from it; some synapses of each network are lost, others stay.
    error = np.std(rates, ddof=1) / np.sqrt(len(rates))
    assert abs(np.mean(rates) - 10.0) < 4.9 * error < 3.0
    assert 6.0 < min(rates) < max(rates) < 15.0
    assert min(decayed) >= 3
    assert min(grown) >= 8


def test_truth_is_over_the_pairs_of_the_model() -> None:
    wired = LIFNetwork().draw(3.0, 5)
    spikes, truth = simulate_lif_network(duration=3.0, seed=5)
    binned = spikes.bin(min_spikes=0)
    labels = STDPGLM().synapse_names(binned)
    joined = [f"{a}->{b}" for a, b in zip(wired.pre, wired.post, strict=True)]
    assert [name for name, edge in zip(labels, truth["edge"], strict=True) if edge] == joined
    np.testing.assert_array_equal(truth["weight"][truth["edge"] == 1, 0], wired.initial_weight)
    assert not truth["weight"][truth["edge"] == 0].any()
    assert truth["weight"].shape[1] == binned.num_windows


def test_packaged_network_is_the_simulation_of_seed_0() -> None:
    spikes, truth = load_example("neuron_network"), example_truth("neuron_network")
    again, expected = simulate_lif_network(duration=70.0, seed=0)
    assert spikes.duration == 70
    assert spikes.source.startswith("NEURON")
    for unit in spikes.units:
        np.testing.assert_allclose(spikes[unit], again[unit], atol=1e-9)
    for name, values in expected.items():
        np.testing.assert_allclose(truth[name], values, atol=1e-9)
    assert list(truth["synapse"].values) == STDPGLM().synapse_names(spikes.bin())
    assert truth["weight"].attrs["units"] == "mV"


def test_packaged_truth_is_known_for_simulations_only() -> None:
    with pytest.raises(SettingError, match=r"nobody knows the synapses of 'v1_pair'.*neuron_netw"):
        example_truth("v1_pair")
    with pytest.raises(SettingError, match=r"Unknown example 'neuron'"):
        example_truth("neuron")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"num_synapses": 91}, r"`num_synapses` must lie between 0 and 90.*got 91"),
        ({"delay": 0.0}, r"`delay` must be positive; got 0.0"),
        ({"threshold": float("nan")}, r"`threshold` must be positive; got nan"),
        ({"initial_weight": 11.0}, r"`initial_weight` must lie between 0 and `weight_max`, 10.5"),
    ],
)
def test_senseless_constants_are_refused(setting: dict[str, float], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        LIFNetwork(**setting)


@pytest.mark.parametrize("window", [0.0, 3.0])
def test_senseless_windows_are_refused(window: float) -> None:
    with pytest.raises(SettingError, match=r"`window` must be positive and no longer"):
        simulate_lif_network(duration=2.0, window=window)


def test_preset_states_every_constant_once() -> None:
    preset = tomllib.loads((ROOT / "models/stdp_glm/paper.toml").read_text(encoding="utf-8"))
    network = preset["network"]
    assert not set(network["paper"]) & set(network["ours"])
    assert LIFNetwork(**network["paper"], **network["ours"]) == LIFNetwork()
    assert set(network["paper"]) | set(network["ours"]) == set(LIFNetwork.__dataclass_fields__)


@pytest.mark.slow
def test_example_runs() -> None:
    command = [sys.executable, str(ROOT / "examples/neuron_network.py"), "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "auc_linear_area: " in done.stdout
