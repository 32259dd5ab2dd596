"""A language model, whole, from a hub id, a folder, a GGUF file or a package that ships weights."""

from .language_models import find_language_model, load_language_model

__all__ = ["find_language_model", "load_language_model"]
