"""TBFM in closed form: how near to the best possible forecast, and in what time.

    OMP_NUM_THREADS=1 python benchmarks/tbfm_accuracy.py [--gradient]

Prints one line a problem: test R2 of the best possible forecast, of the closed form, CPU seconds
of the fit. With --gradient the paper's own fit runs beside it where it can finish.
"""

import argparse
import time

import probneuro as pn
from probneuro.data import StimTrials
from probneuro.inference.closed_form import ClosedForm
from probneuro.models.tbfm import TBFM, Forecaster, r2
from probneuro.models.tbfm.gradient import GradientFit, TBFMNetwork
from probneuro.simulators.stim_lfp import simulate_lfp, simulate_ou


def closed_form(train: StimTrials, test: StimTrials) -> tuple[float, float, str]:
    start = time.process_time()
    result = pn.infer(TBFM(), train, engine=ClosedForm(max_gib=0), seed=0, progress=False)
    seconds = time.process_time() - start
    made = Forecaster.from_result(result)
    chosen = made.fit.selection
    picked = f"own {chosen.own:.2g}, cross {chosen.cross:.2g}, {chosen.num_bases} bases"
    return r2(test.response, made.forecast(test)), seconds, picked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gradient", action="store_true")
    parser.add_argument("--epochs", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    print("problem | seed | best possible | closed form | CPU s | chosen")
    for trials, channels, more in ((17_500, 3, 7_500), (1_000, 16, 4_000), (1_000, 80, 4_000)):
        for seed in range(chosen.seeds):
            train, test = simulate_ou(trials + more, channels, seed=seed).split(trials)
            best = r2(test.trials.response, test.expected)
            found, seconds, picked = closed_form(train.trials, test.trials)
            name = f"OU {trials} x {channels}"
            print(
                f"{name} | {seed} | {best:.4f} | {found:.4f} | {seconds:.1f} | {picked}", flush=True
            )
    lfp = simulate_lfp(7_000, 80, seed=0)
    train_lfp, test_lfp = lfp.take(slice(0, 5_000)), lfp.take(slice(5_000, 7_000))
    found, seconds, picked = closed_form(train_lfp, test_lfp)
    print(f"simulated LFP 5000 x 80 | 0 | - | {found:.4f} | {seconds:.1f} | {picked}", flush=True)
    if chosen.gradient:
        train, test = simulate_ou(3_000, 3, seed=0).split(1_000)
        best = r2(test.trials.response, test.expected)
        found, seconds, _ = closed_form(train.trials, test.trials)
        print(f"OU 1000 x 3 | 0 | {best:.4f} | {found:.4f} | {seconds:.1f} |", flush=True)
        for epochs in (chosen.epochs, 10 * chosen.epochs):
            start = time.process_time()
            fit = GradientFit(epochs=epochs, batch=1_000)
            made = fit.fit(TBFMNetwork, train.trials, seed=0, num_bases=5)
            seconds = time.process_time() - start
            found = r2(test.trials.response, made.forecast(test.trials))
            print(
                f"the same, {epochs} epochs of AdamW | 0 | | {found:.4f} | {seconds:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
