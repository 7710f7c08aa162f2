"""From fitted response models to predictions in numpy for all patterns."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import nn

from probneuro.control.patterns import PatternSet
from probneuro.control.response_cache import (
    DenseEncoder,
    NoState,
    RecurrentEncoder,
    ResponseCache,
    StateEncoder,
)
from probneuro.core.errors import DataError
from probneuro.data.latent_trials import LatentTrials
from probneuro.models.omiso.networks import ResponseNetwork, StateLSTM
from probneuro.models.omiso.response import ResponseModel, network_at

Floats = NDArray[np.float64]
Predict = Callable[[NDArray[np.int64], Floats], Floats]


def ensemble_networks(
    model: ResponseModel, result: xr.DataTree, data: LatentTrials
) -> tuple[ResponseNetwork, ...]:
    """Return the networks of a fit, one a draw.

    Parameters
    ----------
    model : ResponseModel
        That was fitted.
    result : xarray.DataTree
        Its fit.
    data : LatentTrials
        Trials of the same sizes.

    Raises
    ------
    DataError
        If the result holds no weights.
    """
    if "posterior" not in result.children or "weights" not in result["posterior"]:
        raise DataError("`result` holds no `weights` in its posterior. Fit a ResponseModel first.")
    weights = np.asarray(result["posterior/weights"].values).reshape(
        -1, result["posterior"].sizes["weight"]
    )
    return tuple(network_at(model, row, data) for row in weights)


def response_cache(
    model: ResponseModel, result: xr.DataTree, data: LatentTrials, patterns: PatternSet
) -> ResponseCache:
    """Return predictions of a fit for all patterns, ready for decisions.

    Parameters
    ----------
    model, result, data
        As of `ensemble_networks`.
    patterns : PatternSet
        Over the same candidates.

    Returns
    -------
    ResponseCache
    """
    networks = ensemble_networks(model, result, data)
    parts = []
    with torch.no_grad():
        for network in networks:
            pieces = [
                torch.as_tensor(network.pattern_part(grids)).expand(len(grids), model.width)
                for grids in _grids(data, patterns).split(1024)
            ]
            parts.append(torch.cat(pieces).float().numpy())
    weights = np.stack([_numpy(n.out.weight) for n in networks])
    offsets = np.stack([_numpy(n.out.bias) for n in networks])
    return ResponseCache(np.stack(parts), _encoder(model, networks), weights, offsets)


def member_predictions(
    model: ResponseModel, result: xr.DataTree, data: LatentTrials, patterns: PatternSet
) -> tuple[Predict, ...]:
    """Return each member's prediction as a function of patterns and states before them.

    Parameters
    ----------
    model, result, data, patterns
        As of `response_cache`.

    Returns
    -------
    tuple of callable
        Of patterns (trial,) and states (trial, bin, latent), to latents (trial, latent).
    """
    grids = _grids(data, patterns).split(1024)
    bins = data.before.shape[1] if model.state is None else model.state.bins

    def of(network: ResponseNetwork) -> Predict:
        with torch.no_grad():
            pieces = [torch.as_tensor(network.pattern_part(g)) for g in grids]
            part = torch.cat(
                [p.expand(len(g), model.width) for p, g in zip(pieces, grids, strict=True)]
            )

        def predict(chosen: NDArray[np.int64], before: Floats) -> Floats:
            states = torch.tensor(before[:, -bins:]).float()
            with torch.no_grad():
                joint = torch.relu(part[torch.tensor(chosen)] + network.state_part(states))
                found: Floats = network.out(joint).double().numpy()
            return found

        return predict

    return tuple(of(network) for network in ensemble_networks(model, result, data))


def batch_prediction(
    model: ResponseModel, result: xr.DataTree, data: LatentTrials, patterns: PatternSet
) -> Predict:
    """Return the mean of `member_predictions`, which behavioural cloning makes its data with."""
    members = member_predictions(model, result, data, patterns)

    def predict(chosen: NDArray[np.int64], before: Floats) -> Floats:
        mean: Floats = np.mean([member(chosen, before) for member in members], axis=0)
        return mean

    return predict


def _grids(data: LatentTrials, patterns: PatternSet) -> torch.Tensor:
    grids = np.zeros((len(patterns), data.grid[0] * data.grid[1]), dtype=np.float32)
    grids[:, data.candidates] = patterns.marks
    return torch.tensor(grids.reshape(len(patterns), *data.grid))


def _encoder(model: ResponseModel, networks: tuple[ResponseNetwork, ...]) -> StateEncoder:
    """Return the state parts of networks in numpy."""
    if model.state is None:
        return NoState((len(networks), model.width))
    out = _layer([n.from_state for n in networks])
    if isinstance(model.state, StateLSTM):
        memories: list[Any] = [n.state.lstm for n in networks]  # type: ignore[union-attr]
        return RecurrentEncoder(
            np.stack([_numpy(m.weight_ih_l0) for m in memories]),
            np.stack([_numpy(m.weight_hh_l0) for m in memories]),
            np.stack([_numpy(m.bias_ih_l0 + m.bias_hh_l0) for m in memories]),
            out, model.state.bins,
        )  # fmt: skip
    states: list[Any] = [n.state for n in networks]
    first, second = (_layer([state[place] for state in states]) for place in (1, 3))
    return DenseEncoder([first, second, out], model.state.bins)


def _layer(layers: list[nn.Linear | None]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    held = [layer for layer in layers if layer is not None]
    return (
        np.stack([_numpy(layer.weight) for layer in held]),
        np.stack([_numpy(layer.bias) for layer in held]),
    )


def _numpy(values: torch.Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = values.detach().float().numpy().copy()
    return array
