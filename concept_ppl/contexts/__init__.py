"""What is read from files and written to them: tokens, posterior tables, word pairs."""

from .counterfactual_pairs import PairLists, SkippedPair, read_pairs
from .posterior_tables import log_odds, probabilities, read_posterior
from .tokens import UNOBSERVED, Contexts, as_contexts, read_tokens

__all__ = [
    "UNOBSERVED",
    "Contexts",
    "PairLists",
    "SkippedPair",
    "as_contexts",
    "log_odds",
    "probabilities",
    "read_pairs",
    "read_posterior",
    "read_tokens",
]
