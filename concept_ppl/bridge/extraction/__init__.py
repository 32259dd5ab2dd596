"""What is read of a language model: which positions, in what batches, in memory or in shards."""

from .contexts import extract
from .read_tokens import ReadTokens, read_tokens
from .readers import Readers
from .words import WordStates, read_words

__all__ = ["ReadTokens", "Readers", "WordStates", "extract", "read_tokens", "read_words"]
