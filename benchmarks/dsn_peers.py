"""Time to quality on the 2D linear system: both engines here, EPI's schedule, and sbi's NPE.

EPI's schedule is run on the same affine coupling flow as `ImportanceDual` is with
``--method importance_dual_coupling``, in the same process. NPE is that of the package sbi,
which is no dependency: install it beside this package to run it. Its posterior under a uniform
prior and Gaussian noise is of the same family, with multipliers that are fixed beforehand; the
exact one is 0.0128 nats from the optimum. Everything is scored by the exact divergence. Run as
``OMP_NUM_THREADS=1 python benchmarks/dsn_peers.py --method epi --seeds 1``.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from probneuro import infer
from probneuro.core.entropy import HasGradient
from probneuro.core.model import DescribesData, Model
from probneuro.inference.augmented_lagrangian import AugmentedLagrangian
from probneuro.inference.importance_dual import ImportanceDual
from probneuro.models.dsn import DSN
from probneuro.simulators.linear_2d import eigenvalues, exact_entropy, oscillation

DRAWS = 4000
SWAP = ("a2", "a3")
EPI = AugmentedLagrangian(
    epochs=10, iterations=2500, batch=500, learning_rate=1e-3, penalty=1e-3, growth=4.0,
    shrinkage=0.25,
)  # fmt: skip
"""What EPI's published code sets for this system."""
SHORT = AugmentedLagrangian(epochs=10, iterations=500, penalty=1e-3, learning_rate=2e-3)
"""A fifth of its steps, each twice as long."""


@dataclass(frozen=True)
class Run:
    """What one method gave.

    Parameters
    ----------
    entropy : float
        Of the fitted density, nats.
    means : numpy.ndarray
        Of the statistics, shape (statistic,).
    mode_share : float
        Share of the draws with a2 above a3.
    simulations : int
        Parameters that were simulated, the scoring left out.
    said : str
        What the method says of itself.
    """

    entropy: float
    means: Any
    mode_share: float
    simulations: int
    said: str = ""


class OneFlow(Model, HasGradient, DescribesData):
    """A DSN that hands the gradient-free engine the coupling flow too."""

    name = "dsn"

    def __init__(self, model: DSN) -> None:
        self._model = model

    def model(self, data: Any) -> Any:
        """Run the program."""
        return self._model.model(data)

    def guide(self, data: Any) -> Any:
        """Run the guide."""
        return self._model.guide(data)

    def dims(self) -> Any:
        """Return the dimensions of every site."""
        return self._model.dims()

    def coords(self, data: Any) -> Any:
        """Return the labels of every dimension."""
        return self._model.coords(data)

    def data_groups(self, data: Any) -> Any:
        """Return the behaviour's arrays."""
        return self._model.data_groups(data)

    def attributes(self) -> Any:
        """Return the settings."""
        return self._model.attributes()

    def simulate(self, behaviour: Any, values: Any, rng: np.random.Generator) -> Any:
        """Return features."""
        return self._model.simulate(behaviour, values, rng)

    def modes(self, behaviour: Any, values: Any) -> Any:
        """Return the mode of each draw."""
        return self._model.modes(behaviour, values)

    def differentiate(self, behaviour: Any, values: Any) -> Any:
        """Return features with their history."""
        return self._model.differentiate(behaviour, values)

    def flow(self, behaviour: Any, rng: np.random.Generator) -> Any:
        """Return the coupling flow."""
        return self._model.coupling(behaviour, rng)

    coupling = flow


def fit_engine(engine: Any, seed: int, *, coupling: bool = False) -> Run:
    """Fit with an engine of ours."""
    model = DSN(eigenvalues, differentiable=True, swap=SWAP)
    result = infer(
        OneFlow(model) if coupling else model, oscillation(), engine=engine, draws=DRAWS,
        chains=1, seed=seed, progress=False, workers=1,
    )  # fmt: skip
    found: Any = result["max_entropy"].to_dataset().isel(chain=0)
    history: Any = result["fit_history"].to_dataset()
    if "simulated" in history:
        count = int(history["simulated"].values[0, -1])
    else:
        count = engine.epochs * engine.iterations * engine.batch
    return Run(
        float(found["entropy"]),
        result["posterior_predictive/statistics"].values[0].mean(axis=0),
        float(found["mode_share"]),
        count,
        f"converged {int(found['converged'])}",
    )


def fit_npe(seed: int, density: str, simulations: int, epochs: int = 2**31 - 1) -> Run:
    """Fit sbi's neural posterior, its noise the behaviour's standard deviations.

    Settings are the package's own: it stops after 20 epochs without gain, unless told before.
    """
    from sbi.inference import NPE
    from sbi.utils import BoxUniform

    behaviour = oscillation()
    torch.manual_seed(seed)
    prior = BoxUniform(
        torch.from_numpy(behaviour.lower).float(), torch.from_numpy(behaviour.upper).float()
    )
    noise = torch.tensor([behaviour.variances[name] ** 0.5 for name in behaviour.features])
    observed = torch.tensor([behaviour.means[name] for name in behaviour.features])
    values = prior.sample((simulations,))
    features = _features(values).float()
    method = NPE(prior, density_estimator=density, show_progress_bars=False)
    method.append_simulations(values, features + noise * torch.randn_like(features))
    method.train(max_num_epochs=epochs)
    posterior = method.build_posterior()
    draws = posterior.sample((DRAWS,), x=observed[None, :], show_progress_bars=False)
    with torch.no_grad():
        entropy = -float(posterior.log_prob(draws, x=observed[None, :]).mean())
    statistics = behaviour.statistics(_features(draws).double().numpy())
    share = float((draws[:, 1] > draws[:, 2]).float().mean())
    return Run(entropy, statistics.mean(axis=0), share, simulations)


def _features(values: torch.Tensor) -> torch.Tensor:
    named = dict(zip(oscillation().parameters, values.double().unbind(dim=1), strict=True))
    return torch.stack(list(eigenvalues(named).values()), dim=1)


METHODS: dict[str, Callable[[int], Run]] = {
    "importance_dual": lambda seed: fit_engine(ImportanceDual(), seed),
    "importance_dual_coupling": lambda seed: fit_engine(ImportanceDual(), seed, coupling=True),
    "epi": lambda seed: fit_engine(EPI, seed),
    "epi_short": lambda seed: fit_engine(SHORT, seed),
    "npe_maf_40": lambda seed: fit_npe(seed, "maf", 20_000, 40),
    "npe_maf": lambda seed: fit_npe(seed, "maf", 20_000),
    "npe_nsf": lambda seed: fit_npe(seed, "nsf", 20_000),
}


def main() -> None:
    """Run some methods over seeds, and print a row of the table each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--method", choices=sorted(METHODS), nargs="+", default=sorted(METHODS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    exact = exact_entropy(oscillation())
    for method in options.method:
        if method.startswith("npe") and find_spec("sbi") is None:
            print(f"{method}: not run, since the package sbi is not installed")
            continue
        for seed in range(options.first, options.first + options.seeds):
            start = time.process_time()
            run = METHODS[method](seed)
            seconds = time.process_time() - start
            print(
                f"{method} seed {seed}: {seconds:.1f} CPU s, {run.simulations} simulations, "
                f"KL {exact.divergence(run.entropy, run.means):.4f}, H {run.entropy:.4f}, "
                f"mode {run.mode_share:.3f} {run.said}",
                flush=True,
            )


if __name__ == "__main__":
    main()
