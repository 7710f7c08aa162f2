"""The particle filter as an engine: evidence and trajectories at given parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from probneuro.core.engine import Arrays, Engine, Kernel, RunOptions, RunsOnDevice
from probneuro.core.names import TIME
from probneuro.core.state_space import STATE, Series, StateSpaceModel
from probneuro.inference.particle_filter import ParticleHistory
from probneuro.inference.runner import ChainDraws, chains_result, run_as_asked
from probneuro.inference.state_space import bind, check_sizes
from probneuro.inference.state_space_filter import backward_paths, filtered_mean, run_filter
from probneuro.inference.state_space_steps import require_state_space, series_on

EVIDENCE: Final = "log_marginal_likelihood"
FILTER: Final = "filter"
_ONCE: Final = ("mean", "particle_ess")


@dataclass(frozen=True, kw_only=True)
class ParticleFilter(Engine, RunsOnDevice):
    """Filters and smooths the trajectory of a state-space model whose parameters are known.

    A chain is one filter, its draws are trajectories given all data; chains are independent,
    so that their evidence estimates (``log_marginal_likelihood`` of ``sample_stats``) give
    their own Monte Carlo error.

    Parameters
    ----------
    params : mapping
        Values of the model's global sites, by name.
    num_particles : int
        Particles of each filter.
    threshold : float
        Resample when the effective number of particles falls below this share of them.
    guided : bool
        Whether to use the model's own proposal, if it has one.
    backward : bool
        Whether trajectories are drawn by backward simulation; else they are those of the
        genealogy, which is cheaper, and whose early states descend from a few particles.

    Raises
    ------
    SettingError
        If a setting is out of its range.

    Notes
    -----
    Source: Gordon, Salmond and Smith (1993); Godsill, Doucet and West (2004).

    Examples
    --------
    >>> from probneuro import infer
    >>> from probneuro.testing.state_space import FiniteChain
    >>> engine = ParticleFilter(params={"stay": 0.7}, num_particles=50)
    >>> sizes = {"draws": 10, "chains": 2, "seed": 1, "progress": False}
    >>> infer(FiniteChain(), [0, 1, 7, 5], engine=engine, **sizes).posterior["state"].shape
    (2, 10, 4)
    """

    params: Mapping[str, Any]
    num_particles: int = 1000
    threshold: float = 0.5
    guided: bool = True
    backward: bool = True

    def __post_init__(self) -> None:
        check_sizes(self.num_particles, self.threshold)
        plain = {name: np.asarray(value).tolist() for name, value in self.params.items()}
        object.__setattr__(self, "params", plain)

    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        """Run a filter a chain, and draw trajectories from each."""
        known = require_state_space(model, self.name)
        kernel = FilterKernel(known, series_on(options.device, *args, **kwargs), self)
        chains = run_as_asked(kernel, options, warmup=0, label=self.name)
        return _result(chains, known, options)


def _result(chains: ChainDraws, model: StateSpaceModel, options: RunOptions) -> xr.DataTree:
    """Put what a filter gives once a chain into a group of its own, with a single draw."""
    once = {name: chains.sample_stats[name][:, :1] for name in _ONCE}
    stats = {n: v for n, v in chains.sample_stats.items() if n not in _ONCE}
    dims = {
        f"{FILTER}/mean": (TIME, *model.state_dims),
        f"{FILTER}/particle_ess": (TIME,),
    }
    return chains_result(
        replace(chains, sample_stats=stats), options, dims=dims, groups={FILTER: once}
    )


class FilterKernel(Kernel):
    """One filter, from which every step draws a trajectory.

    Parameters
    ----------
    model : StateSpaceModel
        The model.
    series : Series
        The data.
    settings : ParticleFilter
        The engine's settings.
    """

    def __init__(self, model: StateSpaceModel, series: Series, settings: ParticleFilter) -> None:
        self._settings = settings
        rng = np.random.default_rng(0)  # for checks only, no draw depends on it
        self._bound = bind(model, settings.params, series, rng, guided=settings.guided)

    def init(self, rng: np.random.Generator) -> Arrays:
        """Return the particles of one filter, and an empty place for a trajectory."""
        settings = self._settings
        history = run_filter(self._bound, settings.num_particles, rng, threshold=settings.threshold)
        return {
            "states": history.states,
            "weights": history.weights,
            "ancestors": history.ancestors,
            "increments": history.increments,
            "path": history.states[:, 0].copy(),
        }

    def step(
        self, state: Arrays, rng: np.random.Generator, *, warmup: bool
    ) -> tuple[Arrays, Arrays]:
        """Draw a trajectory."""
        columns = (state[name] for name in ("states", "weights", "ancestors", "increments"))
        history = ParticleHistory(*columns)
        stats = {
            EVIDENCE: np.array(history.log_evidence),
            "mean": filtered_mean(history),
            "particle_ess": history.effective_sizes,
        }
        return {**state, "path": self._path(history, rng)}, stats

    def draw(self, state: Arrays) -> Arrays:
        """Return the trajectory."""
        return {STATE: state["path"]}

    def _path(self, history: ParticleHistory, rng: np.random.Generator) -> NDArray[Any]:
        if self._settings.backward:
            path: NDArray[Any] = backward_paths(self._bound, history, 1, rng)[0]
            return path
        return history.draw_path(rng)
