"""Skeleton of a model's test: the program's density against a closed form."""

import numpy as np
import pyro
import scipy.stats
import torch
from my_model import MyModel


def test_density_is_that_of_the_equations() -> None:
    counts = np.array([[1, 0], [2, 1], [0, 0]])
    rates = np.array([5.0, 20.0])
    model = MyModel(bin_width=0.1)
    conditioned = pyro.condition(model.model, data={"rate": torch.from_numpy(rates)})
    trace = pyro.poutine.trace(conditioned).get_trace(counts)
    expected = scipy.stats.gamma(2.0, scale=10.0).logpdf(rates).sum()
    expected += scipy.stats.poisson(rates * 0.1).logpmf(counts).sum()
    np.testing.assert_allclose(float(trace.log_prob_sum()), expected, rtol=1e-10)


def test_every_site_has_its_dimensions() -> None:
    counts = np.array([[1, 0], [2, 1], [0, 0]])
    model = MyModel(bin_width=0.1)
    coords = model.coords(counts)
    assert {dim for dims in model.dims().values() for dim in dims} == set(coords)
    assert [len(coords[dim]) for dim in model.dims()["spike_count"]] == [3, 2]
