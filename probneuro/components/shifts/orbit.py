"""The action of shifts and permutations, and the nearest element of an orbit, by one FFT.

An element is a pair (p, s): ``(g x)[e, t] = x[permutation_p[e], (t - s) mod D]``. Its number is
``p * D + s``; ties go to the lowest number.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from probneuro.components.shifts.electrode_group import ElectrodeGroup
from probneuro.core.errors import DataError, SettingError

_TIE_ROUNDING = 64.0
"""Inner products nearer than this many units of rounding to the best one count as equal to it."""


def check_recordings(name: str, x: Tensor, group: ElectrodeGroup) -> None:
    """Raise unless a tensor has the shape (..., electrode, time) of the group.

    Raises
    ------
    DataError
        If it does not.
    """
    if x.ndim < 2 or x.shape[-2] != group.num_electrodes:
        raise DataError(
            f"`{name}` must have shape (..., {group.num_electrodes}, time) for a group of "
            f"{group.num_electrodes} electrodes; got {tuple(x.shape)}. Transpose it, or build the "
            "group for its electrodes."
        )


def permutation_table(group: ElectrodeGroup, device: torch.device) -> Tensor:
    """Return the group's permutations as a tensor, shape (permutation, electrode)."""
    return torch.as_tensor(group.table(), device=device)


