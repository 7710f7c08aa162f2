"""Which policy brings a simulated brain nearest to a target state?

Run ``python examples/stimulation_policies.py``; ``--smoke`` for a small run.
"""

import sys

from probneuro.reproductions.omiso_comparison import policy_words, run_policies
from probneuro.reproductions.omiso_setup import Budget

SMALL = Budget(
    sessions=2, trials=60, calibration=30, channels=(2, 2), model_epochs=2, cloning_epochs=20,
    cloning_samples=64,
)  # fmt: skip


def main(*, smoke: bool) -> None:
    found = run_policies(0, {}, SMALL if smoke else Budget(), 20 if smoke else 200)
    errors = {str(name): each.values for name, each in found["errors"].data_vars.items()}
    print(policy_words({name: values[None] for name, values in errors.items()}))


if __name__ == "__main__":
    main(smoke="--smoke" in sys.argv)
