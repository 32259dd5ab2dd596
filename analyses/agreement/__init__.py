"""How far states and contrasts, or two models, say the same, held out, beside controls."""

from .canonical import CanonicalCorrelations, canonical_correlations
from .contenders import FittedControls
from .controls import ControlComparison, ControlFit, compare_controls, fit_controls, shuffled
from .goodness import GoodnessOfFit, decoded_contrasts, goodness_of_fit
from .layers import LayerCurve, LayerFit, layer_curve
from .model_agreement import CrossModel, cross_model
from .model_differences import ModelDifference, model_difference

__all__ = [
    "CanonicalCorrelations",
    "ControlComparison",
    "ControlFit",
    "CrossModel",
    "FittedControls",
    "GoodnessOfFit",
    "LayerCurve",
    "LayerFit",
    "ModelDifference",
    "canonical_correlations",
    "compare_controls",
    "cross_model",
    "decoded_contrasts",
    "fit_controls",
    "goodness_of_fit",
    "layer_curve",
    "model_difference",
    "shuffled",
]
