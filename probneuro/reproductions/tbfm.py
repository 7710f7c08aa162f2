"""Bryan et al. (2025) on simulators: accuracy, intervals, controllers, dependence, latency."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from probneuro.control import range_task, reference_task
from probneuro.core.detection import auc
from probneuro.core.engine import Engine
from probneuro.core.registry import load
from probneuro.core.reproduction import Finding, Reproduction, Setting
from probneuro.data import StimTrials
from probneuro.infer import infer
from probneuro.models.tbfm import (
    AELSTM,
    LSSM,
    TBFM,
    Forecaster,
    GradientFit,
    TBFMNetwork,
    compile_forecast,
    evaluate,
    r2_by_horizon,
    state_dependence,
)
from probneuro.plots import (
    controller_roc,
    forecast_bands,
    forecast_scores,
    latency_histogram,
    save_figures,
    state_responses,
    temporal_bases,
)
from probneuro.reproductions.kept import kept
from probneuro.simulators.stim_lfp import SimulatedTrials, simulate_lfp, simulate_paired_pulses

Floats = NDArray[np.float64]

MODELS = ("TBFM", "AE-LSTM", "LSSM", "state-agnostic")
_PULSE = 20
"""Samples from the runway's end to the first pulse."""


@final
class TBFMReproduction(Reproduction):
    """Table 1, the controllers, the tests and Table 2 of the paper, on simulated paired pulses."""

    def run(self, preset: Mapping[str, Any], setting: Setting) -> Iterator[Finding]:
        """Run all experiments of a preset, seed by seed."""
        seeds = range(setting.seed, setting.seed + preset["seeds"])
        folder = setting.folder

        def each(name: str, make: Callable[[SimulatedTrials, int], xr.Dataset]) -> xr.Dataset:
            """Return one dataset a seed, side by side; what is there is not made again."""

            def made(seed: int) -> xr.Dataset:
                tree = kept(
                    folder / f"{name}_{seed}.nc",
                    lambda _: xr.DataTree.from_dict({name: make(_simulated(preset, seed), seed)}),
                )
                return tree[name].to_dataset()

            return xr.concat([made(seed) for seed in seeds], "seed")

        table = each("accuracy", lambda both, seed: _accuracy(both, preset, seed))
        yield Finding("test_r2", _r2_in_words(table))
        cover = each("coverage", lambda both, seed: _coverage(both, preset, seed, setting))
        drawn = ("forecasts", "scores", "states", "bases")
        yield Finding("coverage", _coverage_in_words(cover), drawn)
        areas = each("controllers", lambda both, seed: _controllers(both, preset, seed, setting))
        yield Finding("controller_auc", _areas_in_words(areas), ("roc_ranges", "roc_trajectories"))
        tests = each("dependence", lambda both, seed: _dependence(preset, seed))
        share = float((tests["p"] <= 0.05).mean())
        words = f"{share:.0%} of {tests['p'].size} channels by HSIC, matched without replacement"
        yield Finding("state_dependence", words)
        yield Finding("latency", _latency(preset["latency_blocks"], setting), ("latency",))


def _simulated(preset: Mapping[str, Any], seed: int) -> SimulatedTrials:
    return simulate_paired_pulses(
        preset["train"] + preset["test"], preset["channels"], num_resting=preset["test"], seed=seed
    )


def _fitted(train: StimTrials, **settings: Any) -> xr.DataTree:
    engine: Engine = load("engine", "closed_form")(max_gib=0)
    return infer(TBFM(**settings), train, engine=engine, seed=0, progress=False)


def _accuracy(both: SimulatedTrials, preset: Mapping[str, Any], seed: int) -> xr.Dataset:
    """Return R2 by horizon of all models, on training and on later trials."""
    early, late = both.split(preset["train"])
    train, test = early.trials, late.trials
    made: dict[str, Any] = {
        "TBFM": Forecaster.from_result(_fitted(train)),
        "state-agnostic": Forecaster.from_result(_fitted(train, state_dependent=False)),
    }
    for name, kind, rate in (("AE-LSTM", AELSTM, 2e-3), ("LSSM", LSSM, 4e-3)):
        fit = GradientFit(epochs=preset["epochs"], learning_rate=rate, batch=100)
        sizes = {"num_latents": 48, "num_hidden": 48} if kind is AELSTM else {}
        made[name] = fit.fit(kind, train, seed=seed, **sizes)
    curves = [
        [r2_by_horizon(part.response, made[name].forecast(part)) for part in (train, test)]
        for name in MODELS
    ]
    best = r2_by_horizon(test.response, late.expected)
    dims = ("model", "part", "horizon")
    return xr.Dataset(
        {"r2": (dims, np.array(curves)), "best": ("horizon", best)},
        coords={"model": list(MODELS), "part": ["train", "test"]},
    )


def _coverage(
    both: SimulatedTrials, preset: Mapping[str, Any], seed: int, setting: Setting
) -> xr.Dataset:
    """Return the coverage of 90 % intervals on later trials, and draw the first seed's fit."""
    early, late = both.split(preset["train"])
    result = _fitted(early.trials)
    found = evaluate(result, late.trials)
    if seed == setting.seed:
        figures = {
            "forecasts": forecast_bands(found),
            "scores": forecast_scores(found),
            "states": state_responses(found),
            "bases": temporal_bases(result),
        }
        save_figures(figures, setting.figures)
    methods = ("posterior", "leave_one_out")
    covers = [found[f"interval_{m}"]["coverage"].values for m in methods]
    dims = ("method", "channel", "horizon")
    return xr.Dataset({"coverage": (dims, np.array(covers))}, coords={"method": list(methods)})


