"""Linderman, Stock and Adams (2014): which rule predicts best, and which synapses are there."""

from collections.abc import Iterator, Mapping
from typing import Any, final

from probneuro.core.reproduction import Finding, Reproduction, Setting
from probneuro.reproductions.network_detection import detect_synapses
from probneuro.reproductions.network_recovery import recover_networks
from probneuro.reproductions.rule_recovery import recover_rules


@final
class STDPGLMReproduction(Reproduction):
    """Figures 2, 3 and 4 of the paper, on simulations like its own."""

    def run(self, preset: Mapping[str, Any], setting: Setting) -> Iterator[Finding]:
        """Run ``recovery``, ``networks`` and ``detection``, each if the preset has a table."""
        if "recovery" in preset:
            yield from recover_rules(preset["recovery"], setting)
        if "networks" in preset:
            yield from recover_networks(preset["networks"], setting)
        if "detection" in preset:
            yield from detect_synapses(preset["detection"], setting)
