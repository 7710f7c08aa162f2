"""TBFM on a real recording: 6 ECoG and 3 STN LFP channels, 19 s at 1 kHz, no stimulation.

    OMP_NUM_THREADS=1 python benchmarks/tbfm_ecog.py PATH_TO_HEADER.vhdr

Windows of 20 + 164 ms; the first part of the recording to train on, the rest to judge. Prints R2 by
horizon and coverage of 90 % intervals by channel. Needs the extra `neo`.
"""

import argparse

import numpy as np

import probneuro as pn
from probneuro.data import StimTrials, read_continuous
from probneuro.inference.closed_form import ClosedForm
from probneuro.models.tbfm import TBFM, Forecaster, r2, r2_by_channel, r2_by_horizon


def pooled(made: Forecaster, test: StimTrials, guess: np.ndarray) -> tuple[float, float]:
    """Return R2 over all channels at once, each in units of its training scale.

    First about each channel's mean, then about one mean of all values, as R2 of a flattened
    array has it.
    """
    scale = made.fit.scaling.scale[:, None]
    response, forecast = test.response / scale, guess / scale
    missed = ((response - forecast) ** 2).sum()
    by_channel = response - response.mean((0, 2), keepdims=True)
    flat = response - response.mean()
    return float(1 - missed / (by_channel**2).sum()), float(1 - missed / (flat**2).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path")
    parser.add_argument("--strides", type=float, nargs="+", default=[0.011, 0.002])
    chosen = parser.parse_args()
    recording = read_continuous(chosen.path)
    names = [name for name in recording.channels if name.startswith(("LFP", "ECOG"))]
    engine = ClosedForm(max_gib=0)
    print("stride ms | train | windows | R2, mean of channels | pooled | flat | 10, 20, 40, 80 ms")
    for stride in chosen.strides:
        for share in (0.6, 0.67, 0.75, 0.8):
            trials = recording.select(names).slide(stride=stride)
            train, test = trials.split(share)
            result = pn.infer(TBFM(), train, engine=engine, seed=0, progress=False)
            made = Forecaster.from_result(result)
            guess = made.forecast(test)
            curve = r2_by_horizon(test.response, guess)
            together, flat = pooled(made, test, guess)
            near = ", ".join(f"{curve[t - 1]:.3f}" for t in (10, 20, 40, 80))
            print(
                f"{1e3 * stride:g} | {share} | {len(train)} + {len(test)} | "
                f"{r2(test.response, guess):.4f} | {together:.4f} | {flat:.4f} | {near}",
                flush=True,
            )
            if share == 0.67:
                by_channel = r2_by_channel(test.response, guess)
                print(
                    "  R2: "
                    + ", ".join(f"{n} {v:.3f}" for n, v in zip(names, by_channel, strict=True))
                )
                for method in ("posterior", "leave_one_out"):
                    found = made.intervals(test, method=method)[f"interval_{method}"]["coverage"]
                    values = found.mean("horizon").values
                    times = found.mean("channel").values[[9, 19, 39, 79, 163]]
                    print(
                        f"  {method}: {float(found.mean()):.3f}; channels "
                        + ", ".join(f"{v:.2f}" for v in values)
                        + "; 10, 20, 40, 80, 164 ms " + ", ".join(f"{v:.2f}" for v in times)
                    )  # fmt: skip


if __name__ == "__main__":
    main()
