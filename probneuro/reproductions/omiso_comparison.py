"""Policies on one simulated brain after the other, and predictions on sessions left out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, cast, final

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from probneuro.control import (
    Choice,
    Experiment,
    InversePolicy,
    PatternSet,
    Policy,
    Readout,
    SafetyLimits,
    SimulatedRig,
)
from probneuro.core.reproduction import Finding, Setting
from probneuro.core.rng import generator
from probneuro.data.latent_trials import LatentTrials
from probneuro.plots import error_over_trials, save_figures, suitability_maps
from probneuro.reproductions.kept import kept
from probneuro.reproductions.omiso_setup import (
    Budget,
    calibrated_readout,
    constants_of,
    fit_models,
    models,
    policies,
    prepare,
)
from probneuro.simulators.stim_population import BrainSession, SimulatedBrain

Floats = NDArray[np.float64]

ORACLE: Final = "oracle"


@final
@dataclass(frozen=True, eq=False)
class Oracle(Policy):
    """What could be had at best: it knows the brain's state and its answer to every pattern.

    Parameters
    ----------
    session : BrainSession
        The simulated brain, as it is now.
    readout : Readout
        Of its counts.
    patterns : PatternSet
        To choose from; no stimulation is a choice too.
    """

    session: BrainSession
    readout: Readout
    patterns: PatternSet

    def choose(
        self, target: Floats, before: Floats, trial: int, rng: np.random.Generator
    ) -> Choice:
        """Return the pattern whose expected readout is nearest to the target, L1."""
        state = self.session.state
        expected = self.readout.latents(self.session.expected_counts(state, self.patterns.members))
        missed = np.abs(expected - target).sum(axis=1)
        best = int(np.argmin(missed))
        none = np.empty((1, 0), dtype=np.int64)
        still = self.readout.latents(self.session.expected_counts(state, none))[0]
        if np.abs(still - target).sum() < missed[best]:
            return Choice(())
        return Choice(tuple(int(e) for e in self.patterns.members[best]))


def compare_policies(preset: Mapping[str, Any], setting: Setting) -> Iterator[Finding]:
    """Run every policy on the same test session of each brain.

    Parameters
    ----------
    preset : mapping
        ``seeds``, ``trials`` of the test session, ``budget``, and ``controls``: changes of the
        brain's constants by name, and of ``seeds`` and ``budget`` where a control has its own.
    setting : Setting
        Where and how.

    Yields
    ------
    Finding
        ``policies_<control>`` for each control.
    """
    for control, given in preset["controls"].items():
        changes = dict(given)
        budget = _budget({**preset["budget"], **changes.pop("budget", {})})
        runs = []
        for number in range(changes.pop("seeds", preset["seeds"])):
            seed = setting.seed + number
            make = partial(_session, seed, changes, budget, preset["trials"])
            path = setting.folder / "policies" / f"{control}-{seed}.nc"
            tree = kept(path, make)
            runs.append(tree["errors"].to_dataset())
            if number == 0:
                maps = _maps(tree["suitability"].to_dataset(), budget)
        whole = xr.concat(runs, "seed")
        errors = {str(n): whole[n].values for n in whole.data_vars}
        figure = f"error_over_trials_{control}"
        map_figure = f"suitability_{control}"
        save_figures({figure: error_over_trials(errors), map_figure: maps}, setting.figures)
        yield Finding(f"policies_{control}", policy_words(errors), (figure, map_figure))


def predict_sessions(preset: Mapping[str, Any], setting: Setting) -> Iterator[Finding]:
    """Compare response models on sessions left out, paired.

    Parameters
    ----------
    preset : mapping
        ``seeds`` and ``budget``.
    setting : Setting
        Where and how.

    Yields
    ------
    Finding
        ``state_helps_prediction``.
    """
    budget = _budget(preset["budget"])
    rows = []
    for number in range(preset["seeds"]):
        seed = setting.seed + number
        path = setting.folder / "prediction" / f"{seed}.nc"
        tree = kept(path, partial(_predictions, seed, budget))
        rows.append(tree["errors"].to_dataset())
    whole = xr.concat(rows, "seed")
    own = whole["pattern_only"].values
    words = [f"pattern only: mean squared error {own.mean():.3f} over {own.size} left-out sessions"]
    for name in whole.data_vars:
        if name != "pattern_only":
            gap = own - whole[name].values
            label = str(name).replace("_", " ")
            words.append(f"{label} {whole[name].values.mean():.3f} (better by {_mean_error(gap)})")
    yield Finding("state_helps_prediction", "; ".join(words))


def run_policies(
    seed: int, changes: Mapping[str, Any], budget: Budget, num_trials: int
) -> xr.DataTree:
    """Run every method on one brain's test session.

    Returns
    -------
    DataTree
        ``errors``: the L1 error of every trial by method; ``suitability``: what the cloned
        inverse model says of every candidate, (state, candidate), in the four trained-on states
        that lie farthest left, right, down and up.
    """
    brain = SimulatedBrain(constants_of(changes), seed=seed)
    trained = prepare(brain, budget)
    chosen = policies(trained, budget, seed)
    rng = generator(seed, "target")
    target = trained.trials.after[rng.integers(len(trained.trials))]
    limits = SafetyLimits(
        allowed=range(brain.constants.num_candidates), most_electrodes=budget.num_stimulated
    )
    errors = {}
    for name in (*chosen, ORACLE):
        session = brain.session(budget.sessions)
        readout, _ = calibrated_readout(session, trained, budget, seed)
        # The deadline is tested elsewhere: here a busy machine must not change the result.
        experiment = Experiment(
            rig=SimulatedRig(session), readout=readout, limits=limits, target=target,
            deadline=1e9,
        )  # fmt: skip
        policy = chosen.get(name) or Oracle(session, readout, trained.patterns)
        errors[name] = experiment.run(policy, num_trials, seed=seed).errors
    return xr.DataTree.from_dict({
        "errors": xr.Dataset({name: ("trial", values) for name, values in errors.items()}),
        "suitability": _suitability(chosen["static_with_state"], trained.trials, target),
    })  # fmt: skip


def _suitability(policy: Policy, trials: LatentTrials, target: Floats) -> xr.Dataset:
    """Return what an inverse model says of every candidate in four states that lie far apart."""
    network = cast(InversePolicy, policy).network
    last = trials.before[:, -1]
    rows = [int(pick(last[:, axis])) for axis in (0, 1) for pick in (np.argmin, np.argmax)]
    values = [network.suitability(target, trials.before[row]) for row in rows]
    places = ("candidate", trials.candidates)
    return xr.Dataset(
        {
            "suitability": (("state", "candidate"), np.stack(values)),
            "before": (("state", "latent"), last[rows]),
        },
        coords={"place": places}, attrs={"height": trials.grid[0], "width": trials.grid[1]},
    )  # fmt: skip


def _maps(found: xr.Dataset, budget: Budget) -> Figure:
    """Draw what the cloned inverse model says in four states."""
    labels = [f"state ({x:.1f}, {y:.1f})" for x, y in found["before"].values]
    return suitability_maps(
        found["suitability"].values, found["place"].values,
        (int(found.attrs["height"]), int(found.attrs["width"])), labels,
        num_stimulated=budget.num_stimulated,
    )  # fmt: skip


def policy_words(errors: Mapping[str, Floats]) -> str:
    """Return mean second-half errors, and their paired differences to OMiSO's.

    Examples
    --------
    >>> policy_words({"omiso": np.ones((3, 4)), "random": np.full((3, 4), 2.0)})
    'L1 error in the second half, mean over 3 brains: omiso 1.000; random 2.000 (+1.000 +- 0.000)'
    """
    halves = {name: e[:, e.shape[1] // 2 :].mean(axis=1) for name, e in errors.items()}
    own = halves["omiso"]
    words = [f"omiso {own.mean():.3f}"]
    for name, values in halves.items():
        if name != "omiso":
            words.append(f"{name} {values.mean():.3f} ({_mean_error(values - own)})")
    start = f"L1 error in the second half, mean over {len(own)} brains: "
    return start + "; ".join(words)


def _session(
    seed: int, changes: Mapping[str, Any], budget: Budget, num_trials: int, _: Path
) -> xr.DataTree:
    return run_policies(seed, changes, budget, num_trials)


def _predictions(seed: int, budget: Budget, _: Path) -> xr.DataTree:
    trained = prepare(SimulatedBrain(seed=seed), budget)
    found = {}
    for name, (_model, fit) in fit_models(trained, budget, seed, *models(budget)).items():
        found[name] = ("session", np.asarray(fit["fit_history/left_out_error"].values)[:, -1])
    return xr.DataTree.from_dict({"errors": xr.Dataset(found)})


def _budget(given: Mapping[str, Any]) -> Budget:
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    return Budget(**settings)


def _mean_error(values: Floats | Sequence[float]) -> str:
    array = np.asarray(values, dtype=float).ravel()
    if array.size < 2:
        return f"{array.mean():+.3f}"
    return f"{array.mean():+.3f} +- {array.std(ddof=1) / np.sqrt(array.size):.3f}"
