"""The parts of a language model by name, checked: blocks, sites, norms, tokenizer, unembedding."""

from .first_tokens import FirstTokens, first_token_emission, first_token_log_predictive
from .language_model import LanguageModel, logits_from_final_norm
from .sites import resolve_sites, spread_sites
from .unembedding import input_embedding_rows, token_ids_of, unembedding_rows
from .wrapping import wrap_language_model

__all__ = [
    "FirstTokens",
    "LanguageModel",
    "first_token_emission",
    "first_token_log_predictive",
    "input_embedding_rows",
    "logits_from_final_norm",
    "resolve_sites",
    "spread_sites",
    "token_ids_of",
    "unembedding_rows",
    "wrap_language_model",
]
