"""The figure of the DSN abstract: a band of oscillations, beside the exact answer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from probneuro.cli.reproductions import Outcome, Row


def reproduce(settings: Mapping[str, Any], folder: Path, seed: int, progress: bool) -> Outcome:
    """Fit the linear system by the preset's settings, and draw its figures."""
    from probneuro.core.results import save
    from probneuro.infer import infer
    from probneuro.inference.importance_dual import ImportanceDual
    from probneuro.models.dsn import DSN
    from probneuro.plots import save_figures, solution_figures
    from probneuro.simulators.linear_2d import eigenvalues, exact_entropy, oscillation

    behaviour = oscillation(**settings["behaviour"])
    exact = exact_entropy(behaviour)
    model = DSN(eigenvalues, differentiable=True, swap=("a2", "a3"))
    fit = dict(settings["fit"])
    sizes = {name: fit.pop(name) for name in ("draws", "chains")}
    result = infer(
        model, behaviour, engine=ImportanceDual(**fit), seed=seed, progress=progress, **sizes
    )
    save(result, folder / "dsn.nc")
    figures = save_figures(solution_figures(result, prefix="dsn_"), folder / "figures")
    found = result["max_entropy"].to_dataset()
    predicted = result["posterior_predictive"].to_dataset()
    means = predicted["statistics"].mean(("chain", "draw")).values
    divergence = exact.divergence(float(found["entropy"].mean()), means)
    shares = ", ".join(f"{share:.2f}" for share in found["mode_share"].values)
    converged = int(found["converged"].sum())
    rows = (
        Row("largest_entropy", f"{float(found['dual_entropy'].mean()):.3f} (dual)"),
        Row("divergence", f"{divergence:.3f} nats to the exact {exact.entropy:.3f}"),
        Row("mode_shares", shares),
        Row("converged", f"{converged} of {found.sizes['chain']} restarts"),
    )
    return Outcome(rows, (folder / "dsn.nc", *figures.values()))
