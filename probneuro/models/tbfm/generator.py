"""Bases that a network makes out of the pulses: any timing, amplitude or site."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, final

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.signal import lfilter
from torch import Tensor, nn

from probneuro.components.stim_descriptor import StimDescriptor
from probneuro.core import names
from probneuro.core.errors import DataError, SettingError
from probneuro.core.rng import torch_seed
from probneuro.data import StimTrials
from probneuro.models.tbfm.closed_form import FitOptions, selected_penalties
from probneuro.models.tbfm.design import (
    Design,
    Scaling,
    check_channels,
    check_shape,
    design_of,
    scaling_of,
)
from probneuro.models.tbfm.network_result import fill_network, network_tree, read_network_tree
from probneuro.models.tbfm.reduced_rank import compression_of, moments_of
from probneuro.models.tbfm.ridge import OwnCrossRidge

Floats = NDArray[np.float64]

TRACES = (3.0, 8.0, 20.0, 50.0, 120.0)
"""Time constants of the traces of a pulse, in samples."""

_KIND = "variable_projection"

MOST_TARGETS = 4000
"""Pulse patterns times temporal components that one fit may hold."""


@final
class BasisGenerator(nn.Module):
    """A network from a stimulation descriptor to temporal bases.

    Parameters
    ----------
    num_columns, horizon : int
        Size of the descriptor.
    num_bases : int
        Bases.
    depth, width : int
        Hidden layers, and units in each.
    per_sample : bool
        Whether one network makes every sample of the bases from the clock and traces of the
        pulses so far, so that what it learns of one timing holds for others; if not, the whole
        descriptor goes in and whole bases come out, as in the paper.

    Notes
    -----
    Source: Bryan et al. (2025), section 6.2.2: four layers of width four with tanh.
    """

    def __init__(
        self,
        num_columns: int,
        horizon: int,
        num_bases: int,
        depth: int = 4,
        width: int = 4,
        per_sample: bool = False,
    ) -> None:
        super().__init__()
        self.sizes = {
            "num_columns": num_columns, "horizon": horizon, "num_bases": num_bases,
            "depth": depth, "width": width, "per_sample": per_sample,
        }  # fmt: skip
        self.shape, self.per_sample = (num_bases, horizon), per_sample
        inputs = 1 + (num_columns - 1) * len(TRACES) if per_sample else num_columns * horizon
        sizes = [inputs, *[width] * depth]
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.Tanh()]
        layers.append(nn.Linear(width, num_bases * (1 if per_sample else horizon)))
        self.layers = nn.Sequential(*layers)

    def forward(self, descriptor: Tensor) -> Tensor:
        """Return bases (pattern, basis, horizon) of descriptors (pattern, horizon, column)."""
        if self.per_sample:
            each: Tensor = self.layers(_traces(descriptor))
            return each.transpose(1, 2)
        out: Tensor = self.layers(descriptor.flatten(1))
        return out.unflatten(1, self.shape)


def _traces(descriptor: Tensor) -> Tensor:
    """Return the clock and leaky traces of every pulse, shape (pattern, horizon, trace)."""
    pulses = descriptor[:, :, 1:].numpy()
    parts = [descriptor[:, :, :1]]
    for samples in TRACES:
        keep = float(np.exp(-1 / samples))
        parts.append(torch.as_tensor(lfilter([1.0], [1.0, -keep], pulses, axis=1)))
    return torch.cat(parts, dim=2)


@final
@dataclass(frozen=True, kw_only=True)
class VariableProjection:
    r"""Fits a generator of bases, the weights being solved exactly at every step.

    .. math::

        \max_\theta \sum_{d, d'} \mathrm{tr}\big(B_d(\theta)\, S_{d d'} B_{d'}(\theta)^\top\big),
        \qquad B_d B_d^\top = I

    with S the moments of responses under patterns d and d' through the ridge regressions: data
    are passed once, however many steps follow.

    Parameters
    ----------
    num_bases : int
        Bases.
    own, cross : float or None
        Penalties a trial; None chooses both on held-out trials, by the closed form.
    steps : int
        Gradient steps; in all, or for each basis where `stagewise`.
    learning_rate : float
        Adam's, falling to nothing along a cosine.
    depth, width : int
        Of the network.
    per_sample : bool
        Whether the network goes over the samples one by one, which is what forecasts of timings
        that were never given need; see `BasisGenerator`.
    stagewise : bool
        Add one basis at a time, each with a network of its own, and keep those before (the
        paper's forward stagewise additive modelling; weights stay free).

    Raises
    ------
    SettingError
        If a size is below 1.

    Examples
    --------
    >>> from probneuro.simulators.stim_lfp import simulate_paired_pulses
    >>> trials = simulate_paired_pulses(120, 2, interval=(0.01, 0.05), seed=1).trials
    >>> fitted = VariableProjection(num_bases=3, steps=20).fit(trials, seed=1)
    >>> fitted.forecast_runways(trials.runways[:4], [[0.04, 0.03 + 0.04]]).shape
    (4, 2, 164)
    """

    num_bases: int = 15
    own: float | None = None
    cross: float | None = None
    steps: int = 1500
    learning_rate: float = 0.01
    depth: int = 4
    width: int = 4
    per_sample: bool = False
    stagewise: bool = False

    def __post_init__(self) -> None:
        for name in ("num_bases", "steps", "depth", "width"):
            if getattr(self, name) < 1:
                raise SettingError(f"`{name}` must be at least 1; got {getattr(self, name)!r}.")

    def fit(self, trials: StimTrials, *, seed: int = 0) -> "GeneratedForecaster":
        """Fit to trials.

        Parameters
        ----------
        trials : StimTrials
            What to train on; every pulse pattern that occurs is one row of S.
        seed : int
            Of the network's start.

        Returns
        -------
        GeneratedForecaster

        Raises
        ------
        DataError
            If there are too many patterns to hold.
        """
        scaling = _common_mean(scaling_of(trials), trials)
        design = design_of(trials, scaling)
        own, cross = self._penalties(trials)
        problem = _Problem(design, own * trials.num_trials, cross * trials.num_trials)
        descriptor = StimDescriptor.of(trials)
        known = torch.as_tensor(descriptor(scaling.patterns))
        with torch_seed(seed):
            generators = self._trained(problem, known)
        bases = _bases(generators, known, problem.expand).numpy()
        weight, intercept = problem.solve(bases)
        return GeneratedForecaster(
            scaling=scaling, generators=generators, weight=weight, intercept=intercept,
            components=problem.expand, descriptor=descriptor,
        )  # fmt: skip

    def _penalties(self, trials: StimTrials) -> tuple[float, float]:
        if self.own is not None and self.cross is not None:
            return self.own, self.cross
        chosen = selected_penalties(
            trials, FitOptions(num_bases=self.num_bases, own=self.own, cross=self.cross)
        )
        return chosen.own, chosen.cross

    def _trained(self, problem: "_Problem", known: Tensor) -> list[BasisGenerator]:
        """Train all bases at once, or one network a basis after the other."""
        parts = [1] * self.num_bases if self.stagewise else [self.num_bases]
        columns, horizon = known.shape[2], known.shape[1]
        done: list[BasisGenerator] = []
        for size in parts:
            fresh = BasisGenerator(
                columns, horizon, size, self.depth, self.width, self.per_sample
            ).double()
            done.append(fresh)
            optimiser = torch.optim.Adam(fresh.parameters(), lr=self.learning_rate)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
            for _ in range(self.steps):
                optimiser.zero_grad()
                loss = -problem.explained(_bases(done, known, problem.expand))
                loss.backward()
                optimiser.step()
                schedule.step()
            for parameter in fresh.parameters():
                parameter.requires_grad_(False)
        return done


@final
class _Problem:
    """The moments that variable projection needs of its data."""

    def __init__(self, design: Design, own: float, cross: float) -> None:
        self._design, self._penalties = design, (own, cross)
        self._ridge = OwnCrossRidge(design.features, design.scaling.runway)
        compression = compression_of(design.targets)
        kept = compression.components
        self.expand = None if kept is None else np.ascontiguousarray(kept)
        targets = compression.apply(design.targets)
        patterns, size = len(design.scaling.patterns), targets.shape[2]
        if patterns * size > MOST_TARGETS:
            raise DataError(
                f"`trials` hold {patterns} pulse patterns, too many to keep apart: {size} temporal "
                f"components each, {MOST_TARGETS} in all. Round onsets and amplitudes."
            )
        rows = [design.pattern == k for k in range(patterns)]
        moments = [moments_of(design.features[r], targets[r]) for r in rows]
        sums = np.concatenate([targets[r].sum(0) for r in rows], axis=1)
        rotated = self._ridge.rotate(np.concatenate(moments, axis=2))
        found = self._ridge.explained(rotated, own, cross) + sums.T @ sums / len(targets)
        self._table = torch.as_tensor(found / float((targets**2).sum()))
        self._patterns = patterns

    def explained(self, bases: Tensor) -> Tensor:
        """Return the share of the responses that bases (pattern, basis, time) explain."""
        if self.expand is not None:
            bases = bases @ torch.as_tensor(self.expand).T
        flat = bases.transpose(0, 1).flatten(1)
        return (flat @ self._table * flat).sum()

    def solve(self, bases: Floats) -> tuple[Floats, Floats]:
        """Return weights (channel, feature, basis) and intercepts (channel, basis)."""
        design = self._design
        projected = np.einsum("nct,nbt->ncb", design.targets, bases[design.pattern], optimize=True)
        mean = projected.mean(0)
        weight = self._ridge.solve(moments_of(design.features, projected - mean), *self._penalties)
        # In one order in memory, as a file gives it back: sums are then the same to the last bit.
        weight = np.ascontiguousarray(weight.transpose(1, 0, 2))
        weight[~design.scaling.alive] = 0.0
        return weight, mean


@final
@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class GeneratedForecaster:
    """Forecasts with bases made for the pulses at hand, also such as were never given.

    Parameters
    ----------
    scaling : Scaling
        From the training trials, with one mean runway for all patterns.
    generators : list of BasisGenerator
        Networks, whose bases stand one after the other.
    weight, intercept : ndarray
        Shapes (channel, feature, basis) and (channel, basis).
    components : ndarray or None
        Temporal components that bases stay within, shape (component, horizon).
    descriptor : StimDescriptor
        What the networks are told of pulses.
    """

    scaling: Scaling
    generators: list[BasisGenerator]
    weight: Floats
    intercept: Floats
    components: Floats | None
    descriptor: StimDescriptor

    def to_tree(self) -> xr.DataTree:
        """Return it as a tree, which `probneuro.save` writes."""
        estimates = {
            "weight": ((names.CHANNEL, names.FEATURE, names.BASIS), self.weight),
            "intercept": ((names.CHANNEL, names.BASIS), self.intercept),
        }
        if self.components is not None:
            estimates["components"] = (("component", names.HORIZON), self.components)
        networks = {f"generator_{i}": network for i, network in enumerate(self.generators)}
        settings = {"generators": [network.sizes for network in self.generators]}
        return network_tree(
            _KIND, networks, settings, self.scaling, self.descriptor, estimates
        )  # fmt: skip

    @classmethod
    def from_tree(cls, tree: xr.DataTree) -> "GeneratedForecaster":
        """Return what `to_tree` told, as it was or read back from a file.

        Parameters
        ----------
        tree : DataTree
            The tree.

        Raises
        ------
        DataError
            If it is of another kind, or was changed.
        """
        _, settings, scaling, descriptor = read_network_tree(tree, (_KIND,))
        generators = [BasisGenerator(**sizes).double() for sizes in settings["generators"]]
        for number, generator in enumerate(generators):
            fill_network(generator, tree, f"generator_{number}")
        found = tree[names.PARAMETERS].to_dataset()
        return cls(
            scaling=scaling, generators=generators, weight=found["weight"].values,
            intercept=found["intercept"].values, descriptor=descriptor,
            components=found["components"].values if "components" in found else None,
        )  # fmt: skip

    def bases(self, patterns: ArrayLike) -> Floats:
        """Return orthonormal bases of pulse patterns, shape (pattern, basis, horizon).

        Parameters
        ----------
        patterns : array_like
            Onsets in seconds from the trial's start (then amplitudes and sites, where trained
            on), shape (pattern, pulse descriptor).

        Raises
        ------
        DataError
            If columns or sites are not those of the training trials.
        """
        known = torch.as_tensor(self.descriptor(patterns))
        found: Floats = _bases(self.generators, known, self.components).detach().numpy()
        return found

    def forecast(self, trials: StimTrials) -> Floats:
        """Return the expected responses, shape (trial, channel, horizon)."""
        check_channels(trials, self.scaling)
        return self.forecast_runways(trials.runways, trials.patterns[trials.pattern_of_trial])

    def forecast_runways(self, runways: ArrayLike, patterns: ArrayLike) -> Floats:
        """Return the expected responses to runways under pulses.

        Parameters
        ----------
        runways : array_like
            Shape (trial, channel, runway).
        patterns : array_like
            Shape (trial, pulse descriptor), or one row for all trials.

        Returns
        -------
        ndarray
            Shape (trial, channel, horizon).
        """
        values = np.asarray(runways, dtype=np.float64)
        check_shape(values.shape[1], values.shape[2], self.scaling)
        rows = np.atleast_2d(np.asarray(patterns, dtype=np.float64))
        filled = np.where(np.isnan(rows), np.inf, rows)
        different, index = np.unique(filled, axis=0, return_inverse=True)
        bases = self.bases(np.where(np.isinf(different), np.nan, different))
        index = np.broadcast_to(index.reshape(-1), (len(values),))
        features = self.scaling.features(values, np.zeros(len(values), dtype=np.int64))
        path = np.tensordot(features, self.weight, (1, 1)) + self.intercept
        moved: Floats = np.einsum("ncb,nbt->nct", path, bases[index], optimize=True)
        return values[:, :, -1:] + self.scaling.scale[:, None] * moved


def _bases(generators: list[BasisGenerator], known: Tensor, components: Any) -> Tensor:
    """Return bases (pattern, basis, horizon), orthonormal within each pattern.

    One network's bases are made so together; a later network's bases are made orthogonal to those
    before, which stay what they are.
    """
    parts: list[Tensor] = []
    for generator in generators:
        fresh: Tensor = generator(known)
        if components is not None:
            # Within the components that the moments were taken in, as the optimum is.
            table = torch.as_tensor(components)
            fresh = fresh @ table.T @ table
        for before in parts:
            fresh = fresh - fresh @ before.transpose(1, 2) @ before
        parts.append(_orthonormal(fresh))
    return torch.cat(parts, dim=1)


def _orthonormal(bases: Tensor) -> Tensor:
    """Return orthonormal rows of the same span; any basis of it explains as much."""
    gram = bases @ bases.transpose(1, 2)
    eye = torch.eye(gram.shape[1], dtype=gram.dtype)
    mean = gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    lower = torch.linalg.cholesky(gram + 1e-9 * mean * eye)
    return torch.linalg.solve_triangular(lower, bases, upper=False)


def _common_mean(scaling: Scaling, trials: StimTrials) -> Scaling:
    """Return a scaling with the same mean runway for every pattern: all share the weights."""
    counts = np.bincount(trials.pattern_of_trial, minlength=len(scaling.patterns))
    mean = counts @ scaling.feature_mean / counts.sum()
    return replace(scaling, feature_mean=np.tile(mean, (len(scaling.patterns), 1)))
