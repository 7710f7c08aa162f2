"""Ten driven neurons, 28 plastic synapses: how fast they fire, which synapses decay, what is seen.

    python examples/neuron_network.py                    # 20 networks; with --smoke two short ones
    python examples/neuron_network.py --neuron           # in NEURON as well: the same spikes?
    python examples/neuron_network.py --neuron --write probneuro/data/recordings

The last command made the packaged recording `neuron_network` and its truth: 70 s, seed 0.
NEURON comes with ``pip install 'probneuro[sim]'``.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from probneuro.simulators.driven_network import LIFNetwork, window_starts
from probneuro.simulators.lif_network import run_lif, simulate_lif_network

SEED = 0
FAR = 0.2
"""Seconds; the correlogram's baseline lies between a quarter of this lag and this lag."""


def correlogram(pre, post, lags):
    """Count pairs of spikes by lag; a spike at the border of two lags belongs to the later."""
    first, last = np.searchsorted(post, [pre + lags[0], pre + lags[-1]])
    gaps = np.concatenate([post[a:b] - t for a, b, t in zip(first, last, pre, strict=True)])
    return np.histogram(gaps + 1e-9, lags)[0]


def extra_spikes(pre, post):
    """Return z of the peak at the delay, spikes at the delay, and net extra in 20 ms, a spike."""
    if pre.size == 0:
        return np.full(3, np.nan)
    lags = np.arange(-round(1e3 * FAR), round(1e3 * FAR) + 1) * 1e-3
    counts = correlogram(pre, post, lags)
    far = np.abs(lags[:-1] + 0.5e-3) > FAR / 4
    baseline = counts[far].mean()
    near = (lags[:-1] > 0.5e-3) & (lags[:-1] < 20.5e-3)
    peak = counts[near][0] - baseline
    return np.array(
        [
            peak / np.sqrt(max(baseline, 1e-9)),
            peak / pre.size,
            (counts[near] - baseline).sum() / pre.size,
        ]
    )


def measure(spikes, truth):
    """Return one row of figures for one network."""
    trains, edge, weight = spikes.times, truth["edge"].astype(bool), truth["weight"]
    pairs = np.argwhere(~np.eye(len(trains), dtype=bool))
    whole = np.array([extra_spikes(trains[a], trains[b]) for a, b in pairs])
    parts = [
        np.array([extra_spikes(t[(t >= start) & (t < start + 10)], trains[b])
                  for a, b in pairs[edge] for t in [trains[a]]])
        for start in (0.0, spikes.stop - 10.0)
    ]  # fmt: skip
    end = weight[edge, -1] / weight[edge, 0]
    decayed, area = end < 0.2, linear_areas(spikes)
    missed = area[edge] < np.sort(area[~edge])[-3]  # where two pairs that are not joined pass
    return {
        "rate": np.mean([t.size for t in trains]) / spikes.duration,
        "decayed": decayed.sum(),
        "lower": ((end >= 0.2) & (end < 0.8)).sum(),
        "kept": ((end >= 0.8) & (end < 1.2)).sum(),
        "grown": (end >= 1.2).sum(),
        "z_synapses": np.median(whole[edge, 0]),
        "z_decayed": np.median(whole[edge, 0][decayed]) if decayed.any() else np.nan,
        "z_others_sd": whole[~edge, 0].std(),
        "z_others_max": whole[~edge, 0].max(),
        "auc_correlogram": auc(whole[:, 0], edge),
        "auc_linear_area": auc(area, edge),
        "missed_decayed": (decayed & missed).sum(),
        "missed_others": (~decayed & missed).sum(),
        "first_at_delay": np.nanmean(parts[0][:, 1]),
        "first_extra": np.nanmean(parts[0][:, 2]),
        "last_at_delay": np.nanmean(parts[1][:, 1]),
        "last_extra": np.nanmean(parts[1][:, 2]),
    }


