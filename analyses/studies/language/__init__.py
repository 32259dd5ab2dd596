"""Does a language model know the language of what it reads?"""

from .plan import WORLDS, LanguageStudy
from .study import run_language_study

__all__ = ["WORLDS", "LanguageStudy", "run_language_study"]
