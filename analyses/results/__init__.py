"""What every answer is: estimates with intervals, tests, tables for papers, adjusted p-values."""

from .hypotheses import HypothesisTest
from .latex import latex_table
from .multiplicity import benjamini_hochberg, holm
from .rows import RESULT_COLUMNS, Estimate, Row, result_frame

__all__ = [
    "RESULT_COLUMNS",
    "Estimate",
    "HypothesisTest",
    "Row",
    "benjamini_hochberg",
    "holm",
    "latex_table",
    "result_frame",
]
