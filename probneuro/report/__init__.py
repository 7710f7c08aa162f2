"""Reports: what a comparison or a fit found, in words and figures, in one HTML file."""

from probneuro.report.facts import held_out_facts, parameter_rows, table_rows
from probneuro.report.reproduction import write_reproduction
from probneuro.report.words import HeldOut, Verdict, verdict
from probneuro.report.write import write_report

__all__ = [
    "HeldOut",
    "Verdict",
    "held_out_facts",
    "parameter_rows",
    "table_rows",
    "verdict",
    "write_report",
    "write_reproduction",
]
