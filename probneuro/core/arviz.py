"""One ArviZ for every Python: the split packages 0.8 on 3.11, generation 1 from 3.12 on."""

import warnings
from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import Any, Final

import pandas as pd
import xarray as xr

PACKAGES: Final = ("arviz_stats", "arviz_base", "arviz_plots")
"""In the order of asking: plots come last, since they take seconds to import."""


def lookup(name: str) -> Any:
    """Return what ArviZ 1 has under a name, importing only what is needed for it.

    Parameters
    ----------
    name : str
        A public name of ``arviz``, such as ``"summary"``.

    Returns
    -------
    object
        Mostly a function.

    Raises
    ------
    AttributeError
        If the installed ArviZ has no such name.

    Examples
    --------
    >>> lookup("rhat").__name__
    'rhat'
    """
    if name == "from_netcdf":
        return xr.open_datatree
    order = PACKAGES[::-1] if name.startswith("plot_") else PACKAGES
    for package in order:
        found = vars(import_module(package)).get(name)
        if found is not None and not name.startswith("_"):
            return found
    raise AttributeError(
        f"The installed ArviZ has no `{name}`. `dir(probneuro.az)` lists what it has."
    )


def public_names() -> list[str]:
    """Return every name that `lookup` finds.

    Examples
    --------
    >>> {"summary", "rhat", "from_dict"} <= set(public_names())
    True
    """
    found = {"from_netcdf"}
    for package in PACKAGES:
        found |= {name for name in vars(import_module(package)) if not name.startswith("_")}
    return sorted(found)


def compare_by_loo(results: Mapping[str, xr.DataTree], **settings: Any) -> pd.DataFrame:
    """Compare results by ArviZ' PSIS-LOO, with one sign and no rounding in both generations.

    Parameters
    ----------
    results : mapping of str to xarray.DataTree
        Each with a group ``log_likelihood``. Masked observations, which are zero in every draw
        and counted by the attribute ``num_masked``, are left out.
    **settings
        Passed to ``arviz.compare``.

    Returns
    -------
    pandas.DataFrame
        As ``arviz.compare``; ``elpd_diff`` is the elpd minus the best one, never positive.
    """
    observed = {name: _without_masked(result) for name, result in results.items()}
    compare = lookup("compare")
    if "round_to" in signature(compare).parameters:
        settings.setdefault("round_to", "none")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The inplace keyword")  # pandas, of ArviZ 0.8
        table: pd.DataFrame = compare(observed, **settings)
    table["elpd_diff"] = table["elpd"] - table["elpd"].max()
    return table


def _without_masked(result: xr.DataTree) -> xr.DataTree:
    """Drop observations that are none: ArviZ refuses what is the same in every draw."""
    points = result["log_likelihood"].to_dataset()
    if not any("num_masked" in values.attrs for values in points.data_vars.values()):
        return result
    kept = {}
    for name, values in points.data_vars.items():
        dims = [dim for dim in values.dims if dim not in ("chain", "draw")]
        if "num_masked" in values.attrs and dims:
            flat = values.reset_coords(drop=True).stack({"observation": dims}, create_index=False)
            values = flat.isel(observation=(flat != 0).any(("chain", "draw")).values)
            values = values.rename(observation=f"{name}_observation")
        kept[name] = values
    copy = result.copy()
    copy["log_likelihood"] = xr.DataTree(xr.Dataset(kept))
    return copy
