"""The question both contrastive encoders are trained on: which halves are of one recording?"""

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from probneuro.core.errors import SettingError


def loss_of_halves(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Return the mean cross-entropy of telling each half's other half among all of a batch.

    Parameters
    ----------
    first, second : Tensor
        Embeddings of the two halves, shape (recording, latent); only their directions count.
    temperature : float
        By which cosines are divided.

    Returns
    -------
    Tensor
        The mean over recordings and over both directions.

    Examples
    --------
    >>> loss_of_halves(torch.eye(2), torch.eye(2), 0.01)
    tensor(0.)
    """
    alike = normalize(first, dim=-1) @ normalize(second, dim=-1).T / temperature
    own = torch.arange(len(alike), device=alike.device)
    return 0.5 * (cross_entropy(alike, own) + cross_entropy(alike.T, own))


def check_temperature(temperature: float) -> None:
    """Raise unless the temperature is positive and finite.

    Raises
    ------
    SettingError
        If it is not.
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise SettingError(
            f"`temperature` must be positive; got {temperature!r}. Its default is 0.2."
        )
