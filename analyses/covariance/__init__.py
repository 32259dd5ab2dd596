"""Covariances that survive heteroscedasticity and clusters, and what few clusters need."""

from .coefficient_inference import Inference, sandwich_inference
from .sandwich import LeastSquares, least_squares
from .satterthwaite import hotelling_df, satterthwaite_df
from .wild_bootstrap import wild_inference

__all__ = [
    "Inference",
    "LeastSquares",
    "hotelling_df",
    "least_squares",
    "sandwich_inference",
    "satterthwaite_df",
    "wild_inference",
]
