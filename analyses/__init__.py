"""Questions about states F and contrasts Z, one a file: arrays in, frozen results out."""

from .canonical import CanonicalCorrelations, canonical_correlations
from .contrast_tables import ContrastTable, ContrastTables, contrast_tables
from .controls import ControlComparison, ControlFit, compare_controls, shuffled
from .goodness import GoodnessOfFit, decoded_contrasts, goodness_of_fit
from .hypotheses import HypothesisTest
from .latex import latex_table
from .layers import LayerCurve, LayerFit, layer_curve
from .linear_map import LinearMap, linear_map
from .multiplicity import benjamini_hochberg, holm
from .results import RESULT_COLUMNS, Estimate, Row, result_frame
from .ridge import DecomposedStates, decompose_states

__all__ = [
    "RESULT_COLUMNS",
    "CanonicalCorrelations",
    "ContrastTable",
    "ContrastTables",
    "ControlComparison",
    "ControlFit",
    "DecomposedStates",
    "Estimate",
    "GoodnessOfFit",
    "HypothesisTest",
    "LayerCurve",
    "LayerFit",
    "LinearMap",
    "Row",
    "benjamini_hochberg",
    "canonical_correlations",
    "compare_controls",
    "contrast_tables",
    "decoded_contrasts",
    "decompose_states",
    "goodness_of_fit",
    "holm",
    "latex_table",
    "layer_curve",
    "linear_map",
    "result_frame",
    "shuffled",
]
