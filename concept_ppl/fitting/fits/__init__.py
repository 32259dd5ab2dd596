"""A fit: its draws, what they mean, the file that holds them, the model that they make again."""

from .fit_files import read_fit, write_fit
from .fits import Fit
from .fitted_models import load_fitted
from .kept_fits import read_kept
from .observations import observations
from .replicates import replicate

__all__ = ["Fit", "load_fitted", "observations", "read_fit", "read_kept", "replicate", "write_fit"]
