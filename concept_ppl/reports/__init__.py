"""Reports: one self-contained HTML page from results, figures and their tables."""

from concept_ppl.formatting import interval, number, p_value
from concept_ppl.result_columns import RESULT_COLUMNS

from .choice_panels import choice_panels
from .figures import canonical_bars, control_forest, decoded_scatter, layer_curve, power_profile
from .gap_curves import GapPanel, gap_curves
from .grids import Layer, Panel, knob_curves, regime_maps
from .heat_map import heat_map
from .manifest import build_manifest
from .page import write_report
from .parts import Figure, KeyFigure, Report, Section, Table, Tone, Verdict
from .results import tidy_results

__all__ = [
    "RESULT_COLUMNS",
    "Figure",
    "GapPanel",
    "KeyFigure",
    "Layer",
    "Panel",
    "Report",
    "Section",
    "Table",
    "Tone",
    "Verdict",
    "build_manifest",
    "canonical_bars",
    "choice_panels",
    "control_forest",
    "decoded_scatter",
    "gap_curves",
    "heat_map",
    "interval",
    "knob_curves",
    "layer_curve",
    "number",
    "p_value",
    "power_profile",
    "regime_maps",
    "tidy_results",
    "write_report",
]
