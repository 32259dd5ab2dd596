"""Token contexts of differing lengths, as one flat array with lengths, and their Parquet files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from concept_ppl.errors import InputError, listed

UNOBSERVED = -1
"""The token that stands for a position whose token is unknown."""

LARGEST_TOKEN = 2**63 - 1

HASHED_AT_ONCE = 2**14
_HASH_SEED = 0x5EED


@dataclass(frozen=True)
class Contexts:
    """A batch of contexts.

    Attributes
    ----------
    tokens : int64 array, shape (sum of lengths,)
        The contexts one after the other; −1 is a position whose token was not observed.
    lengths : int64 array, shape (n_contexts,)
    first_row : int
        What messages call the first one, where they are a part of a longer file.
    """

    tokens: NDArray[np.int64]
    lengths: NDArray[np.int64]
    first_row: int = 0

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def longest(self) -> int:
        """Length of the longest context, 0 if there is none."""
        return int(self.lengths.max(initial=0))

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Where each context starts in ``tokens``, shape (n_contexts,)."""
        ends: NDArray[np.int64] = np.cumsum(self.lengths)
        return ends - self.lengths

    @classmethod
    def from_lists(cls, contexts: Iterable[Sequence[int | None]]) -> "Contexts":
        """Build from lists of token indices, ``None`` or −1 for an unobserved token.

        Raises
        ------
        InputError
            If a row is no list of whole numbers; the message names it.
        """
        rows = [_token_row(row, number) for number, row in enumerate(contexts)]
        lengths = np.array([len(row) for row in rows], np.int64)
        return cls(np.concatenate([np.empty(0, np.int64), *rows]), lengths)

    @classmethod
    def from_padded(cls, tokens: NDArray[np.int64] | Tensor) -> "Contexts":
        """Build from a rectangular array, shape (n_contexts, n_tokens), −1 for unobserved."""
        array = np.asarray(tokens)
        if array.ndim != 2:
            raise InputError(f"contexts must have two dimensions, not {array.ndim}.")
        array = np.ascontiguousarray(_whole_numbers(array, "contexts"))
        return cls(array.reshape(-1), np.full(array.shape[0], array.shape[1], np.int64))

    @classmethod
    def concatenate(cls, batches: Sequence["Contexts"]) -> "Contexts":
        """Return all batches one after the other."""
        if len(batches) == 1:
            return batches[0]
        return cls(
            np.concatenate([batch.tokens for batch in batches]),
            np.concatenate([batch.lengths for batch in batches]),
        )

    def take(self, rows: NDArray[np.int64]) -> "Contexts":
        """Return the contexts of the given rows, in that order."""
        if len(rows) == len(self) and np.array_equal(rows, np.arange(len(self))):
            return self
        return Contexts(self.tokens[self.token_positions(rows)], self.lengths[rows])

    def token_positions(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where in ``tokens`` the tokens of the given rows lie, row by row."""
        return _spans(self.offsets[rows], self.lengths[rows])

    def slice(self, start: int, stop: int) -> "Contexts":
        """Return the contexts of rows ``start`` up to ``stop``, without copying a token."""
        first, end = (
            int(self.offsets[row]) if row < len(self) else len(self.tokens) for row in (start, stop)
        )
        return Contexts(self.tokens[first:end], self.lengths[start:stop])

    def prefixes(self) -> "Contexts":
        """Return each context's prefixes of lengths 0, 1, …, one context after the other."""
        counts = self.lengths + 1
        starts = np.repeat(self.offsets, counts)
        lengths = _spans(np.zeros_like(counts), counts)
        return Contexts(self.tokens[_spans(starts, lengths)], lengths)

    def padded(self, n_tokens: int | None = None) -> NDArray[np.int64]:
        """Return shape (n_contexts, n_tokens), −1 behind each end; read only."""
        width = self.longest if n_tokens is None else n_tokens
        if (self.lengths == width).all():
            return self.tokens.reshape(len(self), width)
        table = np.full((len(self), width), UNOBSERVED, np.int64)
        table[np.arange(width) < self.lengths[:, None]] = self.tokens
        return table

    def unique(self) -> tuple["Contexts", NDArray[np.int64]]:
        """Return the distinct contexts and, for each context, the index of its distinct one.

        Rows are compared by a 64-bit hash and then token by token; should two different contexts
        ever share a hash, every context counts as distinct, so the answer stays right.
        """
        identity = np.arange(len(self))
        if len(self) < 2:
            return self, identity
        hashes = self._hashes()
        ordered = np.sort(hashes)
        if (ordered[1:] != ordered[:-1]).all():
            return self, identity
        _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
        order = np.argsort(first, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        distinct, inverse = self.take(first[order]), rank[inverse]
        repeated = distinct.take(inverse)
        same_lengths = np.array_equal(repeated.lengths, self.lengths)
        if not (same_lengths and np.array_equal(repeated.tokens, self.tokens)):
            return self, identity
        return distinct, inverse

    def _hashes(self) -> NDArray[np.uint64]:
        # Multiply-add over positions with random odd weights, modulo 2^64; a block of rows at a
        # time, or the intermediate tables would be several times the contexts themselves.
        generator = np.random.default_rng(_HASH_SEED)
        weights = generator.integers(0, 2**63, self.longest + 1, np.uint64) * 2 + 1
        starts = range(0, len(self), HASHED_AT_ONCE)
        blocks = (self.slice(start, min(start + HASHED_AT_ONCE, len(self))) for start in starts)
        return np.concatenate([_hashed(block, weights) for block in blocks])


def _hashed(contexts: Contexts, weights: NDArray[np.uint64]) -> NDArray[np.uint64]:
    lengths = contexts.lengths.astype(np.uint64) * weights[0]
    if len(contexts.tokens) == 0:
        return np.asarray(lengths)
    terms = _mixed((contexts.tokens + 2).view(np.uint64))
    if (contexts.lengths == contexts.longest).all():
        return np.asarray(
            terms.reshape(len(contexts), -1) @ weights[1 : contexts.longest + 1] + lengths
        )
    starts = contexts.offsets
    terms *= weights[1:][np.arange(len(terms)) - np.repeat(starts, contexts.lengths)]
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms)])
    return np.asarray(sums[starts + contexts.lengths] - sums[starts] + lengths)


