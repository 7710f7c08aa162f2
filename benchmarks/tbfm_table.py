"""TBFM beside the paper's comparison models, on paired pulses whose response depends on state.

    OMP_NUM_THREADS=1 python benchmarks/tbfm_table.py [--seeds 5]

Prints R2 on training and test trials at 164 and 40 ms (as the paper's Table 1), coverage of 90 %
intervals, AUC of both controllers with and without uncertainty, a closed loop, and the level and
power of the tests of state dependence.
"""

import argparse
import time
from typing import Any

import numpy as np

import probneuro as pn
from probneuro.control import choose, closed_loop, range_task, reference_task
from probneuro.core.detection import auc
from probneuro.data import StimTrials
from probneuro.inference.closed_form import ClosedForm
from probneuro.models.tbfm import (
    TBFM,
    Forecaster,
    mean_r2,
    r2,
    r2_by_horizon,
    state_dependent_r2,
)
from probneuro.models.tbfm.dependence import state_dependence
from probneuro.models.tbfm.gradient import AELSTM, LSSM, GradientFit
from probneuro.simulators.stim_lfp import SimulatedTrials, simulate_paired_pulses

CHANNELS, TRAIN, TEST = 8, 2000, 2000


def forecaster(train: StimTrials, **settings: Any) -> Forecaster:
    engine = ClosedForm(max_gib=0)
    result = pn.infer(TBFM(**settings), train, engine=engine, seed=0, progress=False)
    return Forecaster.from_result(result)


def models(train: StimTrials, seed: int) -> dict[str, tuple[Any, float]]:
    lssm = GradientFit(epochs=25, learning_rate=4e-3, batch=100)
    lstm = GradientFit(epochs=30, learning_rate=2e-3, batch=100)
    makers = {
        "TBFM": lambda: forecaster(train),
        "AE-LSTM": lambda: lstm.fit(AELSTM, train, seed=seed, num_latents=48, num_hidden=48),
        "LSSM": lambda: lssm.fit(LSSM, train, seed=seed),
        "state-agnostic": lambda: forecaster(train, state_dependent=False),
    }
    found = {}
    for name, make in makers.items():
        start = time.process_time()
        found[name] = (make(), time.process_time() - start)
    return found


def scores(made: Any, trials: StimTrials) -> list[float]:
    response, guess = trials.response, made.forecast(trials)
    state = trials.runways[:, :, -1]
    curve = r2_by_horizon(response, guess)
    return [
        curve[-1], curve[39], mean_r2(response, guess), state_dependent_r2(response, guess, state)
    ]  # fmt: skip


def table(seeds: int) -> None:
    rows: dict[str, list[list[float]]] = {}
    for seed in range(seeds):
        train, test = simulate_paired_pulses(TRAIN + TEST, CHANNELS, seed=seed).split(TRAIN)
        best = r2_by_horizon(test.trials.response, test.expected)
        rows.setdefault("best possible", []).append([np.nan, np.nan, best[-1], best[39], 1, 1, 0])
        for name, (made, seconds) in models(train.trials, seed).items():
            early, late = scores(made, train.trials), scores(made, test.trials)
            rows.setdefault(name, []).append([*early[:2], *late, seconds])
            print(
                f"  seed {seed}, {name}: test {late[0]:.3f}, {late[1]:.3f} ({seconds:.0f} s)",
                flush=True,
            )
    print("model | train 164 ms | train 40 ms | test 164 ms | test 40 ms | mean | by state | CPU s")
    for name, values in rows.items():
        mean, spread = np.mean(values, 0), np.std(values, 0, ddof=1)
        cells = [f"{m:.3f} +- {s:.3f}" for m, s in zip(mean, spread, strict=True)]
        print(f"{name} | " + " | ".join(cells), flush=True)


def cover(seeds: int) -> None:
    print("method | seed | coverage | by channel | by horizon")
    for seed in range(seeds):
        train, test = simulate_paired_pulses(TRAIN + TEST, CHANNELS, seed=seed).split(TRAIN)
        made = forecaster(train.trials)
        for method in ("posterior", "leave_one_out"):
            found = made.intervals(test.trials, method=method)[f"interval_{method}"]["coverage"]
            channel, horizon = found.mean("horizon").values, found.mean("channel").values
            print(
                f"{method} | {seed} | {float(found.mean()):.4f} | {channel.min():.3f} to "
                f"{channel.max():.3f} | {horizon.min():.3f} to {horizon.max():.3f}", flush=True
            )  # fmt: skip


def controllers(seeds: int) -> None:
    print("demo | AUC at the forecast's word | AUC of the probability")
    found: dict[str, list[list[float]]] = {"1, ranges": [], "2, trajectories": []}
    for seed in range(seeds):
        both = simulate_paired_pulses(TRAIN + TEST, CHANNELS, num_resting=2000, seed=seed)
        train, test = both.split(TRAIN)
        made = forecaster(train.trials)
        late, response = test.trials, test.trials.response
        resting = np.asarray(late.resting)
        guess = made.forecast(late)
        scale = made.fit.scaling.scale
        at = 20
        task = range_task(response[:, :2, at], resting[:, :2, at + 20], seed=seed)
        error = (train.trials.response - made.forecast(train.trials))[:, :2, at]
        covariance = np.cov(error.T)
        point = guess[:, :2, at]
        found["1, ranges"].append(
            [
                auc(-task.cost.distance(point), task.should),
                auc(task.cost.chance(point, covariance), task.should),
            ]
        )
        other = reference_task(response[:, :2, at:], seed=seed)
        noise = made.fit.noise[:2, at:, at:] * scale[:2, None, None] ** 2
        found["2, trajectories"].append(
            [
                auc(-other.cost.distance(guess[:, :2, at:]), other.should),
                auc(other.cost.chance(guess[:, :2, at:], noise), other.should),
            ]
        )
    for name, values in found.items():
        cells = [
            f"{m:.3f} +- {s:.3f}"
            for m, s in zip(np.mean(values, 0), np.std(values, 0, ddof=1), strict=True)
        ]
        print(f"{name} | " + " | ".join(cells), flush=True)


