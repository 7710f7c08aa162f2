"""Exact posteriors: an engine that only asks the model for its own closed form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from probneuro.core.closed_form import ClosedFormPosterior, HasClosedForm
from probneuro.core.engine import Arrays, Engine, RunOptions
from probneuro.core.errors import CapabilityError, SettingError
from probneuro.core.names import CONSTANT_DATA, PARAMETERS
from probneuro.core.results import FIT_HISTORY, build_result
from probneuro.core.rng import generator

_GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class ClosedForm(Engine):
    """Fits a model whose posterior is known exactly; draws are exact and independent.

    Point estimates stand in group ``parameters`` whatever the size of the model; draws in group
    ``posterior``, where all that were asked for fit into `max_gib`.

    Parameters
    ----------
    max_gib : float
        Memory that draws may take, in GiB. Beyond it the result has no group ``posterior``: the
        exact moments are in ``parameters`` and ``constant_data``. 0 for none at all.

    Raises
    ------
    SettingError
        If the memory is negative.

    Examples
    --------
    >>> from probneuro import infer
    >>> from probneuro.models.tbfm import TBFM
    >>> from probneuro.simulators.stim_lfp import simulate_ou
    >>> trials = simulate_ou(60, 2, seed=1).trials
    >>> result = infer(TBFM(num_bases=2), trials, engine=ClosedForm(), draws=5, chains=2, seed=1,
    ...                progress=False)
    >>> result.posterior["coefficient"].dims
    ('chain', 'draw', 'channel', 'regressor', 'basis')
    """

    max_gib: float = 0.25

    def __post_init__(self) -> None:
        if not self.max_gib >= 0:
            raise SettingError(
                f"`max_gib` must not be negative; got {self.max_gib!r}. Pass e.g. 1.0."
            )

    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        """Ask the model for its posterior, and draw from it."""
        if not isinstance(model, HasClosedForm):
            raise CapabilityError(
                f"ClosedForm needs a model whose posterior is known exactly; "
                f"{type(model).__name__} says no such thing. Use NUTS() or SVI()."
            )
        posterior = model.closed_form(*args, **kwargs)
        groups: dict[str, Mapping[str, Any]] = dict(options.groups)
        groups[PARAMETERS] = {k: v[None, None] for k, v in posterior.parameters().items()}
        groups[CONSTANT_DATA] = {**groups.get(CONSTANT_DATA, {}), **posterior.constants()}
        groups[FIT_HISTORY] = posterior.history()
        return build_result(
            self._draws(posterior, options), dims=options.dims, coords=options.coords, groups=groups
        )

    def _draws(self, posterior: ClosedFormPosterior, options: RunOptions) -> Arrays:
        """Return all draws, (chain, draw, ...), or none where they take too much memory."""
        size = posterior.draw_size() * options.draws * options.chains
        if size > self.max_gib * _GIB:
            return {}
        rows = []
        for chain in range(options.first_chain, options.first_chain + options.chains):
            rng = generator(options.seed, "chain", chain)
            rows.append([posterior.draw(rng) for _ in range(options.draws)])
        names = rows[0][0]
        return {n: np.stack([np.stack([d[n] for d in row]) for row in rows]) for n in names}
