"""All integrate-and-fire neurons that fire at 20 Hz and stop at 80 pA, by a simulator of your own.

A simulator is one function: parameters by name in, features by name out, NaN where there is none.
"""

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np

from probneuro import infer
from probneuro.data.behaviour import Behaviour
from probneuro.inference.importance_dual import ImportanceDual
from probneuro.models.dsn import DSN, directions


def neuron(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rate at 200 pA, and the least current that makes the neuron fire, in pA."""
    resistance, tau, threshold = (parameters[n] for n in ("resistance", "tau", "threshold"))
    drive = resistance * 0.2  # mV: MOhm times nA
    with np.errstate(invalid="ignore", divide="ignore"):
        interval = 2.0 + tau * np.log(drive / (drive - threshold))
    rate = np.where(drive > threshold, 1000.0 / interval, np.nan)
    return {"rate": rate, "rheobase": 1000.0 * threshold / resistance}


def main() -> None:
    """Fit, and say what was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true", help="a few rounds only")
    smoke = parser.parse_args().smoke
    behaviour = Behaviour(
        bounds={"resistance": (50.0, 500.0), "tau": (5.0, 100.0), "threshold": (5.0, 30.0)},
        means={"rate": 20.0, "rheobase": 80.0},
        variances={"rate": 4.0, "rheobase": 100.0},
    )
    engine = ImportanceDual(rounds=12 if smoke else 60, simulations=500 if smoke else 2000)
    model = DSN(neuron)
    result = infer(model, behaviour, engine=engine, chains=1, seed=0, progress=False)
    found = result["max_entropy"].to_dataset().isel(chain=0)
    draws = result["posterior/z"].values[0]
    for name, column in zip(behaviour.parameters, draws.T, strict=True):
        print(f"{name}: {column.mean():.1f} +- {column.std():.1f}")
    print(f"entropy {float(found['entropy']):.2f} of {behaviour.log_volume:.2f} nats")
    print(f"converged: {'yes' if int(found['converged']) else result.attrs['diagnostics']}")
    point = dict(zip(behaviour.parameters, np.median(draws, axis=0).tolist(), strict=True))
    local = directions(model, behaviour, found["multipliers"].values, point)
    print(f"stiffest direction {local.vectors[0].round(2)}, loosest {local.vectors[-1].round(2)}")


if __name__ == "__main__":
    main()
