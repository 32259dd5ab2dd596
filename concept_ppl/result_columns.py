"""The columns of every tidy table of results, of an analysis and of a report alike."""

from typing import Final

TEXT_COLUMNS: Final = ("analysis", "quantity", "term", "layer", "control")
NUMBER_COLUMNS: Final = ("estimate", "std_error", "ci_low", "ci_high", "ci_level", "p_value")
COUNT_COLUMNS: Final = ("n", "n_clusters")
RESULT_COLUMNS: Final = (*TEXT_COLUMNS, *NUMBER_COLUMNS, *COUNT_COLUMNS)
