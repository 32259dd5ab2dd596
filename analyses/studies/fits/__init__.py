"""Is a fit good: its accuracy, its parameters, and data like those that it saw?"""

from .accuracy import accuracies_of, choose_criterion
from .study import check_fit

__all__ = ["accuracies_of", "check_fit", "choose_criterion"]
