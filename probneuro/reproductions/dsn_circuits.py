"""Solutions of the pyloric circuit and of rank-one networks, each simulated again."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probneuro.core.reproduction import Finding, Setting
from probneuro.data.behaviour import Behaviour
from probneuro.infer import infer
from probneuro.inference.importance_dual import ImportanceDual
from probneuro.models.dsn import DSN, SplineSize
from probneuro.plots import save_figures, solution_figures, voltage_traces
from probneuro.reproductions.kept import kept
from probneuro.simulators.low_rank_rnn import MeanField, go_no_go, simulate_network
from probneuro.simulators.stg import CRAB_LIKE, PARAMETERS, Circuit, pyloric_behaviour

Floats = NDArray[np.float64]

GO_ABOVE: Final = 0.5
NO_GO_BELOW: Final = 0.3
_SHOWN: Final = 4
_SECONDS: Final = 5.0


def circuit(table: Mapping[str, Any], setting: Setting) -> Iterator[Finding]:
    """Fit conductances and synapses to a crab's rhythm, and simulate the draws with other noise.

    Parameters
    ----------
    table : mapping
        ``parameters``, ``scale``, ``flow`` (of `SplineSize`) and ``fit`` (of `ImportanceDual`,
        with draws and chains).
    setting : Setting
        Where and how.
    """
    names = tuple(table["parameters"])
    behaviour = pyloric_behaviour(names, scale=table["scale"])
    model = DSN(Circuit(fixed=CRAB_LIKE), spline=SplineSize(**table["flow"]))
    result = _fitted("dsn_circuit", model, behaviour, table["fit"], setting)
    values = _draws(result)
    other = Circuit(fixed=CRAB_LIKE, seed=setting.seed + 1)
    found = other(dict(zip(names, values.T, strict=True)))
    rhythmic = np.flatnonzero(found["triphasic"])[:_SHOWN]
    figures = solution_figures(result, prefix="dsn_circuit_")
    figures["dsn_circuit_traces"] = voltage_traces(*_traces(other, names, values[rhythmic]))
    drawn = save_figures(figures, setting.figures)
    share, ordered = found["triphasic"].mean(), found["pyloric"].mean()
    said = f"{100 * share:.0f} % of {len(values)} draws, {100 * ordered:.0f} % in pyloric order"
    yield Finding("triphasic_share", said, tuple(drawn))


def network(table: Mapping[str, Any], setting: Setting) -> Iterator[Finding]:
    """Fit rank-one networks to Go/No-Go by mean-field theory, and simulate draws as networks.

    Parameters
    ----------
    table : mapping
        ``networks``, how many draws are simulated; ``behaviour`` (of `go_no_go`); ``fit``.
    setting : Setting
        Where and how.
    """
    behaviour = go_no_go(**table["behaviour"])
    model = DSN(MeanField(), differentiable=True)
    result = _fitted("dsn_network", model, behaviour, table["fit"], setting)
    values = _draws(result)[: table["networks"]]
    right = responses(behaviour, values, seed=setting.seed)
    drawn = save_figures(solution_figures(result, prefix="dsn_network_"), setting.figures)
    go, no_go = 100 * right.mean(axis=0)
    both = 100 * right.all(axis=1).mean()
    said = f"{both:.0f} % of {len(values)} networks ({go:.0f} % Go, {no_go:.0f} % No-Go)"
    yield Finding("network_share", said, tuple(drawn))


def responses(behaviour: Behaviour, values: Floats, *, seed: int = 0) -> NDArray[np.bool_]:
    """Return whether networks respond to Go, and whether they do not to No-Go, shape (draw, 2).

    A readout above one half in size responds, one below 0.3 does not.

    Parameters
    ----------
    behaviour : Behaviour
        Of `probneuro.simulators.low_rank_rnn.go_no_go`.
    values : numpy.ndarray
        Shape (draw, parameter).
    seed : int
        Of the first network; the others count on.
    """
    right = np.zeros((len(values), 2), dtype=bool)
    for place, row in enumerate(values):
        named = dict(zip(behaviour.parameters, row.tolist(), strict=True))
        go = simulate_network(named, 1.0, seed=seed + 2 * place)
        no_go = simulate_network(named, 0.0, seed=seed + 2 * place + 1)
        right[place] = abs(go) > GO_ABOVE, abs(no_go) < NO_GO_BELOW
    return right


def _fitted(
    name: str, model: DSN, behaviour: Behaviour, fit: Mapping[str, Any], setting: Setting
) -> xr.DataTree:
    sizes = {each: fit[each] for each in ("draws", "chains")}
    engine = ImportanceDual(**{each: fit[each] for each in fit if each not in sizes})
    return kept(
        setting.folder / f"{name}.nc",
        lambda place: infer(
            model, behaviour, engine=engine, seed=setting.seed, progress=setting.progress,
            workers=setting.workers, checkpoint=place, **sizes,
        ),
    )  # fmt: skip


def _draws(result: xr.DataTree) -> Floats:
    drawn = result["posterior"].to_dataset()["z"].values
    return np.asarray(drawn.reshape(-1, drawn.shape[-1]))


def _traces(
    simulator: Circuit, names: tuple[str, ...], values: Floats
) -> tuple[Floats, list[Floats]]:
    """Return times in s, and the last seconds of each circuit's voltages."""
    rows = np.array([[CRAB_LIKE[name] for name in PARAMETERS]] * len(values))
    rows[:, [PARAMETERS.index(name) for name in names]] = values
    voltages = [simulator.simulate(row)[0] for row in rows]
    steps = len(voltages[0]) if voltages else 1
    shown = round(steps * _SECONDS / simulator.duration)
    time = np.linspace(0.0, _SECONDS, shown, endpoint=False)
    return time, [each[-shown:] for each in voltages]
