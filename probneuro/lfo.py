"""Leave-future-out cross-validation: how well a model predicts what comes next."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.special import logsumexp

from probneuro.convert.continuation import (
    Sequence,
    filtered_log_densities,
    prior_of_parameters,
)
from probneuro.convert.labels import own_names
from probneuro.convert.predictive import sample_prior_predictive
from probneuro.convert.replay import Replay, draws_of, program_of, trace_once
from probneuro.convert.truncation import Arguments, Timeline, Truncate, cut, read_timeline
from probneuro.core.convergence import measure
from probneuro.core.engine import Engine
from probneuro.core.errors import CapabilityError, InferenceError, SettingError
from probneuro.core.names import BLOCK, LFO, POSTERIOR, PRIOR, TIME
from probneuro.core.pareto import LARGEST_K, smooth_weights
from probneuro.core.results import plain_attrs
from probneuro.core.rng import generator, resolve_seed
from probneuro.core.state_space import OBSERVED, StateSpaceModel, as_series
from probneuro.infer import infer
from probneuro.inference.pyro_program import in_working_dtype, pyro_as_found

Floats = NDArray[np.float64]

_LEAST_ESS_DRAWS: Final = 4
# With few draws in effect k itself cannot be told: measured on a normal mean whose data jump by
# six standard deviations, errors of 0.4 to 0.7 nats at k of 0.3 to 0.6 where a tenth of the
# draws or less made up the weights or, with the density of the block, the prediction.
_LEAST_EFFECTIVE: Final = 100
_LEAST_SHARE: Final = 0.1
_CHECK_DRAWS: Final = 2


def lfo_cv(
    result: xr.DataTree | None,
    model: Any,
    *args: Any,
    min_observations: int,
    block: int = 1,
    engine: Engine | None = None,
    truncate: Truncate | None = None,
    dim: str | None = None,
    exact: bool = False,
    largest_k: float = LARGEST_K,
    draws: int | None = None,
    chains: int | None = None,
    num_particles: int = 200,
    seed: int | None = None,
    progress: bool = True,
    checkpoint: str | PathLike[str] | None = None,
    **kwargs: Any,
) -> xr.DataTree:
    r"""Predict each block of data from those before it.

    .. math::

        \mathrm{elpd} = \sum_b \log p(y_{t_b : t_{b+1}} \mid y_{<t_b}) \approx
        \sum_b \log \sum_s w_s\, p(y_{t_b : t_{b+1}} \mid y_{<t_b}, \theta_s), \qquad
        w_s \propto p(y_{t^* : t_b} \mid y_{<t^*}, \theta_s)

    with draws :math:`\theta_s` given the data before :math:`t^*`. Where the weights, smoothed
    by :func:`~probneuro.core.pareto.smooth_weights`, have a Pareto k above ``largest_k``, or
    few draws (less than 100 and a tenth of all) make up the weights or the prediction, the
    program is fitted to all that came before, and weights are equal again. Blocks do not
    overlap, and each is predicted jointly: with ``min_observations=0``, where draws of the
    prior predict the first block, the sum is the log evidence for any ``block``.

    Parameters
    ----------
    result : xarray.DataTree or None
        A result to add to. Its posterior tells how many draws and chains a fit has; it is
        not used otherwise, since it has seen the future.
    model : Model or callable
        A program whose observations depend on earlier ones alone: checked at two draws. Of a
        `StateSpaceModel` the states are integrated out by a particle filter a draw; of other
        programs, latent variables of later times are drawn from the program.
    *args, **kwargs
        Its arguments, with all data.
    min_observations : int
        Times that no prediction is made for, because they are needed to fit at all.
    block : int
        Times predicted at once; the last block may be shorter.
    engine : Engine or None
        What fits with; None for the model's own or NUTS, as in `infer`.
    truncate : callable or None
        Takes (args, stop) and returns the positional arguments without the times from
        ``stop`` on. None to cut every array, list and `Series` whose first axis has the
        data's length, and labelled arrays along ``dim``, keyword arguments among them.
    dim : str or None
        Plate or dimension of the observations along which time runs; None for ``"time"``, or
        else the outermost.
    exact : bool
        Whether to fit anew for every block.
    largest_k : float
        Largest Pareto k without a new fit; infinite to fit but once.
    draws, chains : int or None
        Size of each fit; None for that of ``result``, or else 1000 and 4.
    num_particles : int
        Particles of each filter, of a `StateSpaceModel`.
    seed : int or None
        Same seed, same numbers; None for a fresh one, which is recorded.
    progress : bool
        Whether each fit shows its progress.
    checkpoint : path or None
        A folder: fits that are done, or begun, are taken up from it when called again.

    Returns
    -------
    xarray.DataTree
        The result with group ``lfo``, for ``compare(..., by="lfo")``. Over ``block``, labelled
        by its first time's index: ``elpd``, in nats; ``mcse``, its Monte Carlo error;
        ``pareto_k``, NaN after a fit; ``effective_draws``; ``refit``, whether a fit was made
        for it; ``num_observations`` and ``observed_total``, number and sum of the values predicted.
        Beside them ``total_mcse``, the error of the sum.

    Raises
    ------
    SettingError
        If a setting is out of its range, or the arguments cannot be cut.
    CapabilityError
        If the program's earlier observations depend on later data, or a latent variable
        cannot be continued in time.
    InferenceError
        If no draw gives a block a positive density.

    Notes
    -----
    Bürkner, Gabry and Vehtari (2020), approximate leave-future-out cross-validation for
    Bayesian time series models. We deviate in two: blocks do not overlap, so that their sum is
    one joint density; and few effective draws ask for a new fit as well as a large k does.

    Examples
    --------
    >>> import pyro, pyro.distributions as dist
    >>> from probneuro.inference.nuts import NUTS
    >>> def walk(y):
    ...     step = pyro.sample("step", dist.HalfNormal(1.0))
    ...     with pyro.plate("time", len(y)):
    ...         pyro.sample("y", dist.Normal(torch.cat([y[:1] * 0, y[:-1]]), step), obs=y)
    >>> y = torch.tensor([0.1, 0.3, -0.2, 0.4, 0.5, 0.3])
    >>> sizes = {"draws": 100, "chains": 2, "seed": 1, "progress": False}
    >>> found = lfo_cv(None, walk, y, min_observations=4, engine=NUTS(warmup=100), **sizes)
    >>> found["lfo/block"].values
    array([4, 5])
    """
    size = _sizes(result, draws, chains)
    fits = _Fits(model, args, kwargs, engine, truncate, size, resolve_seed(seed), progress,
                 checkpoint, num_particles)  # fmt: skip
    timeline = fits.look(result, dim)
    _check_settings(min_observations, block, timeline)
    starts = list(range(min_observations, timeline.length, block))
    edges = [*starts, timeline.length]
    fits.check_ahead(timeline, starts)
    scores = _Scores()
    table, fitted = np.empty((*size, 0)), -1
    equal = np.full(size[0] * size[1], -np.log(size[0] * size[1]))
    for start, stop in pairwise(edges):
        log_weights, k = equal, float("inf")
        if fitted >= 0 and not exact:
            log_weights, k = smooth_weights(table[..., fitted:start].sum(-1).ravel())
        density = table[..., start:stop].sum(-1).ravel()
        if fitted < 0 or exact or not _trusted(log_weights, density, k, largest_k):
            table, fitted, k = fits.table(timeline, start), start, float("nan")
            scores.begin(size[::-1])
            log_weights, density = equal, table[..., start:stop].sum(-1).ravel()
        scores.add(log_weights, density, k, start, fits.seed)
    settings = {
        "seed": fits.seed, "block_length": block, "min_observations": min_observations,
        "largest_k": largest_k, "exact": exact, "draws": size[0], "chains": size[1],
        "engine": "" if engine is None else engine.name,
    }  # fmt: skip
    return _with_group(result, scores.dataset(timeline, edges, settings))


def _trusted(log_weights: Floats, log_density: Floats, k: float, largest_k: float) -> bool:
    if largest_k == np.inf:
        return True
    least = min(_LEAST_EFFECTIVE, _LEAST_SHARE * log_weights.size)
    return (
        k <= largest_k and min(map(_effective, (log_weights, log_weights + log_density))) >= least
    )


def _effective(log_terms: Floats) -> float:
    total = float(logsumexp(log_terms))
    return float(np.exp(2.0 * total - logsumexp(2.0 * log_terms))) if np.isfinite(total) else 0.0


def _with_group(result: xr.DataTree | None, group: xr.Dataset) -> xr.DataTree:
    tree = xr.DataTree() if result is None else result.copy()
    tree[LFO] = xr.DataTree(group)
    return tree


def _sizes(result: xr.DataTree | None, draws: int | None, chains: int | None) -> tuple[int, int]:
    known = (4, 1000) if result is None else draws_of(result).shape
    return draws or known[1], chains or known[0]


def _check_settings(min_observations: int, block: int, timeline: Timeline) -> None:
    for name, value, least in (("min_observations", min_observations, 0), ("block", block, 1)):
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not whole or value < least:
            raise SettingError(
                f"`{name}` must be an integer of at least {least}; got {value!r}. "
                f"Pass e.g. {name}={max(least, 1)}."
            )
    if min_observations >= timeline.length:
        raise SettingError(
            f"`min_observations` is {min_observations}, but `{timeline.dim}` has "
            f"{timeline.length} times, so that nothing is left to predict. Pass less."
        )
    if min_observations == 0 and timeline.timeless:
        raise CapabilityError(
            f"`{timeline.timeless[0]}` is observed without `{timeline.dim}`, so that it belongs to "
            "no time, and the prior alone knows nothing of it. Pass min_observations=1 or more."
        )


@dataclass(frozen=True)
class _Fits:
    """Fits of a program to the data before a time."""

    model: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    engine: Engine | None
    truncate: Truncate | None
    size: tuple[int, int]
    seed: int
    progress: bool
    checkpoint: str | PathLike[str] | None
    num_particles: int

    def look(self, result: xr.DataTree | None, dim: str | None) -> Timeline:
        """Return where time runs in the observations."""
        if isinstance(self.model, StateSpaceModel):
            values = as_series(*self.args, **self.kwargs).values.numpy()
            flat = values.reshape(len(values), -1)
            names = {OBSERVED: [TIME]}
            return Timeline(TIME, names, np.full(len(flat), flat.shape[1]), flat.sum(1))
        return self._timeline(self.args, self.kwargs, result, dim)

    def _timeline(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any, dim: str | None
    ) -> Timeline:
        values = {} if result is None else draws_of(result).at(0)
        given = own_names(self.model, result)

        def work(run: Any, dtype: torch.dtype) -> Timeline:
            with pyro_as_found(dtype), torch.no_grad():
                try:
                    trace = trace_once(run, Replay(values, dtype))
                except NotImplementedError as error:
                    raise CapabilityError(
                        f"The program cannot be drawn from ({error}): some prior is improper. "
                        "Give it a proper prior, or pass a result of it."
                    ) from error
                return read_timeline(trace, dim, given)

        return in_working_dtype(program_of(self.model), args, kwargs, work)

    def cut(self, timeline: Timeline, stop: int) -> Arguments:
        """Return the arguments with the data before a time."""
        if isinstance(self.model, StateSpaceModel) and self.truncate is None:
            series = as_series(*self.args, **self.kwargs)
            args, kwargs = (series,), {}
        else:
            args, kwargs = self.args, dict(self.kwargs)
        return cut(
            args, kwargs, stop, truncate=self.truncate, dim=timeline.dim, length=timeline.length
        )

    def check_ahead(self, timeline: Timeline, starts: list[int]) -> None:
        """Refuse a program that is not sequential, where its prior can tell."""
        if isinstance(self.model, StateSpaceModel) or not starts[-1]:
            return
        args, kwargs = self.cut(timeline, starts[-1])
        try:
            drawn = sample_prior_predictive(
                self.model, *args, draws=_CHECK_DRAWS, seed=self.seed, **kwargs
            )[PRIOR].to_dataset()
        except CapabilityError:  # an improper prior; the first fit will tell
            return
        prior = xr.DataTree.from_dict({POSTERIOR: drawn})
        self._check(timeline, prior, starts[-1], (args, kwargs))

    def _check(self, timeline: Timeline, fit: xr.DataTree, seen: int, short: Arguments) -> None:
        found = self._timeline(*short, fit, timeline.dim)
        if found.length != seen:
            raise SettingError(
                f"With its arguments cut at {seen}, the program observes {found.length} times "
                f"along `{timeline.dim}`. Pass `truncate=`, a function of the arguments and the "
                "first time that is left out, which returns the arguments cut."
            )
        Sequence(self.model, self.args, self.kwargs, timeline).check(fit, seen, short)

    def table(self, timeline: Timeline, stop: int) -> Floats:
        """Return the log density of each observation given those before and each draw."""
        seed = int(generator(self.seed, LFO, stop).integers(2**31))
        state_space = isinstance(self.model, StateSpaceModel)
        if stop == 0:
            fit = self._prior(seed)
        else:
            short = self.cut(timeline, stop)
            fit = self._fit(short, stop, seed)
            if not state_space:
                self._check(timeline, fit, stop, short)
        if state_space:
            series = as_series(*self.args, **self.kwargs)
            return filtered_log_densities(self.model, series, fit, self.num_particles, seed)
        sequence = Sequence(self.model, self.args, self.kwargs, timeline)
        return sequence.log_densities(fit, stop, seed)

    def _prior(self, seed: int) -> xr.DataTree:
        draws, chains = self.size
        if isinstance(self.model, StateSpaceModel):
            return prior_of_parameters(self.model, draws, chains, seed)
        drawn = sample_prior_predictive(
            self.model, *self.args, draws=draws * chains, seed=seed, **self.kwargs
        )[PRIOR].to_dataset()
        split = [drawn.isel(draw=slice(c * draws, (c + 1) * draws)) for c in range(chains)]
        renumbered = [part.assign_coords(draw=np.arange(draws), chain=[c])
                      for c, part in enumerate(split)]  # fmt: skip
        return xr.DataTree.from_dict({POSTERIOR: xr.concat(renumbered, "chain")})

    def _fit(self, short: Arguments, stop: int, seed: int) -> xr.DataTree:
        draws, chains = self.size
        folder = None if self.checkpoint is None else Path(self.checkpoint) / f"before_{stop}"
        return infer(
            self.model, *short[0], engine=self.engine, draws=draws, chains=chains, seed=seed,
            progress=self.progress, checkpoint=folder, **short[1],
        )  # fmt: skip


@dataclass
class _Scores:
    """Predictions of all blocks, with their Monte Carlo errors."""

    elpd: list[float] = field(default_factory=list)
    mcse: list[float] = field(default_factory=list)
    pareto_k: list[float] = field(default_factory=list)
    effective: list[float] = field(default_factory=list)
    shape: tuple[int, int] = (0, 0)
    influence: list[Floats] = field(default_factory=list)

    def begin(self, shape: tuple[int, int]) -> None:
        """Start a stretch of blocks that share a fit."""
        self.shape = shape
        self.influence.append(np.zeros(shape))

    def add(
        self, log_weights: Floats, log_density: Floats, k: float, start: int, seed: int
    ) -> None:
        """Add a block: log weights and log densities of the draws of its fit."""
        terms = log_weights + log_density
        elpd = float(logsumexp(terms))
        if not np.isfinite(elpd):
            raise InferenceError(
                f"No draw gives the block from time {start} on a positive, finite density (log "
                f"density {elpd}), seed {seed}. Look at the data there, or at the program's tails."
            )
        share = np.exp(terms - elpd) - np.exp(log_weights)
        influence = (share * share.size).reshape(self.shape)
        self.influence[-1] = self.influence[-1] + influence
        self.elpd.append(elpd)
        self.mcse.append(_error(influence))
        self.pareto_k.append(k)
        self.effective.append(_effective(log_weights))

    def dataset(
        self, timeline: Timeline, edges: list[int], settings: Mapping[str, Any]
    ) -> xr.Dataset:
        """Return the group ``lfo``."""
        starts = np.array(edges[:-1])
        columns = {
            "elpd": np.array(self.elpd),
            "mcse": np.array(self.mcse),
            "pareto_k": np.array(self.pareto_k),
            "effective_draws": np.array(self.effective),
            "refit": np.isnan(self.pareto_k).astype(np.int8),
            "num_observations": np.add.reduceat(timeline.counts, starts),
            "observed_total": np.add.reduceat(timeline.totals, starts),
        }
        total = float(np.sqrt(sum(_error(part) ** 2 for part in self.influence)))
        return xr.Dataset(
            {**{n: (BLOCK, v) for n, v in columns.items()}, "total_mcse": ((), total)},
            coords={BLOCK: starts},
            attrs=plain_attrs(settings),
        )


def _error(influence: Floats) -> float:
    """Return the standard error of a mean that is zero, for draws that may be correlated."""
    if influence.shape[1] < _LEAST_ESS_DRAWS:
        return float("nan")
    if np.ptp(influence) == 0.0:
        return 0.0
    return float(np.sqrt(influence.var() / measure(influence)[1]))
