"""Do states hold the log-posterior of labels of one's own?"""

from .plan import LabelledStudy
from .study import run_labelled_study

__all__ = ["LabelledStudy", "run_labelled_study"]
