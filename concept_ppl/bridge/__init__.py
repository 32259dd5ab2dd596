"""Representations out of language models: load one, read its states at named sites, store them."""

from .extraction import extract
from .language_model import LanguageModel, logits_from_final_norm, wrap_language_model
from .loading import load_language_model
from .sites import resolve_sites, spread_sites
from .states import States, load_states

__all__ = [
    "LanguageModel",
    "States",
    "extract",
    "load_language_model",
    "load_states",
    "logits_from_final_norm",
    "resolve_sites",
    "spread_sites",
    "wrap_language_model",
]
