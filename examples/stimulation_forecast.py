"""How will the cortex respond to a pair of pulses given now, and is now a good time?

python examples/stimulation_forecast.py            # half a minute
python examples/stimulation_forecast.py --smoke    # seconds, smaller
"""

import sys

import numpy as np

import probneuro as pn
from probneuro.control import TargetRange
from probneuro.core.detection import auc
from probneuro.models.tbfm import TBFM, Forecaster, compile_forecast, evaluate
from probneuro.plots import forecast_bands, save_figures, state_responses, temporal_bases
from probneuro.simulators.stim_lfp import simulate_paired_pulses

smoke = "--smoke" in sys.argv[1:]
size = 300 if smoke else 3000
trials = simulate_paired_pulses(2 * size, num_channels=4 if smoke else 8, seed=1).trials
train, test = trials.split(size)  # the session's start and its end, never shuffled

result = pn.infer(TBFM(), train, draws=50, chains=2, seed=1, progress=False)
evaluation = evaluate(result, test)
score = evaluation["score"].to_dataset()
print(f"R2 over 164 ms: {float(score['r2_by_horizon'][-1]):.3f}")
for method in ("posterior", "leave_one_out"):
    share = float(evaluation[f"interval_{method}"]["coverage"].mean())
    print(f"90 % intervals ({method}) hold {100 * share:.1f} % of later responses")

# A controller: will both of two channels be below zero when the pulse comes, 20 ms from now?
forecaster = Forecaster.from_result(result)
fast = compile_forecast(forecaster, targets={"0": 0.020, "1": 0.020}).functional
expected = np.stack([fast(runway).copy() for runway in test.runways])
wanted = TargetRange(low=np.full(2, -np.inf), high=np.zeros(2))
happened = wanted.reached(test.response[:, :2, 19])
chance = wanted.chance(expected, np.diag(fast.scale**2))
print(f"AUC of the probability that it will: {auc(chance, happened):.3f}")

if not smoke:
    from pathlib import Path

    figures = {
        "forecasts": forecast_bands(evaluation),
        "states": state_responses(evaluation),
        "bases": temporal_bases(result),
    }
    save_figures(figures, Path("out/stimulation_forecast"))
    pn.save(result, "out/stimulation_forecast/fit.nc")
