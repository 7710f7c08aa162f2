"""Training of the inverse model: behavioural cloning, and clipped updates from trials."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probneuro.control.adaptive import Trial
from probneuro.control.inverse_network import InverseNetwork
from probneuro.control.patterns import PatternSet
from probneuro.core.errors import SettingError
from probneuro.core.rng import generator

Floats = NDArray[np.float64]
Predict = Callable[[NDArray[np.int64], Floats], Floats]
"""Predicted latents of patterns (trial,), by place in a set, and states (trial, bin, latent)."""

_LARGEST_LOG_RATIO: Final = 20.0


@final
@dataclass(frozen=True, kw_only=True)
class Cloning:
    r"""Behavioural cloning of an inverse model from data that the response models make.

    .. math:: L_{BCE} = -[s \log \hat s + (1 - s) \log(1 - \hat s)]

    Parameters
    ----------
    epochs : int
        Most epochs, each of `samples` fresh expert samples and one step. The paper has 100,000.
    samples : int
        Samples an epoch; 15,504 in the paper.
    learning_rate, weight_decay : float
        Of AdamW. The paper does not state this rate.
    validate_every : int
        Epochs between validations by Eq. 12.
    validation : int
        Validation samples.
    patience : int
        Validations without improvement after which training ends.

    Raises
    ------
    SettingError
        If a number is below one.

    Notes
    -----
    Source: Minai et al. (2025), Eq. 9 to 12 and section S5.
    """

    epochs: int = 2000
    samples: int = 15_504
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    validate_every: int = 100
    validation: int = 1000
    patience: int = 20

    def __post_init__(self) -> None:
        for name in ("epochs", "samples", "validate_every", "validation", "patience"):
            if getattr(self, name) < 1:
                raise SettingError(f"`{name}` must be at least 1; got {getattr(self, name)!r}.")

    def fit(
        self,
        network: InverseNetwork,
        predict: Predict,
        states: Floats,
        patterns: PatternSet,
        *,
        seed: int = 0,
    ) -> tuple[InverseNetwork, Floats]:
        """Train a network.

        Parameters
        ----------
        network : InverseNetwork
            To start from.
        predict : callable
            The response models' mean.
        states : ndarray
            Observed states before stimulation, shape (trial, bin, latent).
        patterns : PatternSet
            To draw from.
        seed : int
            Of the samples.

        Returns
        -------
        network : InverseNetwork
            The one with the least validation error.
        errors : ndarray
            Eq. 12 at each validation, shape (validation,).
        """
        rng = generator(seed, "cloning")
        layers = _as_tensors(network)
        optimiser = torch.optim.AdamW(
            [t for pair in layers for t in pair], lr=self.learning_rate,
            weight_decay=self.weight_decay,
        )  # fmt: skip
        held = self._experts(predict, states, patterns, self.validation, rng)
        best, errors, waited = network, [np.inf], 0
        for epoch in range(1, self.epochs + 1):
            target, before, chosen = self._experts(predict, states, patterns, self.samples, rng)
            optimiser.zero_grad()
            logits = _logits(layers, torch.tensor(target).float(), torch.tensor(before).float())
            marks = torch.tensor(patterns.marks[chosen]).float()
            torch.nn.functional.binary_cross_entropy_with_logits(logits, marks).backward()
            optimiser.step()
            if epoch % self.validate_every == 0 or epoch == self.epochs:
                now = _as_network(layers)
                error = inversion_error(now, predict, held[0], held[1], patterns)
                waited = 0 if error < min(errors) else waited + 1
                best = now if waited == 0 else best
                errors.append(error)
                if waited >= self.patience:
                    break
        return best, np.array(errors[1:])

    @staticmethod
    def _experts(
        predict: Predict,
        states: Floats,
        patterns: PatternSet,
        number: int,
        rng: np.random.Generator,
    ) -> tuple[Floats, Floats, NDArray[np.int64]]:
        before = states[rng.integers(len(states), size=number)]
        chosen = rng.integers(len(patterns), size=number)
        return predict(chosen, before), before, chosen


def inversion_error(
    network: InverseNetwork,
    predict: Predict,
    targets: Floats,
    before: Floats,
    patterns: PatternSet,
) -> float:
    r"""Return how far patterns of the inverse model miss what they are chosen for.

    .. math:: \frac1N \sum_k \| z^{targ}_k - f(\hat S_k, Z_k) \|_1

    Parameters
    ----------
    network : InverseNetwork
        The inverse model.
    predict : callable
        The response models' mean.
    targets, before : ndarray
        Shape (trial, latent) and (trial, bin, latent).
    patterns : PatternSet
        Allowed patterns; others are never chosen.

    Notes
    -----
    Source: Minai et al. (2025), Eq. 10 to 12.
    """
    scores = network.suitability(targets, before)
    allowed = patterns.marks.any(axis=0)
    scores = np.where(allowed, scores, -np.inf)
    chosen = np.sort(np.argsort(-scores, axis=1, kind="stable")[:, : patterns.num_stimulated])
    rows = np.array([patterns.index(row) for row in chosen])
    return float(np.abs(targets - predict(rows, before)).sum(axis=1).mean())


@final
@dataclass(frozen=True, kw_only=True)
class ClippedUpdate:
    r"""Clipped policy gradient from the last trials, as in proximal policy optimisation.

    .. math::

        L = \sum_k \sum_{e \in S_k} \min\left(r^e_k A_k,
        \mathrm{clip}(r^e_k, 1 - \varepsilon, 1 + \varepsilon) A_k\right), \quad
        r^e_k = \frac{\pi_\theta(\hat s^e_k)}{\pi_{\theta_{old}}(\hat s^e_k)}, \quad
        A_k = -\|z^{targ} - z^{post}_k\|_1 + b

    Parameters
    ----------
    clip : float
        :math:`\varepsilon_{clip}`.
    baseline : float
        b.
    learning_rate, weight_decay : float
        Of AdamW, which starts afresh with every update.
    epochs : int
        Steps an update. The paper says several.

    Raises
    ------
    SettingError
        If the clip is not between 0 and 1.

    Notes
    -----
    Source: Minai et al. (2025), Eq. 7 and 8 and table S1.
    """

    clip: float = 0.2
    baseline: float = 0.7
    learning_rate: float = 1e-4
    weight_decay: float = 1e-3
    epochs: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.clip < 1:
            raise SettingError(
                f"`clip` must be between 0 and 1; got {self.clip!r}. The paper has 0.15 and 0.2."
            )

    def advantage(self, trial: Trial) -> float:
        """Return A of a trial, Eq. 7."""
        return self.baseline - trial.error

    def objective(
        self, network: InverseNetwork, old: InverseNetwork, trials: Sequence[Trial]
    ) -> float:
        """Return the objective of Eq. 8."""
        with torch.no_grad():
            return float(self._objective(_as_tensors(network), _as_tensors(old), trials))

    def apply(self, network: InverseNetwork, trials: Sequence[Trial]) -> InverseNetwork:
        """Return the network after an update; trials without stimulation teach nothing."""
        useful = [trial for trial in trials if trial.electrodes]
        if not useful:
            return network
        layers, old = _as_tensors(network), _as_tensors(network)
        optimiser = torch.optim.AdamW(
            [t for pair in layers for t in pair], lr=self.learning_rate,
            weight_decay=self.weight_decay,
        )  # fmt: skip
        for _ in range(self.epochs):
            optimiser.zero_grad()
            (-self._objective(layers, old, useful)).backward()
            optimiser.step()
        return _as_network(layers)

    def _objective(
        self,
        layers: list[tuple[Tensor, Tensor]],
        old: list[tuple[Tensor, Tensor]],
        trials: Sequence[Trial],
    ) -> Tensor:
        target = torch.tensor(np.stack([t.target for t in trials])).float()
        before = torch.tensor(np.stack([t.before for t in trials])).float()
        advantage = torch.tensor([self.advantage(t) for t in trials]).float()
        new, fixed = _logits(layers, target, before), _logits(old, target, before).detach()
        # A ratio of sigmoids that are nearly zero is not a number; their logarithms' difference is.
        apart = torch.nn.functional.logsigmoid(new) - torch.nn.functional.logsigmoid(fixed)
        ratio = torch.exp(apart.clamp(-_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO))
        clipped = ratio.clamp(1 - self.clip, 1 + self.clip)
        gains = torch.minimum(ratio * advantage[:, None], clipped * advantage[:, None])
        used = torch.zeros_like(gains)
        for row, trial in enumerate(trials):
            used[row, list(trial.electrodes)] = 1
        return (gains * used).sum()


def _as_tensors(network: InverseNetwork) -> list[tuple[Tensor, Tensor]]:
    return [
        (torch.tensor(w, requires_grad=True), torch.tensor(b, requires_grad=True))
        for w, b in network.layers
    ]


def _as_network(layers: list[tuple[Tensor, Tensor]]) -> InverseNetwork:
    return InverseNetwork(
        tuple((w.detach().numpy().copy(), b.detach().numpy().copy()) for w, b in layers)
    )


def _logits(layers: list[tuple[Tensor, Tensor]], target: Tensor, before: Tensor) -> Tensor:
    value = torch.cat([target, before.flatten(1)], dim=1)
    for number, (weights, offsets) in enumerate(layers):
        value = (torch.relu(value) if number else value) @ weights.T + offsets
    return value
