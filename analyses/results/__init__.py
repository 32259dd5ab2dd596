"""What every answer is: estimates with intervals, tests, tables for papers, adjusted p-values."""

from concept_ppl.result_columns import RESULT_COLUMNS

from .figures import Panel, forest
from .hypotheses import HypothesisTest
from .multiplicity import benjamini_hochberg, holm
from .protocol import Result
from .rows import Estimate, Row, result_frame
from .tables import html_table, latex_table, markdown_table

__all__ = [
    "RESULT_COLUMNS",
    "Estimate",
    "HypothesisTest",
    "Panel",
    "Result",
    "Row",
    "benjamini_hochberg",
    "forest",
    "holm",
    "html_table",
    "latex_table",
    "markdown_table",
    "result_frame",
]
