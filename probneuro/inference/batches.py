"""Chains side by side: one batch answers all of them, each at its own step."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np

from probneuro.core.engine import Arrays, Asking, BatchKernel, Floats, Kernel
from probneuro.inference.chain import Chain


class Alone(BatchKernel):
    """A kernel that asks for nothing, as a batch kernel.

    Parameters
    ----------
    kernel : Kernel
        The transition.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def init(self, rng: np.random.Generator) -> Asking[Arrays]:
        """Return the kernel's start."""
        yield from ()
        return self._kernel.init(rng)

    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> Asking[tuple[Arrays, Arrays]]:
        """Return the kernel's step."""
        yield from ()
        return self._kernel.step(state, rng, warmup=warmup)

    def draw(self, state: Arrays) -> Arrays:
        """Return the kernel's draw."""
        return self._kernel.draw(state)

    def answer(self, positions: Floats) -> tuple[Floats, Floats]:
        """Refuse: steps of such a kernel end without asking, so that nobody comes here."""
        raise RuntimeError("This kernel asks nothing, so there is nothing to answer.")


def drive(kernel: BatchKernel, chains: Sequence[Chain], stop: threading.Event) -> None:
    """Run chains side by side, each at its own step: a round answers all that they ask.

    Parameters
    ----------
    kernel : BatchKernel
        Gives the answers.
    chains : sequence of Chain
        One for every row of the batch.
    stop : threading.Event
        Ends every chain after its current step.

    Raises
    ------
    InferenceError
        If a chain fails; the others have then written the steps they had done.
    """
    runs = [chain.run(stop) for chain in chains]
    try:
        asked: dict[int, Floats] = {}
        for number, run in enumerate(runs):
            with suppress(StopIteration):
                asked[number] = next(run)
        while asked:
            # A trajectory that runs away may overflow; its kernel deals with the infinity.
            with np.errstate(over="ignore", invalid="ignore"):
                asked = _round(kernel, runs, asked)
    finally:
        for run in runs:
            run.close()


def _round(
    kernel: BatchKernel, runs: Sequence[Asking[None]], asked: Mapping[int, Floats]
) -> dict[int, Floats]:
    """Answer every chain that asks, and return what they ask next.

    The batch keeps its size, and every chain its row, to the end of the run: what a chain is
    told then depends, to the last bit, on nothing but its position.
    """
    first = next(iter(asked))
    batch = np.array([asked.get(number, asked[first]) for number in range(len(runs))])
    try:
        values, gradients = kernel.answer(batch)
    except Exception as error:
        runs[first].throw(error)  # it says where the run stands, and raises
        raise
    following, numbers = {}, values.tolist()
    for number in asked:
        with suppress(StopIteration):
            following[number] = runs[number].send((numbers[number], gradients[number]))
    return following
