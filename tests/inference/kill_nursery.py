"""Runs of engines in forked processes, for a test to kill; imports are paid once.

Reads lines of JSON with engine, checkpoint folder and result file; writes the pid of each run
and then how it ended and how long it took.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from executor_cases import Y, location

from probneuro import infer, save
from probneuro.core.engine import Engine
from probneuro.inference.nuts import NUTS
from probneuro.inference.particle_gibbs import ParticleGibbs
from probneuro.inference.runner import run_chains
from probneuro.inference.svi import SVI
from probneuro.inference.tempered_smc import TemperedSMC
from probneuro.testing.state_space import FiniteChain

SEGMENT_SECONDS: Final = 0.03
COUNTS: Final = np.random.default_rng(1).poisson(2.0, size=20).tolist()
CASES: Final[dict[str, tuple[Any, Any, Engine, int]]] = {
    "nuts": (location, Y, NUTS(warmup=100), 100),
    "particle_gibbs": (FiniteChain(), COUNTS, ParticleGibbs(warmup=20, num_particles=10), 60),
    "svi": (location, Y, SVI(steps=250), 50),
    "tempered_smc": (location, Y, TemperedSMC(particles=500, effective_share=0.99), 200),
}


def run(engine: str, folder: str | None, out: str) -> None:
    model, data, chosen, draws = CASES[engine]
    defaults = run_chains.__kwdefaults__
    assert defaults is not None
    defaults["segment_seconds"] = SEGMENT_SECONDS
    settings: dict[str, Any] = {"draws": draws, "chains": 2, "seed": 9, "progress": False}
    save(infer(model, data, engine=chosen, checkpoint=folder, **settings), Path(out))


def say(words: object) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        start = time.monotonic()
        pid = os.fork()
        if pid == 0:
            run(**order)
            os._exit(0)
        say(pid)
        _, status = os.waitpid(pid, 0)
        ended = {"code": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - start}
        say(json.dumps(ended))


if __name__ == "__main__":
    main()
