"""The engines: one table, contraction trees, or along a sequence, over products of log-tables."""

from .dense import answer_dense
from .elimination import answer_by_elimination
from .sequences import answer_sequences

__all__ = ["answer_by_elimination", "answer_dense", "answer_sequences"]
