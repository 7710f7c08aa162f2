"""Filters of continuous signals: line noise out, one band in, or power over time in bands.

A missing sample stays missing and harms its own channel only: filters run over a line drawn
across the gap.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, iirnotch, lfilter, sosfilt, sosfiltfilt
from scipy.signal.windows import gaussian

from probneuro.core.errors import SettingError
from probneuro.data.continuous import Continuous

Floats = NDArray[np.float64]

LINE: Final = (60.0, 180.0, 300.0)
"""Hz; with `LINE_QUALITY`, the notches of Bryan et al. (2025), section 6.1."""

LINE_QUALITY: Final = (20.0, 60.0, 100.0)

BETA: Final = (13.0, 30.0)
HIGH_GAMMA: Final = (67.0, 200.0)
"""Hz; the paper's section 6.1. Its section 6.6 says 50 to 200."""


def notch(
    recording: Continuous,
    frequencies: Sequence[float] = LINE,
    quality: Sequence[float] = LINE_QUALITY,
) -> Continuous:
    """Take line noise out by second-order notches, forward in time.

    Parameters
    ----------
    recording : Continuous
        What to filter.
    frequencies : sequence of float
        Hz, all below half the sampling rate.
    quality : sequence of float
        Frequency over bandwidth, one a frequency.

    Returns
    -------
    Continuous
        Of the same length.

    Raises
    ------
    SettingError
        If a frequency is out of range, or there is not one quality each.

    Examples
    --------
    >>> time = np.arange(5000) / 1000
    >>> hum = Continuous(signal=np.sin(2 * np.pi * 60 * time)[None], sampling_rate=1000,
    ...                  channels=("a",))
    >>> bool(notch(hum).signal[0, 2500:].std() < 0.01)
    True
    """
    if len(frequencies) != len(quality):
        raise SettingError(
            f"`quality` must hold one number a frequency: {len(frequencies)}; got {len(quality)}."
        )
    rate, signal = recording.sampling_rate, recording.signal
    for frequency, factor in zip(frequencies, quality, strict=True):
        _check_band((frequency,), rate)
        b, a = iirnotch(frequency, factor, fs=rate)
        signal = _across_gaps(signal, partial(lfilter, b, a))
    return recording.with_signal(signal)


def band_pass(
    recording: Continuous, band: tuple[float, float] = BETA, *, order: int = 1, causal: bool = True
) -> Continuous:
    """Keep one band, by a Butterworth filter.

    Parameters
    ----------
    recording : Continuous
        What to filter.
    band : (float, float)
        Hz.
    order : int
        Order of the filter.
    causal : bool
        Whether to filter forward only, as a closed loop must; else forward and backward, which
        lets a runway know of its future.

    Returns
    -------
    Continuous

    Raises
    ------
    SettingError
        If the band is empty or out of range.

    Examples
    --------
    >>> slow = Continuous(signal=np.ones((1, 2000)), sampling_rate=1000, channels=("a",))
    >>> bool(abs(band_pass(slow).signal[0, -1]) < 1e-6)
    True
    """
    _check_band(band, recording.sampling_rate)
    sections = butter(order, band, btype="bandpass", fs=recording.sampling_rate, output="sos")
    run = sosfilt if causal else sosfiltfilt
    return recording.with_signal(_across_gaps(recording.signal, lambda x: run(sections, x)))


def band_power(
    recording: Continuous,
    frequencies: Sequence[float] = (10.0, 20.0, 30.0),
    *,
    window: float = 0.100,
    width: float = 0.010,
    stride: float = 0.005,
) -> Continuous:
    r"""Return power at some frequencies over time, each a channel, by a Gaussian window.

    .. math:: P_f(t) = \Big| \sum_s x_s\, e^{-(s - t + w/2)^2 / 2 \sigma^2} e^{-2 \pi i f s} \Big|^2

    A window ends at the time that its power is given for: it never looks ahead.

    Parameters
    ----------
    recording : Continuous
        What to look at.
    frequencies : sequence of float
        Hz.
    window, width, stride : float
        Length of the window, standard deviation of the Gaussian, and step, in seconds. For high
        gamma the paper takes 0.020, 0.005 and 0.005.

    Returns
    -------
    Continuous
        Channels named ``"<channel> 20 Hz"``, at 1 / `stride` Hz, from the end of the first window.

    Raises
    ------
    SettingError
        If a frequency is out of range, or the window is longer than the recording.

    Notes
    -----
    Source: Bryan et al. (2025), section 6.6. They name standard deviations "10" and "5" without a
    unit, which section 6.1 gives as milliseconds.
    """
    rate = recording.sampling_rate
    _check_band(frequencies, rate)
    length, step = round(window * rate), max(1, round(stride * rate))
    if not 1 < length <= recording.signal.shape[1]:
        raise SettingError(
            f"`window` of {window:g} s must hold more than one sample and fit into the "
            f"{recording.duration:g} s recorded. Pass seconds."
        )
    shape = gaussian(length, width * rate)
    turns = np.exp(-2j * np.pi * np.outer(frequencies, np.arange(length)) / rate)
    kernels = shape / shape.sum() * turns
    cut = np.lib.stride_tricks.sliding_window_view(recording.signal, length, axis=1)[:, ::step]
    power = np.abs(np.einsum("cts,fs->cft", cut, kernels)) ** 2
    labels = [f"{name} {f:g} Hz" for name in recording.channels for f in frequencies]
    return replace(
        recording,
        signal=power.reshape(-1, power.shape[-1]),
        sampling_rate=rate / step,
        channels=tuple(labels),
        signal_unit=f"{recording.signal_unit}^2",
        events=recording.events - (length - 1) / rate,
    )


def _check_band(frequencies: Sequence[float], rate: float) -> None:
    rising = all(a < b for a, b in zip(frequencies, list(frequencies)[1:], strict=False))
    if not rising or not all(0 < f < rate / 2 for f in frequencies):
        raise SettingError(
            f"Frequencies must rise within 0 and {rate / 2:g} Hz, half the sampling rate; got "
            f"{', '.join(f'{f:g}' for f in frequencies)} Hz. Choose others."
        )


def _across_gaps(signal: NDArray[Any], run: Callable[[Floats], Floats]) -> NDArray[Any]:
    """Filter each channel with its gaps bridged by lines, and leave the gaps as they were."""
    filtered = np.empty_like(signal)
    for row, values in enumerate(signal):
        missing = np.isnan(values)
        if missing.all():
            filtered[row] = np.nan
            continue
        places = np.arange(values.size)
        line = np.interp(places, places[~missing], values[~missing].astype(np.float64))
        filtered[row] = np.where(missing, np.nan, run(line))
    return filtered
