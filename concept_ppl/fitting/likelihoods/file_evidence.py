"""log p(x) of a file of contexts that memory does not hold: read again, in parts, at each pass.

Σ log p(x) and the expected counts are sums over contexts, so that parts of a file give, added up,
what the whole gives. Only numbers for each context (weights, log p(x)) are kept, not its tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concept_ppl.contexts.token_files import token_blocks
from concept_ppl.contexts.tokens import UNOBSERVED, Contexts
from concept_ppl.errors import InputError
from concept_ppl.inference.batches import require_tokens

from .dense_evidence import DenseEvidence
from .device_evidence import DeviceEvidence
from .general_evidence import GeneralEvidence
from .program import Piece
from .total_in_parts import total_in_parts

Evidence = DenseEvidence | GeneralEvidence | DeviceEvidence


@dataclass(frozen=True)
class FileEvidence:
    """The contexts of a token file, answered part by part.

    Attributes
    ----------
    piece : Piece
    path : Path
    n_contexts : int
    lay_out : callable
        Makes the evidence of some contexts.
    """

    piece: Piece
    path: Path
    n_contexts: int
    lay_out: Callable[[Contexts], Evidence]

    @property
    def given(self) -> tuple[str, ...]:
        """Concepts some of whose values are known: none."""
        return ()

    @property
    def next_tokens(self) -> tuple[str, ...]:
        """Next-token sites that were observed: none."""
        return ()

    def _parts(self) -> Iterator[tuple[slice, Evidence]]:
        for block in token_blocks(self.path):
            own = slice(block.first_row, block.first_row + len(block))
            yield own, self.lay_out(block)

    def take(self, rows: NDArray[np.int64]) -> Evidence:
        """Return the evidence of some contexts, in rising order, in memory."""
        found = []
        for block in token_blocks(self.path):
            own = rows[(rows >= block.first_row) & (rows < block.first_row + len(block))]
            found.append(block.take(own - block.first_row))
        return self.lay_out(Contexts.concatenate(found))

    def by_context(self, tables: Sequence[Tensor], rows: NDArray[np.int64] | None = None) -> Tensor:
        """Return log p(x) of all or some contexts, shape (n,); differentiable."""
        if rows is not None:
            return self.take(np.sort(rows)).by_context(tables)[np.argsort(np.argsort(rows))]
        return torch.cat([part.by_context(tables) for _, part in self._parts()])

    def total(self, tables: Sequence[Tensor], weights: NDArray[np.float64]) -> Tensor:
        """Return Σ weight · log p(x), differentiable once; −inf where p(x) = 0."""

        def parts(leaves: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
            for own, part in self._parts():
                value = part.total(leaves, weights[own])
                yield value, value

        return total_in_parts(parts, tables)

    def each(self, tables: Sequence[Tensor]) -> NDArray[np.float64]:
        """Return log p(x) of all contexts, without gradients, shape (n_contexts,)."""
        return np.concatenate([part.each(tables) for _, part in self._parts()])


@dataclass(frozen=True)
class FileFacts:
    """What is known of a token file after one reading.

    Attributes
    ----------
    lengths : int64 array
        The different lengths of its contexts.
    n_contexts, n_tokens : int
        Contexts, and observed tokens in them.
    largest, least : int
        Of the observed tokens.
    """

    lengths: NDArray[np.int64]
    n_contexts: int
    n_tokens: int
    largest: int
    least: int


def facts_of(path: Path) -> FileFacts:
    """Read a token file once.

    Raises
    ------
    InputError
        If it is no token file, or holds no observed token, or one token alone.
    """
    lengths: set[int] = set()
    n_contexts, n_tokens, largest, least = 0, 0, -1, np.iinfo(np.int64).max
    for block in token_blocks(path):
        lengths |= set(np.unique(block.lengths).tolist())
        seen = block.tokens[block.tokens != UNOBSERVED]
        n_contexts, n_tokens = n_contexts + len(block), n_tokens + len(seen)
        largest, least = max(largest, seen.max(initial=-1)), min(least, seen.min(initial=least))
    if largest <= least:
        raise InputError(f"{path} holds no two different tokens; there is nothing to learn from.")
    found = np.array(sorted(lengths), np.int64)
    return FileFacts(found, n_contexts, n_tokens, int(largest), int(least))


def require_fitting_tokens(piece: Piece, path: Path, facts: FileFacts) -> None:
    """Refuse a file with a token outside of the vocabulary, by its row."""
    if facts.largest >= piece.template.vocabulary_size:
        for block in token_blocks(path):
            require_tokens(piece.template, block)
