"""Read from results the numbers and texts that a report states."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from probneuro.compare import rolling_log_predictive
from probneuro.core import names
from probneuro.core.errors import DataError
from probneuro.report.words import HeldOut, plus_minus

PARAMETERS: Mapping[str, tuple[str, float]] = {
    "amplitude_plus": ("A+ (potentiation per pair)", 1.0),
    "amplitude_minus": ("A− (depression per pair)", 1.0),
    "tau_plus": ("τ+ (ms)", 1e3),
    "tau_minus": ("τ− (ms)", 1e3),
    "learning_rate": ("learning rate η (µs)", 1e6),
    "weight_norm": ("length of the weights onto a neuron", 1.0),
    "weight_noise": ("weight noise (per window)", 1.0),
    "weight_max": ("largest weight", 1.0),
}
"""How rule parameters are written, and what they are multiplied by."""

MAX_GROUPS = 12
"""Rule groups whose parameters are listed; the rest is in the result's file."""

COLUMNS: Mapping[str, str] = {
    "rate": "rate (Hz)",
    "median_interval": "median interval (s)",
    "short_share": "share of intervals < 1 ms",
    "cv": "CV of intervals",
}
"""How the columns of a recording's summary are written."""


def held_out_facts(results: Mapping[str, xr.DataTree], table: pd.DataFrame) -> HeldOut:
    """Return what the comparison of these results rests on.

    Parameters
    ----------
    results : mapping of str to DataTree
        Results by rule name, each with group `held_out`.
    table : pandas.DataFrame
        The comparison; its best rule gives the standard error of the bits per spike.

    Returns
    -------
    HeldOut

    Raises
    ------
    DataError
        If the best rule's result has nothing held out.
    """
    best = str(table.sort_values("elpd", ascending=False).index[0])
    if best not in results or names.HELD_OUT not in results[best].children:
        raise DataError(
            f"`results` has no held-out data for '{best}'. Pass the results that the table was "
            "made from, fitted with a held-out span."
        )
    held_out = results[best][names.HELD_OUT].to_dataset()
    start = np.asarray(held_out[names.BLOCK].values, dtype=float)
    width = float(np.median(np.diff(start))) if len(start) > 1 else _window_width(results[best])
    warnings = {name: diagnostics(dt) or [] for name, dt in results.items()}
    return HeldOut(
        seconds=round(len(start) * width, 9),
        num_blocks=len(start),
        bits_error=_bits_error(held_out),
        warnings=warnings,
    )


def _window_width(dt: xr.DataTree) -> float:
    posterior = dt[names.POSTERIOR].to_dataset()
    if names.WINDOW in posterior.coords and posterior.sizes[names.WINDOW] > 1:
        return float(np.median(np.diff(posterior[names.WINDOW].values)))
    return 1.0


def _bits_error(held_out: xr.Dataset) -> float:
    """Return the standard error of bits per spike over constant rates, from the blocks."""
    if "baseline_log_likelihood" not in held_out or held_out.sizes[names.BLOCK] < 2:
        return float("nan")
    draws = held_out["log_likelihood"].transpose(names.CHAIN, names.DRAW, names.BLOCK, names.NEURON)
    pooled = np.asarray(draws, dtype=float).reshape(-1, *draws.shape[2:])
    scores = rolling_log_predictive(pooled).sum(1)
    gain = scores - np.asarray(held_out["baseline_log_likelihood"].sum(names.NEURON))
    spikes = float(held_out["spike_count"].sum())
    return float(gain.std(ddof=1) * np.sqrt(len(gain)) / (max(spikes, 1.0) * np.log(2)))


def diagnostics(dt: xr.DataTree) -> list[str] | None:
    """Return the diagnostic messages recorded with a result, None if none were recorded.

    Parameters
    ----------
    dt : xarray.DataTree
        A result whose attribute ``diagnostics`` is a JSON list.

    Returns
    -------
    list of str or None
    """
    found = from_json(dt.attrs.get("diagnostics"))
    if not isinstance(found, list):
        return None
    return [str(m.get("message", m)) if isinstance(m, dict) else str(m) for m in found]


