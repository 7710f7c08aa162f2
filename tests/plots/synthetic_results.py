"""Results that follow the schema of the STDP-GLM, with realistic numbers, made without a fit."""

import json

import numpy as np
import xarray as xr

RULE_PARAMETERS = {
    "static": (),
    "additive": ("amplitude_plus", "amplitude_minus", "tau_plus", "tau_minus", "weight_noise"),
    "multiplicative": (
        "amplitude_plus",
        "amplitude_minus",
        "tau_plus",
        "tau_minus",
        "weight_noise",
        "weight_max",
    ),
}
CENTRES = {
    "amplitude_plus": 0.0021,
    "amplitude_minus": 0.0026,
    "tau_plus": 0.020,
    "tau_minus": 0.022,
    "weight_noise": 0.05,
    "weight_max": 5.0,
}
GAIN = {"static": 0.0, "additive": 6.0, "multiplicative": 5.2}


def basis(num: int = 5, num_lags: int = 200) -> xr.DataArray:
    """Raised cosines in log time, each of unit integral."""
    lag_ms = np.arange(1, num_lags + 1)
    position = np.log(lag_ms / 120 + 0.5)
    centres = np.linspace(position[0], position[-1], num + 2)[1:-1]
    width = centres[1] - centres[0]
    phase = np.clip((position - centres[:, None]) / width, -1, 1) * np.pi / 2
    bumps = np.cos(phase) ** 2
    bumps /= bumps.sum(1, keepdims=True) * 1e-3
    return xr.DataArray(
        bumps, dims=("basis", "lag"), coords={"basis": np.arange(num), "lag": lag_ms * 1e-3}
    )


def posterior(rule, num_neurons, chains, draws, windows, rng):
    neurons = [f"n{i}" for i in range(num_neurons)]
    pairs = [(a, b) for a in neurons for b in neurons if a != b]
    probability = np.clip(rng.beta(0.4, 0.5, len(pairs)), 0.01, 0.999)
    probability[0] = 0.995
    shape = (chains, draws)
    edge = (rng.random((*shape, len(pairs))) < probability).astype(np.int8)
    path = np.cumsum(rng.normal(-0.02, 0.06, (len(pairs), windows)), axis=1)
    path = path if rule != "static" else np.zeros_like(path)
    level = rng.uniform(0.8, 3.0, (len(pairs), 1))
    noise = rng.normal(0, 0.25, (*shape, len(pairs), 1)) + rng.normal(
        0, 0.0 if rule == "static" else 0.1, (*shape, len(pairs), windows)
    )
    weight = (level + path + noise) * edge[..., None]
    data = {
        "bias": (("chain", "draw", "neuron"), rng.normal(20, 0.8, (*shape, num_neurons))),
        "self_weight": (("chain", "draw", "neuron"), rng.normal(-0.3, 0.05, (*shape, num_neurons))),
        "edge": (("chain", "draw", "synapse"), edge),
        "weight": (("chain", "draw", "synapse", "window"), weight),
        "impulse": (
            ("chain", "draw", "synapse", "basis"),
            rng.dirichlet([8, 5, 3, 1, 1], (*shape, len(pairs))),
        ),
        "self_impulse": (
            ("chain", "draw", "neuron", "basis"),
            rng.dirichlet([9, 1, 1, 1, 1], (*shape, num_neurons)),
        ),
    }
    for name in RULE_PARAMETERS[rule]:
        data[name] = (
            ("chain", "draw", "rule_group"),
            CENTRES[name] * np.exp(0.25 * rng.standard_normal((*shape, 1))),
        )
    coords = {
        "chain": np.arange(chains),
        "draw": np.arange(draws),
        "neuron": neurons,
        "synapse": [f"{a}->{b}" for a, b in pairs],
        "pre": ("synapse", [a for a, _ in pairs]),
        "post": ("synapse", [b for _, b in pairs]),
        "window": np.arange(windows, dtype=float),
        "basis": np.arange(5),
        "rule_group": ["all"],
    }
    return xr.Dataset(data, coords)


def held_out(rule, neurons, chains, draws, start, blocks, rng):
    count = np.random.default_rng(9).poisson(21, (blocks, len(neurons)))
    common = np.random.default_rng(10).normal(0, 6, (blocks, len(neurons)))
    baseline = -150.0 + common
    gain = GAIN[rule] / len(neurons) + rng.normal(0, 1.2, (blocks, len(neurons))) + 5.0
    values = baseline + gain + rng.normal(0, 0.4, (chains, draws, 1, 1))
    return xr.Dataset(
        {
            "log_likelihood": (("chain", "draw", "block", "neuron"), values),
            "spike_count": (("block", "neuron"), count),
            "baseline_log_likelihood": (("block", "neuron"), baseline),
        },
        {
            "chain": np.arange(chains),
            "draw": np.arange(draws),
            "block": start + np.arange(blocks, dtype=float),
            "neuron": neurons,
        },
    )


def make_result(
    rule="additive", *, num_neurons=2, chains=2, draws=100, windows=50, blocks=10, seed=0
):
    """A DataTree as the STDP-GLM returns it."""
    rng = np.random.default_rng([seed, *rule.encode()])
    drawn = posterior(rule, num_neurons, chains, draws, windows, rng)
    neurons = list(drawn.neuron.values)
    lp = -9500 + rng.normal(0, 4, (chains, draws))
    groups = {
        "posterior": drawn,
        "sample_stats": xr.Dataset({"lp": (("chain", "draw"), lp)}),
        "constant_data": xr.Dataset(
            {
                "basis_function": basis(),
                "group_of_synapse": ("synapse", np.zeros(drawn.sizes["synapse"], int)),
            }
        ),
        "observed_data": xr.Dataset(
            {"spike_count": (("window", "neuron"), rng.poisson(21, (windows, num_neurons)))},
            {"window": drawn.window, "neuron": neurons},
        ),
    }
    if blocks:
        groups["held_out"] = held_out(rule, neurons, chains, draws, float(windows), blocks, rng)
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = {
        "model": "stdp_glm",
        "rule": rule,
        "link": "softplus(1 Hz)",
        "engine": "ParticleGibbs",
        "engine_settings": json.dumps({"particles": 100}),
        "seed": 3,
        "data_hash": "0f" * 8,
        "seconds": 12.5,
        "versions": json.dumps({"probneuro": "0.1.0", "numpy": "2.4"}),
        "diagnostics": json.dumps([]),
        "created_at": "2025-01-01T00:00:00+00:00",
    }
    return tree


def make_results(rules=("static", "additive", "multiplicative"), **settings):
    """Results by rule name."""
    return {rule: make_result(rule, **settings) for rule in rules}
