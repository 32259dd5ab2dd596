"""Next-token predictors trained from scratch: the paper's MLP and small causal language models."""

from .examples import Examples, exact_examples, sampled_examples
from .predictor import ARCHITECTURES, Predictor, PredictorConfig
from .training import Recipe, train, untrained

__all__ = [
    "ARCHITECTURES",
    "Examples",
    "Predictor",
    "PredictorConfig",
    "Recipe",
    "exact_examples",
    "sampled_examples",
    "train",
    "untrained",
]
