"""Parameters from tokens: EM, MAP, variational and NUTS fits of generative models."""

from .algorithms import Progress
from .fits import Fit, load_fitted, observations, read_fit, read_kept, replicate, write_fit
from .likelihoods import collapsed
from .methods import fit

__all__ = [
    "Fit",
    "Progress",
    "collapsed",
    "fit",
    "load_fitted",
    "observations",
    "read_fit",
    "read_kept",
    "replicate",
    "write_fit",
]
