"""Parameters from tokens: EM, MAP, variational and NUTS fits of generative models."""

from concept_ppl.fitting.ascents import Progress
from concept_ppl.fitting.collapse import collapsed
from concept_ppl.fitting.fits import Fit
from concept_ppl.fitting.methods import fit

__all__ = ["Fit", "Progress", "collapsed", "fit"]
