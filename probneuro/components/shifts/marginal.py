"""The exact likelihood of a recording with the group element summed out, by one FFT."""

import math

import torch
from torch import Tensor

from probneuro.components.shifts.electrode_group import ElectrodeGroup
from probneuro.components.shifts.likelihood import OrbitLikelihood
from probneuro.components.shifts.orbit import orbit_inner_products


def group_log_likelihoods(
    likelihood: OrbitLikelihood, x: Tensor, output: Tensor, group: ElectrodeGroup
) -> Tensor:
    """Return the log likelihood of ``x`` given every element of the orbit of the output.

    .. math:: \\log p(x \\mid g h) = \\langle T(x), g \\, a(h) \\rangle - \\sum A(h) + \\sum b(x)

    Parameters
    ----------
    likelihood : OrbitLikelihood
        Gaussian, Bernoulli, Poisson or negative binomial.
    x : Tensor
        Recordings, shape (..., electrode, time).
    output : Tensor
        What the decoder puts out, shape (..., electrode, time).
    group : ElectrodeGroup
        The permutations.

    Returns
    -------
    Tensor
        Shape (..., permutation, shift).

    Examples
    --------
    >>> from probneuro.components.shifts import PoissonCounts, no_permutation
    >>> x = torch.tensor([[0.0, 3.0, 0.0]])
    >>> table = group_log_likelihoods(PoissonCounts(), x, (x + 0.1).log(), no_permutation(1))
    >>> int(table.argmax())
    0
    """
    products = orbit_inner_products(likelihood.natural(output), likelihood.statistic(x), group)
    still = likelihood.base(x).sum((-2, -1)) - likelihood.normaliser(output).sum((-2, -1))
    return products + still[..., None, None]


def group_log_likelihood(
    likelihood: OrbitLikelihood, x: Tensor, output: Tensor, group: ElectrodeGroup
) -> Tensor:
    """Return the log likelihood of ``x`` with the element, uniform on the group, summed out.

    .. math:: \\log p(x \\mid h) = \\log \\frac{1}{|G|} \\sum_g p(x \\mid g h)

    Parameters and limits as in `group_log_likelihoods`.

    Returns
    -------
    Tensor
        Shape (...).

    Examples
    --------
    >>> from probneuro.components.shifts import BernoulliCounts, no_permutation
    >>> x, flat = torch.ones(1, 4), torch.zeros(1, 4)
    >>> group_log_likelihood(BernoulliCounts(), x, flat, no_permutation(1)).exp()
    tensor(0.0625)
    """
    table = group_log_likelihoods(likelihood, x, output, group).flatten(-2)
    return torch.logsumexp(table, -1) - math.log(table.shape[-1])


def group_log_posterior(
    likelihood: OrbitLikelihood, x: Tensor, output: Tensor, group: ElectrodeGroup
) -> Tensor:
    """Return the log of the exact posterior of the element, ``log q(g | x, h)``.

    Returns
    -------
    Tensor
        Shape (..., element), elements numbered ``p * D + s``; each row sums to one in
        probability.
    """
    return group_log_likelihoods(likelihood, x, output, group).flatten(-2).log_softmax(-1)
