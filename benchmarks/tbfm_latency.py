"""TBFM: microseconds a forecast takes, compiled forms beside the eager torch module.

    OMP_NUM_THREADS=1 python benchmarks/tbfm_latency.py

80 channels, runway 20, horizon 164, 15 bases, one runway at a time, one thread, one process: the
forms take turns, so that what else the machine does meets all of them alike.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

import probneuro as pn
from probneuro.inference.closed_form import ClosedForm
from probneuro.models.tbfm import TBFM, Forecaster, compile_forecast
from probneuro.models.tbfm.gradient import TBFMNetwork
from probneuro.simulators.stim_lfp import simulate_lfp

BLOCK, WARM = 60, 10


def timed(calls: dict[str, Callable[[int], object]], blocks: int) -> dict[str, np.ndarray]:
    """Return microseconds of single calls, in blocks of one form as a loop would run it."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for block in range(blocks):
        for name, call in calls.items():
            for number in range(block, block + BLOCK):
                start = time.perf_counter_ns()
                call(number)
                if number >= block + WARM:
                    found[name].append((time.perf_counter_ns() - start) / 1e3)
    return {name: np.array(values) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=60)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    trials = simulate_lfp(600, 80, seed=0)
    model = TBFM(num_bases=15, own=0.01, cross=1.0)
    result = pn.infer(model, trials, engine=ClosedForm(max_gib=0), seed=0, progress=False)
    made = Forecaster.from_result(result)
    fast = compile_forecast(made, rank=100, targets={"10": 0.02})
    network = TBFMNetwork(80, 20, 164, 3, 15).eval()
    runways = np.ascontiguousarray(trials.runways, dtype=np.float32)
    told = torch.zeros(1, 164, 3)
    scale = torch.as_tensor(made.fit.scaling.scale, dtype=torch.float32)[:, None]
    mean = torch.zeros(80, 1)

    def eager(number: int) -> object:
        with torch.no_grad():
            scored = (torch.from_numpy(runways[number % 600])[None] - mean) / scale
            return network.expected(scored, told) * scale + mean

    def streaming(number: int) -> object:
        fast.streaming.push(runways[number % 600, :, -1])
        return fast.streaming.forecast()

    def timed_streaming(blocks: int) -> dict[str, np.ndarray]:
        """Push and forecast, and what is made up while idle, in turn as a loop would."""
        critical, pause = [], []
        for number in range(blocks * BLOCK):
            start = time.perf_counter_ns()
            streaming(number)
            middle = time.perf_counter_ns()
            fast.streaming.prepare()
            pause.append((time.perf_counter_ns() - middle) / 1e3)
            critical.append((middle - start) / 1e3)
        return {"streaming": np.array(critical), "(streaming, while idle)": np.array(pause)}

    low, one = fast.low_rank, fast.functional
    if low is None or one is None:
        raise SystemExit("Nothing was compiled.")
    for number in range(20):
        fast.streaming.push(runways[number, :, -1])
    calls: dict[str, Callable[[int], object]] = {
        "torch module, eager": eager,
        "full": lambda number: fast.full(runways[number % 600]),
        "rank 100": lambda number: low(runways[number % 600]),
        "functional": lambda number: one(runways[number % 600]),
    }
    found = timed(calls, chosen.blocks) | timed_streaming(chosen.blocks)
    base = {q: np.percentile(found["torch module, eager"], q) for q in (10, 50, 99)}
    print("form | p10 us | p50 us | p99 us | times as fast (p10, p50, p99)")
    for name, values in found.items():
        p = {q: np.percentile(values, q) for q in (10, 50, 99)}
        ratio = ", ".join(f"{base[q] / p[q]:.1f}" for q in (10, 50, 99))
        print(f"{name} | {p[10]:.1f} | {p[50]:.1f} | {p[99]:.1f} | {ratio}")
    print(f"rank 100 leaves out {100 * low.lost:.3g} % of the forecasts' variance")


if __name__ == "__main__":
    main()
