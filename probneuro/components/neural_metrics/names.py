"""The names of the 44 metrics, letter for letter as an export writes them."""

from typing import Final

ACTIVITY: Final = (
    "Number of Spikes",
    "Mean Firing Rate (Hz)",
    "ISI Coefficient of Variation - Avg",
    "Number of Active Electrodes",
    "Weighted Mean Firing Rate (Hz)",
)


def _avg_std(*names: str) -> tuple[str, ...]:
    """Return each name with ``- Avg`` and ``- Std``, the unit last."""
    found = []
    for name in names:
        stem, _, unit = name.partition(" (")
        found += [f"{stem} - {kind}" + (f" ({unit}" if unit else "") for kind in ("Avg", "Std")]
    return tuple(found)


ELECTRODE_BURST: Final = (
    "Number of Bursts",
    "Number of Bursting Electrodes",
    *_avg_std(
        "Burst Duration (sec)",
        "Number of Spikes per Burst",
        "Mean ISI within Burst (sec)",
        "Median ISI within Burst (sec)",
        "Median/Mean ISI within Burst",
        "Inter-Burst Interval (sec)",
        "Burst Frequency (Hz)",
        "IBI Coefficient of Variation",
        "Burst Percentage",
    ),
)

NETWORK_BURST: Final = (
    "Number of Network Bursts",
    "Network Burst Frequency",
    *_avg_std(
        "Network Burst Duration (sec)",
        "Number of Spikes per Network Burst",
        "Mean ISI within Network Burst (sec)",
        "Median ISI within Network Burst (sec)",
        "Median/Mean ISI within Network Burst",
        "Number of Elecs Participating in Burst",
        "Number of Spikes per Network Burst per Channel",
    ),
    "Network Burst Percentage",
    "Network IBI Coefficient of Variation",
    "Network Normalized Duration IQR",
)

METRIC_NAMES: Final = (*ACTIVITY, *ELECTRODE_BURST, *NETWORK_BURST)
"""Activity 5, electrode bursts 20, network bursts 19."""
