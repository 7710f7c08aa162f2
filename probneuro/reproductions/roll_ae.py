"""Dey, Dreossi, Fox, Koller (2025): do embeddings tell the 16 kinds of synthetic recordings?"""

from collections.abc import Iterator, Mapping
from typing import Any, final

from probneuro.core.reproduction import Finding, Reproduction, Setting
from probneuro.reproductions.invariant_embeddings import tell_kinds


@final
class RollAEReproduction(Reproduction):
    """Figures 3 and 9 of the paper, with the baselines that it does not print."""

    def run(self, preset: Mapping[str, Any], setting: Setting) -> Iterator[Finding]:
        """Run ``synthetic``, if the preset has a table for it."""
        if "synthetic" in preset:
            yield from tell_kinds(preset["synthetic"], setting)
