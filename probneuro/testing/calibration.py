"""Simulation-based calibration: does an engine's posterior mean what it says?"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyro
import torch
import xarray as xr
from numpy.typing import NDArray

from probneuro.core.engine import Engine
from probneuro.core.errors import CapabilityError, SettingError
from probneuro.core.model import Model
from probneuro.core.names import CHAIN, DRAW, POSTERIOR
from probneuro.core.results import plain_attrs
from probneuro.core.rng import generator
from probneuro.core.state_space import OBSERVED, StateSpaceModel, as_series
from probneuro.infer import infer
from probneuro.inference.pyro_program import latent_sites, pyro_as_found
from probneuro.testing.stats import uniform_score

PRIOR_SBC: Final = "prior_sbc"


def sbc(
    model: Model | Callable[..., Any],
    *args: Any,
    engine: Engine,
    num_simulations: int = 200,
    draws: int = 99,
    thin: int = 5,
    seed: int = 0,
    progress: bool = False,
    arguments: Callable[[Mapping[str, NDArray[np.float64]]], tuple[Any, ...]] | None = None,
    **kwargs: Any,
) -> xr.DataTree:
    r"""Rank true parameters among posterior draws, over data simulated from the prior.

    .. math::

        \theta \sim p(\theta),\quad y \sim p(y \mid \theta),\quad
        \theta_1 \dots \theta_L \sim q(\theta \mid y): \qquad
        u = \frac{\#\{l : \theta_l < \theta\} + v}{L + 1} \sim \mathrm U(0, 1)

    with v uniform on [0, 1) and shared among ties, for every scalar parameter, if q is the
    posterior. Each simulation runs the whole program without its data, and the engine with
    the simulated values in the data's place, or with what ``arguments`` makes of them.

    Parameters
    ----------
    model : Model or callable
        Any Pyro program; ``obs`` marks what is data.
    *args, **kwargs
        Its arguments; data among them give only their shapes. A program that reads its data
        elsewhere too (say, an autoregression on its argument) needs ``arguments``.
    engine : Engine
        What to check.
    num_simulations : int
        Data sets. 200 see a bias of about a quarter of a posterior standard deviation.
    draws, thin : int
        L, and engine's draws for each of them: draws must be nearly independent.
    seed : int
        Seed of parameters, data, engines and ties.
    progress : bool
        Whether every run shows its progress.
    arguments : callable or None
        Makes the model's arguments from simulated values by site, for engines that need the
        model itself; a `StateSpaceModel` needs none.

    Returns
    -------
    xarray.DataTree
        Group ``prior_sbc`` with u of every parameter, dims chain (1) and draw (simulation), as
        ``az.plot_ecdf_pit`` takes it.

    Raises
    ------
    SettingError
        If a count is not positive.
    CapabilityError
        If the program observes nothing.

    Notes
    -----
    Talts, Betancourt, Simpson, Vehtari and Gelman (2018), algorithm 2 with thinning.

    Examples
    --------
    >>> import pyro.distributions as dist
    >>> from probneuro.inference.nuts import NUTS
    >>> def coin(heads):
    ...     bias = pyro.sample("bias", dist.Beta(2.0, 2.0))
    ...     pyro.sample("heads", dist.Binomial(10, bias), obs=heads)
    >>> settings = {"num_simulations": 3, "draws": 9, "thin": 2}
    >>> ranks = sbc(coin, torch.tensor(0.0), engine=NUTS(warmup=30), **settings)
    >>> ranks["prior_sbc"]["bias"].shape
    (1, 3)
    """
    counts = {"num_simulations": num_simulations, "draws": draws, "thin": thin}
    for name, count in counts.items():
        if count < 1:
            raise SettingError(f"`{name}` must be positive; got {count}. Pass e.g. 100.")
    program = model.model if isinstance(model, Model) else model
    if arguments is None and isinstance(model, StateSpaceModel):
        arguments = _series_like(*args)
    ranks: dict[str, list[NDArray[np.float64]]] = {}
    for i in range(num_simulations):
        rng = generator(seed, "sbc", i)
        truth, data = _simulate(program, args, kwargs, int(rng.integers(2**31)))
        target: Any = pyro.condition(pyro.poutine.uncondition(program), data=data)
        own = args
        if arguments is not None:
            target, own = model, arguments({name: value.numpy() for name, value in data.items()})
        posterior = infer(
            target, *own, engine=engine, draws=draws * thin, chains=1,
            seed=int(rng.integers(2**31)), progress=progress, workers=1, **kwargs,
        )[POSTERIOR].to_dataset()  # fmt: skip
        for name, value in truth.items():
            found = posterior[name].values[0, thin - 1 :: thin]
            ranks.setdefault(name, []).append(_rank(value, found, rng.random()))
        dims = {name: posterior[name].dims[2:] for name in truth}
    group = xr.Dataset(
        {n: ((CHAIN, DRAW, *dims[n]), np.array(rows)[None]) for n, rows in ranks.items()}
    )
    attrs = {"engine": engine.name, "engine_settings": engine.settings(), "seed": seed, **counts}
    tree = xr.DataTree(children={PRIOR_SBC: xr.DataTree(group)})
    tree.attrs.update(plain_attrs(attrs))
    return tree


def _series_like(data: Any) -> Callable[[Mapping[str, NDArray[np.float64]]], tuple[Any, ...]]:
    example = as_series(data)
    return lambda simulated: (replace(example, values=simulated[OBSERVED]),)


def _simulate(
    program: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], seed: int
) -> tuple[dict[str, NDArray[np.float64]], dict[str, torch.Tensor]]:
    """Draw a program's latent values, and values for what it observes."""
    with pyro_as_found(torch.float64):
        observed = [
            name
            for name, node in pyro.poutine.trace(program).get_trace(*args, **kwargs).nodes.items()
            if node["type"] == "sample" and node["is_observed"]
            and not (node["infer"] or {}).get("_deterministic")
        ]  # fmt: skip
        if not observed:
            raise CapabilityError(
                "The program observes nothing, so there are no data to simulate. Mark its data "
                "with `obs=`, and pass an example of them."
            )
        torch.manual_seed(seed)
        trace = pyro.poutine.trace(pyro.poutine.uncondition(program)).get_trace(*args, **kwargs)
    values = {name: node["value"].detach() for name, node in latent_sites(trace).items()}
    data = {name: values.pop(name) for name in observed}
    return {name: value.double().numpy() for name, value in values.items()}, data


def _rank(
    value: NDArray[np.float64], draws: NDArray[np.float64], uniform: float
) -> NDArray[np.float64]:
    below, ties = (draws < value).sum(axis=0), (draws == value).sum(axis=0)
    rank: NDArray[np.float64] = (below + uniform * (ties + 1.0)) / (len(draws) + 1.0)
    return rank


def rank_scores(ranks: xr.DataTree) -> dict[str, float]:
    """Return a z-score of uniformity for every scalar parameter of :func:`sbc`.

    Parameters
    ----------
    ranks : xarray.DataTree
        With a group ``prior_sbc``.

    Examples
    --------
    >>> u = xr.Dataset({"x": (("chain", "draw"), np.linspace(0, 1, 100)[None])})
    >>> rank_scores(xr.DataTree(children={"prior_sbc": xr.DataTree(u)}))["x"] < 1.0
    True
    """
    scores = {}
    for name, values in ranks[PRIOR_SBC].data_vars.items():
        flat = values.values[0].reshape(values.sizes[DRAW], -1)
        for i, column in enumerate(flat.T):
            scores[f"{name}[{i}]" if values.ndim > 2 else str(name)] = uniform_score(column)
    return scores
