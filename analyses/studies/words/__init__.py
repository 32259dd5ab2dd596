"""Does a mixture fitted to unlabelled words find their languages?"""

from .plan import WordsStudy
from .study import run_words_study

__all__ = ["WordsStudy", "run_words_study"]
