"""Representations out of language models: load one, read its states at named sites, store them."""

from .anatomy import (
    FirstTokens,
    LanguageModel,
    first_token_emission,
    first_token_log_predictive,
    input_embedding_rows,
    logits_from_final_norm,
    resolve_sites,
    spread_sites,
    token_ids_of,
    unembedding_rows,
    wrap_language_model,
)
from .extraction import Readers, ReadTokens, WordStates, extract, read_tokens, read_words
from .loading import find_language_model, load_language_model, readers_on
from .storage import States, load_states

__all__ = [
    "FirstTokens",
    "LanguageModel",
    "ReadTokens",
    "Readers",
    "States",
    "WordStates",
    "extract",
    "find_language_model",
    "first_token_emission",
    "first_token_log_predictive",
    "input_embedding_rows",
    "load_language_model",
    "load_states",
    "logits_from_final_norm",
    "read_tokens",
    "read_words",
    "readers_on",
    "resolve_sites",
    "spread_sites",
    "token_ids_of",
    "unembedding_rows",
    "wrap_language_model",
]
