"""What is read of a language model: which positions, in what batches, in memory or in shards."""

from .contexts import extract
from .words import WordStates, read_words

__all__ = ["WordStates", "extract", "read_words"]
