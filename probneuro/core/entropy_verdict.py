"""Whether a distribution of largest entropy was found, in numbers and in words."""

from typing import Final

import numpy as np
import xarray as xr

from probneuro.core.names import CHAIN, MAX_ENTROPY
from probneuro.core.pareto import LARGEST_K

STATISTIC: Final = "statistic"
FEATURE: Final = "feature"
PARAMETER: Final = "parameter"
ROUND: Final = "round"

LARGEST_DIVERGENCE: Final = 0.2
"""Nats by which a flow may miss the optimum: the entropy gap plus what its moments are off."""
LEAST_EFFECTIVE: Final = 0.3
SIGNIFICANCE: Final = 0.05
"""Divided by the number of statistics (Bonferroni), as in EPI's test."""
MODE_TOLERANCE: Final = 0.1


def verdicts(group: xr.Dataset) -> list[list[str]]:
    """Say of every restart which checks it failed, in words; an empty list is converged.

    Parameters
    ----------
    group : xarray.Dataset
        Group ``max_entropy`` of a result.

    Returns
    -------
    list of list of str
        One list a restart.
    """
    return [_one(group.isel({CHAIN: place})) for place in range(group.sizes[CHAIN])]


def _one(group: xr.Dataset) -> list[str]:
    failed: list[str] = []
    if not int(group["solvable"]):
        return [
            "the moments asked for lie outside what any weighting of the draws gives: the dual "
            "diverges. Widen the bounds or the variances, or run more rounds"
        ]
    divergence, gap = float(group["divergence"]), float(group["entropy_gap"])
    if not divergence <= LARGEST_DIVERGENCE:
        failed.append(
            f"the flow is {divergence:.2f} nats from the optimum (limit {LARGEST_DIVERGENCE}; "
            f"its entropy is {gap:+.2f} nats off)"
        )
    p_values = group["p_value"]
    limit = SIGNIFICANCE / p_values.size
    for name in p_values[STATISTIC].values[p_values.values <= limit]:
        one = p_values.sel({STATISTIC: name})
        failed.append(
            f"the flow misses '{name}' by {float(group['miss'].sel({STATISTIC: name})):+.3g} "
            f"(p = {float(one):.3f}, limit {limit:.3f})"
        )
    share, k = float(group["effective_share"]), float(group["pareto_k"])
    if not share >= LEAST_EFFECTIVE:
        failed.append(
            f"the weights have {100 * share:.0f} % effective draws (limit "
            f"{100 * LEAST_EFFECTIVE:.0f} %)"
        )
    if not k <= LARGEST_K:
        failed.append(f"the weights' tail has Pareto k = {k:.2f} (limit {LARGEST_K})")
    mode = float(group["mode_share"])
    if np.isfinite(mode) and abs(mode - 0.5) > MODE_TOLERANCE:
        failed.append(
            f"a mode is lost or thin: by symmetry each has half the mass, the flow gives one "
            f"{100 * mode:.0f} %"
        )
    return failed


def entropy_findings(result: xr.DataTree) -> list[str]:
    """Say which restarts of a fit of largest entropy did not converge, and why.

    Parameters
    ----------
    result : xarray.DataTree
        With group ``max_entropy``.

    Returns
    -------
    list of str
        One line a restart that failed a check; empty when all converged.
    """
    if MAX_ENTROPY not in result.children:
        return []
    group = result[MAX_ENTROPY].to_dataset()
    lines = []
    for chain, failed in zip(group[CHAIN].values, verdicts(group), strict=True):
        if failed:
            lines.append(f"Restart {chain} has not converged: {'; '.join(failed)}.")
    heights = group["dual_entropy"].values
    if len(heights) > 1 and np.ptp(heights) > LARGEST_DIVERGENCE:
        lines.append(
            f"The restarts' largest entropies differ by {np.ptp(heights):.2f} nats (limit "
            f"{LARGEST_DIVERGENCE}): some did not see the whole support. Trust the highest, and "
            "run more rounds or simulations."
        )
    return lines
