"""The ``concept-ppl`` command, the only folder that knows all others."""

from . import (
    adaptation,
    fitting,
    generative_models,
    laboratory,
    language_models,
    studies,
    word_pairs,
)
from .application import app, main

__all__ = [
    "adaptation",
    "app",
    "fitting",
    "generative_models",
    "laboratory",
    "language_models",
    "main",
    "studies",
    "word_pairs",
]
