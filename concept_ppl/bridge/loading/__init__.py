"""Language models by name: found, fetched, de-quantised, loaded whole."""

from .language_models import load_language_model
from .model_files import find_language_model
from .quiet import quiet_transformers

__all__ = ["find_language_model", "load_language_model", "quiet_transformers"]
