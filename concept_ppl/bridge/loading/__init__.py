"""Language models by name: found, fetched, de-quantised, loaded whole, here or by every worker."""

from .elsewhere import readers_on
from .language_models import load_language_model
from .model_files import find_language_model
from .quiet import quiet_transformers

__all__ = ["find_language_model", "load_language_model", "quiet_transformers", "readers_on"]