def from_json(text: Any) -> Any:
    """Return the value of a JSON text, the text itself if it is none."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def table_rows(table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the ranked table as texts, best rule first.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``elpd``, ``se``, ``elpd_diff``, ``dse``, ``bits_per_spike``.

    Returns
    -------
    columns : list of str
    rows : list of list of str
    """
    columns = ["rule", "bits/spike", "log likelihood (nats)", "behind the best (nats)"]
    ordered = table.sort_values("elpd", ascending=False)
    rows = []
    for place, name in enumerate(ordered.index):
        row = ordered.loc[name]
        behind = "–" if place == 0 else plus_minus(abs(row["elpd_diff"]), float(row["dse"]))
        error = float(row["se"]) if "se" in row else float("nan")
        elpd = plus_minus(float(row["elpd"]), error)
        rows.append([str(name), f"{row['bits_per_spike']:.3f}".replace("-", "−"), elpd, behind])
    return columns, rows


def parameter_rows(dt: xr.DataTree) -> list[list[str]]:
    """Return the learning rule's parameters: name, median, 90 % interval.

    Parameters
    ----------
    dt : xarray.DataTree
        A result.

    Returns
    -------
    list of list of str
        Empty for a rule without parameters; of many rule groups, the first twelve.
    """
    posterior = dt[names.POSTERIOR].to_dataset()
    rows = []
    for name, (label, scale) in PARAMETERS.items():
        if name not in posterior:
            continue
        array = posterior[name] * scale
        groups = array[names.RULE_GROUP].values if names.RULE_GROUP in array.dims else [None]
        for index, group in enumerate(groups[:MAX_GROUPS]):
            one = array if group is None else array.isel({names.RULE_GROUP: index})
            low, middle, high = np.quantile(one.values, [0.05, 0.5, 0.95])
            tail = f", {group}" if len(groups) > 1 else ""
            rows.append([label + tail, f"{middle:.3g}", f"{low:.3g} to {high:.3g}"])
    return rows


def edges_in_words(dt: xr.DataTree) -> str:
    """Say how many synapses the posterior is sure of, empty if the model has none.

    Parameters
    ----------
    dt : xarray.DataTree
        A result.

    Returns
    -------
    str
    """
    posterior = dt[names.POSTERIOR].to_dataset()
    if "edge" not in posterior or posterior["edge"].size == 0:
        return ""
    probability = posterior["edge"].astype(float).mean((names.CHAIN, names.DRAW)).values
    sure, unsure = int((probability > 0.9).sum()), int((probability < 0.1).sum())
    open_ = len(probability) - sure - unsure
    return (
        f"Of {len(probability)} possible synapses, {sure} exist{'s' * (sure == 1)} with a "
        f"probability above 0.9, {unsure} with one below 0.1, and {open_} "
        f"remain{'s' * (open_ == 1)} undecided."
    )


def settings_rows(dt: xr.DataTree) -> list[tuple[str, str]]:
    """Return what a result records about how it was made, as names and texts.

    Parameters
    ----------
    dt : xarray.DataTree
        A result.

    Returns
    -------
    list of (str, str)
    """
    skip = {"diagnostics"}
    rows = []
    for key, raw in dt.attrs.items():
        value = from_json(raw) if str(raw)[:1] in "{[" else raw
        if key in skip:
            continue
        if isinstance(value, Mapping):
            value = ", ".join(f"{name} {item}" for name, item in value.items())
        elif isinstance(value, Sequence) and not isinstance(value, str):
            value = ", ".join(map(str, value))
        rows.append((str(key).replace("_", " "), str(value)))
    return rows


def recording_rows(summary: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of a recording's summary as texts.

    Parameters
    ----------
    summary : pandas.DataFrame
        One row a unit.

    Returns
    -------
    columns : list of str
    rows : list of list of str
    """
    columns = [COLUMNS.get(str(name), str(name).replace("_", " ")) for name in summary.columns]
    rows = [
        [f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row]
        for row in summary.itertuples(index=False)
    ]
    return columns, rows
