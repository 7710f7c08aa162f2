"""Minai et al. (2025) on a simulated brain: alignment, prediction, and policies compared."""

from collections.abc import Iterator, Mapping
from typing import Any, final

from probneuro.core.reproduction import Finding, Reproduction, Setting
from probneuro.reproductions.omiso_alignment import align_under_turnover
from probneuro.reproductions.omiso_comparison import compare_policies, predict_sessions


@final
class OMiSOReproduction(Reproduction):
    """Figures 2B, 3D and 4E of the paper, with a simulated brain for the monkey."""

    def run(self, preset: Mapping[str, Any], setting: Setting) -> Iterator[Finding]:
        """Run ``alignment``, ``prediction`` and ``policies``, each if the preset has its table."""
        if "alignment" in preset:
            yield from align_under_turnover(preset["alignment"], setting)
        if "prediction" in preset:
            yield from predict_sessions(preset["prediction"], setting)
        if "policies" in preset:
            yield from compare_policies(preset["policies"], setting)
