"""Parameters from tokens: EM, MAP, variational and NUTS fits of generative models."""

from concept_ppl.fitting.fits import Fit

__all__ = ["Fit"]