def act(x: Tensor, group: ElectrodeGroup, element: Tensor) -> Tensor:
    """Return ``g x``, one element a recording.

    Parameters
    ----------
    x : Tensor
        Recordings, shape (..., electrode, time).
    group : ElectrodeGroup
        The permutations.
    element : Tensor
        Numbers ``p * D + s``, of a shape that broadcasts with the leading one of ``x``.

    Returns
    -------
    Tensor
        Of the broadcast leading shape and (electrode, time).

    Raises
    ------
    DataError
        If the shape does not fit the group.

    Examples
    --------
    >>> from probneuro.components.shifts import no_permutation
    >>> act(torch.tensor([[1.0, 2.0, 3.0]]), no_permutation(1), torch.tensor(1))
    tensor([[3., 1., 2.]])
    """
    check_recordings("x", x, group)
    electrodes, bins = x.shape[-2:]
    leading = torch.broadcast_shapes(x.shape[:-2], element.shape)
    element = element.expand(leading)
    order = permutation_table(group, x.device)[element // bins]
    time = (torch.arange(bins, device=x.device) - (element % bins)[..., None]) % bins
    index = order[..., :, None] * bins + time[..., None, :]
    flat = x.expand(*leading, electrodes, bins).reshape(*leading, electrodes * bins)
    moved = flat.gather(-1, index.reshape(*leading, electrodes * bins))
    return moved.reshape(*leading, electrodes, bins)


def whole_orbit(x: Tensor, group: ElectrodeGroup, elements: Sequence[int] | None = None) -> Tensor:
    """Return the orbit, or the listed elements of it, one after the other.

    Parameters
    ----------
    x : Tensor
        Shape (..., electrode, time).
    group : ElectrodeGroup
        The permutations.
    elements : sequence of int, optional
        Numbers of elements; all by default. The tensor is as large as they are many.

    Returns
    -------
    Tensor
        Shape (..., element, electrode, time).
    """
    chosen = range(group.num_elements(x.shape[-1])) if elements is None else elements
    numbers = torch.as_tensor(list(chosen), device=x.device)
    return act(x[..., None, :, :], group, numbers)


def orbit_inner_products(x: Tensor, y: Tensor, group: ElectrodeGroup) -> Tensor:
    """Return the inner product of ``y`` with every element of the orbit of ``x``.

    .. math:: c_{p, s} = \\sum_{e, t} x_{p(e), t - s} \\, y_{e, t}

    by one FFT of each; no orbit is built.

    Parameters
    ----------
    x, y : Tensor
        Shape (..., electrode, time), leading shapes that broadcast.
    group : ElectrodeGroup
        The permutations.

    Returns
    -------
    Tensor
        Shape (..., permutation, shift).

    Raises
    ------
    DataError
        If the shapes do not fit the group or each other.

    Examples
    --------
    >>> from probneuro.components.shifts import no_permutation
    >>> x = torch.tensor([[1.0, 0.0, 0.0]])
    >>> orbit_inner_products(x, torch.tensor([[5.0, 6.0, 7.0]]), no_permutation(1)).round()
    tensor([[5., 6., 7.]])
    """
    check_recordings("x", x, group)
    check_recordings("y", y, group)
    bins = x.shape[-1]
    if y.shape[-1] != bins:
        raise DataError(
            f"`x` and `y` must have the same number of bins; got {bins} and {y.shape[-1]}. "
            "Bin them alike."
        )
    spectrum_x, spectrum_y = torch.fft.rfft(x).conj(), torch.fft.rfft(y)
    table = permutation_table(group, x.device)
    # One permutation at a time: memory stays that of one product, and groups are small.
    cross = [(spectrum_x[..., order, :] * spectrum_y).sum(-2) for order in table]
    return torch.fft.irfft(torch.stack(cross, dim=-2), n=bins)


def align(x: Tensor, y: Tensor, group: ElectrodeGroup) -> tuple[Tensor, Tensor]:
    """Return the element of the orbit of ``x`` nearest to ``y``, and its number.

    .. math:: g^* = \\arg\\min_g \\lVert g x - y \\rVert^2
                  = \\arg\\max_g \\langle g x, y \\rangle

    The search carries no gradient; the aligned recording does.

    Parameters
    ----------
    x, y : Tensor
        Shape (..., electrode, time), of one shape.
    group : ElectrodeGroup
        The permutations.

    Returns
    -------
    tuple of Tensor
        The aligned recording, shape (..., electrode, time), and the number of the element,
        shape (...). Among equals, to rounding, the lowest number.

    Examples
    --------
    >>> from probneuro.components.shifts import no_permutation
    >>> align(torch.eye(3)[:1], torch.eye(3)[2:], no_permutation(1))[1]
    tensor(2)
    """
    with torch.no_grad():
        products = orbit_inner_products(x, y, group).flatten(-2)
        best = products.amax(-1, keepdim=True)
        size = (x.square().sum((-2, -1)) * y.square().sum((-2, -1))).sqrt()[..., None]
        rounding = _TIE_ROUNDING * torch.finfo(x.dtype).eps * size
        number = (products >= best - rounding).to(torch.uint8).argmax(-1)
    return act(x, group, number), number


def orbit_loss(x: Tensor, y: Tensor, group: ElectrodeGroup) -> Tensor:
    """Return the smallest mean squared error between ``y`` and the orbit of ``x``.

    .. math:: \\rho(x, y) = \\min_g \\frac{1}{E D} \\sum_{e, t} ((g x)_{e, t} - y_{e, t})^2

    The paper's linear assignment loss between orbits is this, times the number of shifts (its
    Lemma A.1); that factor is left out.

    Parameters
    ----------
    x, y : Tensor
        Recording and reconstruction, shape (..., electrode, time).
    group : ElectrodeGroup
        The permutations.

    Returns
    -------
    Tensor
        Shape (...).

    Examples
    --------
    >>> from probneuro.components.shifts import no_permutation
    >>> orbit_loss(torch.eye(3)[:1], torch.eye(3)[2:], no_permutation(1))
    tensor(0.)
    """
    aligned, _ = align(x, y, group)
    return (aligned - y).square().mean((-2, -1))


def orbit_mean_loss(x: Tensor, y: Tensor, group: ElectrodeGroup, temperature: float) -> Tensor:
    """Return the soft minimum over the orbit of the mean squared error.

    .. math:: -T \\log \\frac{1}{|G|} \\sum_g \\exp(-\\mathrm{mse}(g x, y) / T)

    It falls to `orbit_loss` as T goes to 0, and to the mean over the orbit as T grows.

    Raises
    ------
    SettingError
        If ``temperature`` is not positive.
    """
    if not temperature > 0:
        raise SettingError(
            f"`temperature` must be positive; got {temperature!r}. Use orbit_loss for the minimum."
        )
    size = x.shape[-2] * x.shape[-1]
    norms = x.square().sum((-2, -1)) + y.square().sum((-2, -1))
    errors = (norms[..., None] - 2.0 * orbit_inner_products(x, y, group).flatten(-2)) / size
    soft = torch.logsumexp(-errors / temperature, -1) - torch.log(torch.tensor(errors.shape[-1]))
    return -temperature * soft