def _mixed(tokens: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread small token indices over 64 bits, so that sums of them do not collide."""
    mixed = tokens * np.uint64(0x9E3779B97F4A7C15)
    return np.asarray(mixed ^ (mixed >> np.uint64(29)))


def _spans(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Concatenate ``range(start, start + length)`` over all pairs."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.asarray(np.arange(total) + np.repeat(starts - (ends - lengths), lengths))


def _token_row(row: Sequence[int | None], number: int) -> NDArray[np.int64]:
    try:
        tokens = np.asarray([UNOBSERVED if token is None else token for token in row])
    except (TypeError, ValueError):
        tokens = np.empty((0, 0))
    if tokens.ndim != 1:
        raise InputError(f"row {number} is no list of token indices; give one list per context.")
    return _whole_numbers(tokens, f"row {number}")


def _whole_numbers(tokens: NDArray[Any], where: str) -> NDArray[np.int64]:
    """Convert to 64 bits without rounding a fraction or wrapping around a large number."""
    kind = tokens.dtype.kind
    fits = kind in "bi" or (kind == "u" and tokens.max(initial=0) <= LARGEST_TOKEN)
    if not fits and tokens.size:
        example = tokens.max() if kind == "u" else tokens.flat[0]
        raise InputError(
            f"{where}: tokens must be whole numbers below 2^63 (None or -1 where unobserved), not "
            f"{example}."
        )
    return tokens.astype(np.int64, copy=False)


def as_contexts(contexts: "Contexts | pd.DataFrame | Tensor | Iterable[Sequence[int]]") -> Contexts:
    """Accept what users have: ``Contexts``, a tokens table, a rectangular tensor, or lists."""
    if isinstance(contexts, Contexts):
        return contexts
    if isinstance(contexts, pd.DataFrame):
        if "x" not in contexts:
            names = listed(contexts.columns)
            raise InputError(f"the table has no column x (list of token indices); it has: {names}.")
        return Contexts.from_lists(contexts["x"])
    if isinstance(contexts, torch.Tensor):
        return Contexts.from_padded(contexts)
    return Contexts.from_lists(contexts)


def read_tokens(path: str | Path) -> tuple[pd.DataFrame, Contexts]:
    """Read a tokens file: Parquet with ``x`` (list of int) and optionally ``y, weight, text``.

    Returns
    -------
    table
        Every column but ``x``, rows in the file's order.
    contexts
        Column ``x``; a null inside a list is an unobserved token.

    Raises
    ------
    InputError
        If the file is missing, is not Parquet, holds no rows, or ``x`` is missing or no list of
        int.
    """
    return tokens_of(read_parquet(path), path)


def tokens_of(file: pa.Table, path: str | Path) -> tuple[pd.DataFrame, Contexts]:
    """Read a table, or a part of one, as :func:`read_tokens` a file; messages call it ``path``."""
    if "x" not in file.column_names:
        names = listed(file.column_names)
        raise InputError(f"{path} has no column x (list of token indices); it has: {names}.")
    contexts = contexts_of(file.column("x"), path)
    return file.drop_columns(["x"]).to_pandas(), contexts


def contexts_of(x: pa.ChunkedArray, path: str | Path, first_row: int = 0) -> Contexts:
    """Return the contexts of a column x of a file; a null inside a list is an unobserved token.

    Raises
    ------
    InputError
        If the column holds no lists of token indices; the message names file and row.
    """
    column = x.combine_chunks()
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        raise InputError(f"{path}: column x must hold lists of integers, not {column.type}.")
    values = column.flatten()
    if not (pa.types.is_integer(values.type) or pa.types.is_null(values.type)):
        raise InputError(f"{path}: column x must hold lists of integers, not {column.type}.")
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0]) + first_row
        raise InputError(f"{path}, row {row}: x is null; write an empty list for no context.")
    lengths = column.value_lengths().cast(pa.int64()).to_numpy(zero_copy_only=False)
    _require_indices(path, values, lengths, first_row)
    tokens = values.cast(pa.int64()).fill_null(UNOBSERVED).to_numpy(zero_copy_only=False)
    return Contexts(np.array(tokens), np.array(lengths), first_row)


def _require_indices(
    path: str | Path, values: pa.Array, lengths: NDArray[np.int64], first_row: int
) -> None:
    """Refuse tokens below zero (a −1 would count as unobserved) or past 64 bits with sign."""
    if pa.types.is_null(values.type):
        return
    wrong = pc.less(values, pa.scalar(0, values.type))
    reason = "is negative; use null for unobserved"
    if pa.types.is_uint64(values.type):
        wrong = pc.greater(values, pa.scalar(LARGEST_TOKEN, values.type))
        reason = "is 2^63 or more; number the vocabulary from 0"
    places = np.flatnonzero(wrong.fill_null(False).to_numpy(zero_copy_only=False))
    if len(places):
        row = int(np.searchsorted(np.cumsum(lengths), places[0], side="right")) + first_row
        raise InputError(f"{path}, row {row}: token {values[int(places[0])]} {reason}.")


def read_parquet(path: str | Path) -> pa.Table:
    """Read a Parquet file that has at least one row, or say in one sentence why not."""
    if Path(path).is_dir():
        raise InputError(f"{path} is a folder; name a Parquet file.")
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist; name a Parquet file.")
    try:
        file = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a readable Parquet file.") from error
    if file.num_rows == 0:
        raise InputError(f"{path} holds no rows.")
    return file
