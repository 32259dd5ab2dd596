"""Ridge regression on one training set: its Gram matrix, decomposed once for every penalty."""

from .band_sides import GramBand, KernelBand
from .spectrum import Spectrum
from .state_rows import StateRows

__all__ = ["GramBand", "KernelBand", "Spectrum", "StateRows"]
