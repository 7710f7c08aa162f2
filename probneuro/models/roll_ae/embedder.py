"""What training asks of a model that embeds recordings."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probneuro.components.shifts import ElectrodeGroup, GaussianValues, OrbitLikelihood
from probneuro.core.errors import DataError, SettingError
from probneuro.data.wells import Wells
from probneuro.models.roll_ae.networks import Sizes, Weights


class Embedder(ABC):
    """A model with weights of its own that maps a recording to an embedding."""

    name: str
    latent: int
    least_recordings: int = 1
    """How many a training step needs; to embed, one is enough."""

    def inputs(self, wells: Wells, seed: int | None = None) -> Tensor:
        """Return what the encoder sees before it is scaled, recordings first.

        Parameters
        ----------
        wells : Wells
            The recordings.
        seed : int, optional
            Of what is drawn for training; without one, what embedding alone needs.

        Returns
        -------
        Tensor
            Values if the noise is normal, else logs of counts and one; float64.
        """
        counts = torch.as_tensor(np.asarray(wells.counts, dtype=np.float64))
        return counts if isinstance(self.noise(), GaussianValues) else torch.log1p(counts)

    def scale(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return what the training's inputs are scaled by, and all others: mean and spread.

        Raises
        ------
        DataError
            If nothing varies.
        """
        mean, sd = inputs.mean(), inputs.std()
        if not sd > 0:
            raise nothing_to_learn()
        return {"mean": mean, "sd": sd}

    def scaled(self, inputs: Tensor, scale: Mapping[str, Tensor]) -> Tensor:
        """Return inputs as the networks see them."""
        return (inputs - scale["mean"]) / scale["sd"]

    @abstractmethod
    def sizes(self, wells: Wells) -> Sizes:
        """Return the sizes of the networks for these recordings."""

    @abstractmethod
    def shapes(self, sizes: Sizes) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all weights by name."""

    @abstractmethod
    def encode(
        self, weights: Weights, x: Tensor, sizes: Sizes, elements: Tensor | None = None
    ) -> Tensor:
        """Return embeddings, shape (recording, latent)."""

    @abstractmethod
    def loss(
        self,
        weights: Weights,
        x: Tensor,
        seen: Tensor,
        sizes: Sizes,
        stream: torch.Generator | None,
    ) -> Tensor:
        """Return the mean loss of some recordings.

        Parameters
        ----------
        weights : mapping of str to Tensor
            As `shapes` names them.
        x, seen : Tensor
            What the noise is about, and what the encoder sees; shape (recording, electrode, time).
        sizes : Sizes
            Of the networks.
        stream : torch.Generator or None
            Source of what a step draws; None for a loss that is the same at every call.
        """

    @abstractmethod
    def noise(self) -> OrbitLikelihood | None:
        """Return the likelihood of a recording, None for a model that has none."""

    @abstractmethod
    def attributes(self) -> Mapping[str, Any]:
        """Return the settings as plain values."""


class Reconstructs(Embedder):
    """An embedder with a decoder, so that recordings have a likelihood."""

    @abstractmethod
    def log_likelihood(
        self, weights: Weights, x: Tensor, embedding: Tensor, sizes: Sizes
    ) -> Tensor:
        """Return the log likelihood of recordings, shape (recording,)."""


def check_training(model: Embedder, num_recordings: int, batch_size: int) -> None:
    """Raise unless there are as many recordings, in all and in a step, as the model learns from.

    Raises
    ------
    DataError
        If there are too few recordings.
    SettingError
        If a step has too few.
    """
    least = model.least_recordings
    if num_recordings < least:
        raise DataError(
            f"`wells` has {num_recordings} recordings; {model.name} tells {least} or more from "
            "each other. Read more recordings, or pass RollAE."
        )
    if batch_size < least:
        raise SettingError(
            f"`batch_size` must be {least} or more for {model.name}, which tells the recordings "
            f"of a batch from each other; got {batch_size}."
        )


def nothing_to_learn() -> DataError:
    """Return the error of recordings that are all alike."""
    return DataError(
        "`wells` has the same count everywhere, so there is nothing to learn. Check how it was "
        "binned."
    )


def check_electrodes(wells: Wells, group: ElectrodeGroup) -> None:
    """Raise unless the group permutes the electrodes of the recordings.

    Raises
    ------
    DataError
        If it does not.
    """
    if wells.counts.shape[1] != group.num_electrodes:
        raise DataError(
            f"`wells` has {wells.counts.shape[1]} electrodes, the group permutes "
            f"{group.num_electrodes}. Pass RollAE(group=grid_symmetries(4, 4)) for 16, or "
            "symmetries_of_positions(...) for any layout."
        )
