"""The ``concept-ppl`` command, the only folder that knows all others."""

from . import fitting, generative_models, language_models, studies
from .application import app, main

__all__ = ["app", "fitting", "generative_models", "language_models", "main", "studies"]
