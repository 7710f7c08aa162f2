"""Ensembles: a model fitted several times, its members taken as draws."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from probneuro.core.engine import Engine, RunOptions
from probneuro.core.ensemble import HasEnsemble
from probneuro.core.errors import CapabilityError, InferenceError
from probneuro.core.results import FIT_HISTORY, build_result


@dataclass(frozen=True, kw_only=True)
class Ensemble(Engine):
    """Every member of a model's ensemble, as one draw of a single chain.

    Members are fitted on different parts of the data, so that their spread says how far the fit
    hangs on what it saw. That is no posterior: with many data it does not shrink as one would.
    ``draws`` and ``chains`` of `probneuro.infer` do not apply.

    Examples
    --------
    >>> from probneuro import infer
    >>> from probneuro.data.latent_trials import LatentTrials
    >>> from probneuro.models.omiso import ResponseModel
    >>> rng = np.random.default_rng(0)
    >>> trials = LatentTrials(rng.random((40, 4)) < 0.5, rng.normal(size=(40, 5, 2)),
    ...                       rng.normal(size=(40, 2)), session=np.arange(40) % 2)
    >>> result = infer(ResponseModel(epochs=1), trials, engine=Ensemble(), seed=1, progress=False)
    >>> result.posterior.sizes["draw"]
    2
    """

    def run(
        self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: RunOptions
    ) -> xr.DataTree:
        """Fit every member and return the result."""
        if not isinstance(model, HasEnsemble):
            raise CapabilityError(
                f"Ensemble fits models that say what their members are; {type(model).__name__} "
                "does not. Use NUTS() or SVI()."
            )
        found, past = [], []
        if len(args) != 1 or kwargs:
            raise CapabilityError(
                f"Ensemble passes one data set to a model; got {len(args) + len(kwargs)} "
                "arguments. Put them into one object."
            )
        data = args[0]
        number = model.num_members(data)
        for member in range(number):
            sites, history = model.fit_member(data, member, options.seed)
            bad = [name for name, value in sites.items() if not np.isfinite(value).all()]
            if bad:
                raise InferenceError(
                    f"Member {member} of {number} ended with `{bad[0]}` not finite (seed "
                    f"{options.seed}). Lower the learning rate."
                )
            found.append(sites)
            past.append(history)
        posterior = {name: np.stack([f[name] for f in found])[None] for name in found[0]}
        history = {name: np.stack([h[name] for h in past]) for name in past[0]}
        dims = {f"{FIT_HISTORY}/{name}": ["member", "epoch"] for name in history}
        groups = {**options.groups, FIT_HISTORY: history}
        return build_result(
            posterior, dims={**options.dims, **dims}, coords=options.coords, groups=groups
        )
