"""The systems of the DSN abstract: a band of oscillations, a circuit and networks."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, final

import xarray as xr

from probneuro.core.reproduction import Finding, Reproduction, Setting
from probneuro.infer import infer
from probneuro.inference.importance_dual import ImportanceDual
from probneuro.models.dsn import DSN
from probneuro.plots import save_figures, solution_figures
from probneuro.reproductions.dsn_circuits import circuit, network
from probneuro.reproductions.kept import kept
from probneuro.simulators.linear_2d import eigenvalues, exact_entropy, oscillation


@final
class DSNReproduction(Reproduction):
    """All systems, by the gradient-free engine; the linear one beside its exact answer."""

    def run(self, preset: Mapping[str, Any], setting: Setting) -> Iterator[Finding]:
        """Fit the system of ``behaviour`` with the settings of ``fit``, and draw its figures.

        Tables ``circuit`` and ``network``, if there are any, add those systems.
        """
        behaviour = oscillation(**preset["behaviour"])
        exact = exact_entropy(behaviour)
        fit = dict(preset["fit"])
        sizes = {name: fit.pop(name) for name in ("draws", "chains")}

        def make(place: Path) -> xr.DataTree:
            model = DSN(eigenvalues, differentiable=True, swap=("a2", "a3"))
            return infer(
                model, behaviour, engine=ImportanceDual(**fit), seed=setting.seed,
                progress=setting.progress, workers=setting.workers, checkpoint=place, **sizes,
            )  # fmt: skip

        result = kept(setting.folder / "dsn.nc", make)
        drawn = save_figures(solution_figures(result, prefix="dsn_"), setting.figures)
        found = result["max_entropy"].to_dataset()
        predicted = result["posterior_predictive"].to_dataset()
        means = predicted["statistics"].mean(("chain", "draw")).values
        divergence = exact.divergence(float(found["entropy"].mean()), means)
        shares = ", ".join(f"{share:.2f}" for share in found["mode_share"].values)
        converged = int(found["converged"].sum())
        dual = f"{float(found['dual_entropy'].mean()):.3f} (dual)"
        yield Finding("largest_entropy", dual, tuple(drawn))
        yield Finding("divergence", f"{divergence:.3f} nats to the exact {exact.entropy:.3f}")
        yield Finding("mode_shares", shares)
        yield Finding("converged", f"{converged} of {found.sizes['chain']} restarts")
        if "circuit" in preset:
            yield from circuit(preset["circuit"], setting)
        if "network" in preset:
            yield from network(preset["network"], setting)