def _controllers(
    both: SimulatedTrials, preset: Mapping[str, Any], seed: int, setting: Setting
) -> xr.Dataset:
    """Return the AUC of both tasks, by distance and by probability."""
    early, late = both.split(preset["train"])
    train, test = early.trials, late.trials
    made = Forecaster.from_result(_fitted(train))
    guess, resting = made.forecast(test), np.asarray(test.resting)
    response = test.response
    at = resting[:, :2, test.runway + _PULSE]
    ranges = range_task(response[:, :2, _PULSE], at, seed=seed)
    errors = (train.response - made.forecast(train))[:, :2, _PULSE]
    point = guess[:, :2, _PULSE]
    paths = reference_task(response[:, :2, _PULSE:], seed=seed)
    ahead = guess[:, :2, _PULSE:]
    noise = made.fit.noise[:2, _PULSE:, _PULSE:] * made.fit.scaling.scale[:2, None, None] ** 2
    scores = {
        "ranges": (
            {
                "distance": -ranges.cost.distance(point),
                "probability": ranges.cost.chance(point, np.cov(errors.T)),
            },
            ranges.should,
        ),
        "trajectories": (
            {
                "distance": -paths.cost.distance(ahead),
                "probability": paths.cost.chance(ahead, noise),
            },
            paths.should,
        ),
    }
    if seed == setting.seed:
        drawn = {f"roc_{k}": controller_roc(s, truth, title=k) for k, (s, truth) in scores.items()}
        save_figures(drawn, setting.figures)
    areas = [[auc(v, truth) for v in s.values()] for s, truth in scores.values()]
    labels = {"task": list(scores), "by": ["distance", "probability"]}
    return xr.Dataset({"auc": (("task", "by"), np.array(areas))}, coords=labels)


def _dependence(preset: Mapping[str, Any], seed: int) -> xr.Dataset:
    """Return p-values of state dependence where there is some."""
    number = min(preset["test"], 400)
    trials = simulate_paired_pulses(
        number, preset["channels"], num_resting=2 * number, seed=seed
    ).trials
    # The simulator's gain is set by the state at the runway's end.
    found = state_dependence(trials, state_time=0.019, permutations=99, max_trials=300, seed=seed)
    return xr.Dataset({"p": ("channel", found["p"].to_numpy())})


def _latency(blocks: int, setting: Setting) -> str:
    """Time compiled forecasts beside the eager torch module, and draw the times."""
    trials = simulate_lfp(200, 80, seed=setting.seed)
    made = Forecaster.from_result(_fitted(trials, num_bases=15, own=0.01, cross=1.0))
    fast = compile_forecast(made, rank=100, targets={"10": 0.02})
    network = TBFMNetwork(80, 20, 164, 3, 15).eval()
    runways = np.ascontiguousarray(trials.runways, dtype=np.float32)
    told = torch.zeros(1, 164, 3)

    def eager(runway: NDArray[Any]) -> object:
        with torch.no_grad():
            return network.expected(torch.from_numpy(runway)[None], told)

    def streaming(runway: NDArray[Any]) -> object:
        fast.streaming.push(runway[:, -1])
        return fast.streaming.forecast()

    for runway in runways[:20]:
        fast.streaming.push(runway[:, -1])
    calls: dict[str, Any] = {"torch, eager": eager, "full": fast.full, "rank 100": fast.low_rank}
    calls |= {"streaming": streaming, "functional": fast.functional}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(blocks):
        for name, call in calls.items():
            for runway in runways[:40]:
                if name == "streaming":
                    fast.streaming.prepare()
                start = time.perf_counter_ns()
                call(runway)
                times[name].append((time.perf_counter_ns() - start) / 1e3)
    save_figures({"latency": latency_histogram(times)}, setting.figures)
    return "; ".join(
        f"{name} {np.median(values):.1f} µs (99 %: {np.percentile(values, 99):.1f})"
        for name, values in times.items()
    )


def _r2_in_words(table: xr.Dataset) -> str:
    test = table["r2"].sel(part="test").isel(horizon=-1)
    best = float(table["best"].isel(horizon=-1).mean())
    parts = [_with_spread(name, test.sel(model=name).values) for name in MODELS]
    number = table.sizes["seed"]
    return f"{', '.join(parts)}; best possible {best:.3f} ({number} simulated sessions)"


def _coverage_in_words(cover: xr.Dataset) -> str:
    parts = []
    for method in cover["method"].values:
        found = cover["coverage"].sel(method=method)
        times = found.mean(("seed", "channel"))
        name = str(method).replace("_", " ")
        parts.append(
            f"{name}: {float(found.mean()):.3f} of later responses in 90 % "
            f"intervals ({float(times.min()):.3f} to {float(times.max()):.3f} over time)"
        )
    return "; ".join(parts)


def _areas_in_words(areas: xr.Dataset) -> str:
    parts = []
    for task in areas["task"].values:
        for by in areas["by"].values:
            values = areas["auc"].sel(task=task, by=by).values
            parts.append(_with_spread(f"{task} by {by}", values))
    return ", ".join(parts)


def _with_spread(name: str, values: Floats) -> str:
    """Return a mean over seeds with its standard deviation, where there are several."""
    spread = f" ± {values.std(ddof=1):.3f}" if values.size > 1 else ""
    return f"{name} {values.mean():.3f}{spread}"