def loop(seeds: int) -> None:
    """Bring channel 0 below a threshold 10 ms after the pulse, stimulating only if it helps."""
    print("policy | wanted outcomes | trials stimulated")
    policies: dict[str, list[list[float]]] = {}
    for seed in range(seeds):
        train, test = simulate_paired_pulses(2 * TRAIN + 500, 4, seed=seed).split(2 * TRAIN)
        at, quiet = 29, _without_pulses(train)
        with_pulse = forecaster(train.trials.take(slice(0, None, 2)))
        without = forecaster(quiet.take(slice(1, None, 2)))
        threshold = float(np.quantile(train.trials.response[:, 0, at], 0.3))
        calm = _without_pulses(test).response[:, 0, at]
        stimulated = test.trials.response[:, 0, at]
        react = {"wait": lambda n, c=calm: c[n], "stimulate": lambda n, s=stimulated: s[n]}

        def chance(
            made: Forecaster, runway: np.ndarray, limit: float = threshold, at: int = at
        ) -> float:
            from scipy.stats import norm

            mean = made.forecast_runways(runway[None])[0, 0, at]
            sd = made.fit.scaling.scale[0] * np.sqrt(made.fit.noise[0, at, at])
            return float(norm.cdf((limit - mean) / sd))

        def model_based(
            runway: np.ndarray, a: Any = without, b: Any = with_pulse, go: Any = chance
        ) -> str:
            chances = {"wait": [go(a, runway)], "stimulate": [go(b, runway)]}
            actions, choice = choose(chances, {"stimulate": 0.1})
            return actions[int(choice[0])]

        rng = np.random.default_rng(seed)
        runs = {
            "never": lambda runway: "wait",
            "always": lambda runway: "stimulate",
            "forecasts of both actions": model_based,
        }
        for name, decide in runs.items():
            done = closed_loop(
                decide, list(test.trials.runways), react, lambda n, y, t=threshold: y < t
            )
            policies.setdefault(name, []).append([done.success, done.share("stimulate")])
        share = policies["forecasts of both actions"][-1][1]
        blind = closed_loop(
            lambda runway, r=rng, p=share: "stimulate" if r.random() < p else "wait",
            list(test.trials.runways), react, lambda n, y, t=threshold: y < t,
        )  # fmt: skip
        policies.setdefault("as often, at random", []).append([blind.success, share])
    for name, values in policies.items():
        mean, spread = np.mean(values, 0), np.std(values, 0, ddof=1)
        print(f"{name} | {mean[0]:.3f} +- {spread[0]:.3f} | {mean[1]:.3f}", flush=True)


def _without_pulses(made: SimulatedTrials) -> StimTrials:
    """Return the same trials as they would have gone without pulses."""
    trials = made.trials
    values = np.array(trials.values)
    values[:, :, trials.runway :] -= made.expected - np.asarray(made.unstimulated)
    return StimTrials(
        values, sampling_rate=trials.sampling_rate, runway=trials.runway, pulses=[np.nan]
    )


def dependence(seeds: int) -> None:
    print("state dependence | matching | measure | rejected at 0.05 (channels)")
    for strength in (0.0, 0.5, 1.0):
        for replace in (False, True):
            for measure in ("hsic", "ksg"):
                p: list[float] = []
                for seed in range(seeds):
                    made = simulate_paired_pulses(
                        400, CHANNELS, state_dependence=strength, num_resting=800, seed=seed
                    )
                    # The simulator's gain is set by the state at the runway's end, 20 ms.
                    found = state_dependence(
                        made.trials, state_time=0.019, measure=measure, permutations=99,
                        max_trials=300,
                        replace=replace, seed=seed,
                    )  # fmt: skip
                    p += list(found["p"])
                share = np.mean(np.array(p) <= 0.05)
                kind = "with replacement" if replace else "without"
                print(f"{strength} | {kind} | {measure} | {share:.3f} ({len(p)})", flush=True)


def efficiency() -> None:
    print("training trials | test R2 (paired pulses, seed 0)")
    train, test = simulate_paired_pulses(8000 + TEST, CHANNELS, seed=0).split(8000)
    for size in (125, 250, 500, 1000, 2000, 4000, 8000):
        made = forecaster(train.trials.take(slice(0, size)))
        print(f"{size} | {r2(test.trials.response, made.forecast(test.trials)):.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="")
    chosen = parser.parse_args()
    parts = {
        "cover": lambda: cover(chosen.seeds),
        "controllers": lambda: controllers(chosen.seeds),
        "loop": lambda: loop(chosen.seeds),
        "efficiency": efficiency,
        "dependence": lambda: dependence(chosen.seeds),
        "table": lambda: table(chosen.seeds),
    }
    for name, run in parts.items():
        if not chosen.only or name in chosen.only.split(","):
            run()


if __name__ == "__main__":
    main()
