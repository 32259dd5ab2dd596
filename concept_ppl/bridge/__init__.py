"""Representations out of language models: load one, read its states at named sites, store them."""

from .extraction import extract
from .language_model import LanguageModel, logits_from_final_norm, wrap_language_model
from .loading import find_language_model, load_language_model
from .sites import resolve_sites, spread_sites
from .states import States, load_states
from .unembedding import input_embedding_rows, token_ids_of, unembedding_rows
from .words import WordStates, read_words

__all__ = [
    "LanguageModel",
    "States",
    "WordStates",
    "extract",
    "find_language_model",
    "input_embedding_rows",
    "load_language_model",
    "load_states",
    "logits_from_final_norm",
    "read_words",
    "resolve_sites",
    "spread_sites",
    "token_ids_of",
    "unembedding_rows",
    "wrap_language_model",
]