def linear_areas(spikes):
    """Return the area of each pair's impulse response, 20 ms, in a static linear regression."""
    counts = spikes.bin().counts.astype(float)
    total = np.vstack([np.zeros(spikes.num_units), counts.cumsum(0)])
    now = np.arange(len(counts))
    blocks = [(1, 1), (2, 5), (6, 20)]  # lags in ms
    past = [total[np.maximum(now - a + 1, 0)] - total[np.maximum(now - b, 0)] for a, b in blocks]
    columns = np.hstack([np.ones((len(counts), 1)), *past])
    found = np.linalg.lstsq(columns, counts, rcond=None)[0][1:]
    responses = found.reshape(len(blocks), spikes.num_units, spikes.num_units)
    area = sum((b - a + 1) * response for (a, b), response in zip(blocks, responses, strict=True))
    return area[~np.eye(spikes.num_units, dtype=bool)]


def auc(score, edge):
    """Return the area under the ROC curve: how often a synapse scores above another pair."""
    above = score[edge][:, None] - score[~edge]
    return (above > 0).mean() + (above == 0).mean() / 2


def by_weight(recordings, edges=(0, 2, 4, 6, 8, 10.5)):
    """Print what a presynaptic spike adds, by the weight at the time."""
    found = {i: [] for i in range(len(edges) - 1)}
    for spikes, truth in recordings:
        pairs = np.argwhere(~np.eye(spikes.num_units, dtype=bool))
        for s in np.flatnonzero(truth["edge"]):
            pre, post = (spikes.times[n] for n in pairs[s])
            w = truth["weight"][s][np.minimum(pre.astype(int), truth["weight"].shape[1] - 1)]
            for i in found:
                now = pre[(w >= edges[i]) & (w <= edges[i + 1])]
                if now.size > 50:
                    found[i].append((now.size, *extra_spikes(now, post)[1:]))
    for i, rows in found.items():
        if rows:
            number, at, net = np.array(rows).T
            print(f"{edges[i]} to {edges[i + 1]} mV: {np.average(at, weights=number):.3f} at the "
                  f"delay, {np.average(net, weights=number):.3f} in 20 ms, a spike")  # fmt: skip


def compare_with_neuron(duration, seeds):
    """Run both simulators on the same networks."""
    from probneuro.simulators.neuron_network import run_in_neuron

    starts = window_starts(duration, 1.0)
    run_lif(LIFNetwork().draw(duration, SEED), starts)  # compiled here
    for seed in seeds:
        wired = LIFNetwork().draw(duration, seed)
        clock = [time.process_time()]
        neuron, when, weight = run_lif(wired, starts)
        clock.append(time.process_time())
        others = run_in_neuron(wired, starts)
        clock.append(time.process_time())
        same = sorted(zip(when.round(9), neuron, strict=True)) == sorted(
            zip(others[1].round(9), others[0], strict=True)
        )
        twin, reference = np.diff(clock)
        print(f"seed {seed}: {when.size} spikes, the same in NEURON: {same}; weights differ by at "
              f"most {np.abs(weight - others[2]).max():.1e} mV; {reference / twin:.0f} times as "
              f"fast as NEURON's {reference:.2f} s")  # fmt: skip


def write(folder):
    """Write the recording that NEURON makes, and its truth."""
    from probneuro.simulators.neuron_network import simulate_neuron_network

    spikes, truth = simulate_neuron_network(duration=70.0, seed=SEED)
    spikes.save(folder / "neuron_network.npz")
    np.savez_compressed(folder / "neuron_network_truth.npz", **truth)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--neuron", action="store_true")
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    duration, seeds = (20.0, range(2)) if arguments.smoke else (70.0, range(arguments.seeds))
    if arguments.neuron:
        compare_with_neuron(duration, seeds)
    if arguments.write:
        write(arguments.write)
    recordings = [simulate_lif_network(duration=duration, seed=seed) for seed in seeds]
    rows = [measure(*recording) for recording in recordings]
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        print(
            f"{name}: {np.nanmean(values):.3f} ({np.nanmin(values):.3f} to {np.nanmax(values):.3f})"
        )
    by_weight(recordings)
