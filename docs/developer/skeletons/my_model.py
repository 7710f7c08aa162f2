"""Skeleton of a model: copy it, rename it, put your own generative program in."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from numpy.typing import NDArray
from pyro.infer.autoguide import AutoNormal

from probneuro.core.model import Model, Reference
from probneuro.core.names import NEURON


@final
class MyModel(Model):
    r"""Poisson spike counts with one rate a neuron.

    .. math:: \lambda_n \sim \mathrm{Gamma}(2, 0.1/\mathrm{Hz}), \qquad
        s_{t,n} \sim \mathrm{Poisson}(\lambda_n \Delta t)

    Parameters
    ----------
    bin_width : float
        Width of a bin in seconds.
    """

    name = "my_model"
    references: tuple[Reference, ...] = ()

    def __init__(self, bin_width: float) -> None:
        self.bin_width = bin_width

    def model(self, data: NDArray[np.int64]) -> Any:
        """Run the generative program on counts of shape (time, neuron)."""
        counts = torch.as_tensor(data, dtype=torch.float64)
        shape, rate = torch.tensor(2.0, dtype=torch.float64), torch.tensor(0.1, dtype=torch.float64)
        with pyro.plate(NEURON, counts.shape[1], dim=-1):
            rates = pyro.sample("rate", dist.Gamma(shape, rate))
            with pyro.plate("time", counts.shape[0], dim=-2):
                pyro.sample("spike_count", dist.Poisson(rates * self.bin_width), obs=counts)
        return rates

    def guide(self, data: NDArray[np.int64]) -> Any:
        """Run the guide; an autoguide is fine where none is better."""
        return AutoNormal(self.model)(data)

    def dims(self) -> Mapping[str, Sequence[str]]:
        """Return the named dimensions of every site."""
        return {"rate": (NEURON,), "spike_count": ("time", NEURON)}

    def coords(self, data: NDArray[np.int64]) -> Mapping[str, Any]:
        """Return the labels of every dimension."""
        return {
            NEURON: [str(n) for n in range(data.shape[1])],
            "time": np.arange(data.shape[0]) * self.bin_width,
        }
