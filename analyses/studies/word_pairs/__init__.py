"""Do word pairs that differ in one concept differ alike in a language model?"""

from .plan import CounterfactualStudy
from .study import run_counterfactual_study

__all__ = ["CounterfactualStudy", "run_counterfactual_study"]
