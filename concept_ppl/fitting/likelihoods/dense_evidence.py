"""log p(x) of many contexts and its gradient in the tables, by sparse matrix products.

    log p(x) = log Σ_s exp(log p(s) + Σ_rows n(x, row) · log p(row | s))

``s`` are the joint values of the concepts that the evidence speaks of. A row is a token at a
position (at any, where the positions share a table), a next token, or a concept's known value. The
numbers n(x, row) never change, so they are one sparse matrix, made once; its product with the rows
gives log-likelihoods, and the product of its transpose with the posteriors the expected counts,
which are the gradient.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from concept_ppl.contexts.tokens import UNOBSERVED, Contexts
from concept_ppl.inference.exact.contraction import (
    ContractionTree,
    Leaf,
    align,
    contraction_tree,
    upward,
)
from concept_ppl.programs.factors import FactorGraph

from .program import Piece

Scope = tuple[str, ...]
Counts = Any
"""A scipy CSR matrix, shape (n_contexts, n_rows)."""
CHUNK_CELLS = 2**17
"""Cells of a chunk's table over s: 1 MiB, which the caches hold through all passes."""


@dataclass(frozen=True)
class DenseEvidence:
    """Contexts of one piece, laid out for the joint values of ``scope``.

    Attributes
    ----------
    piece : Piece
    scope : tuple of str
    counts : CSR matrix, shape (n_contexts, n_rows)
    given : tuple of str
        Concepts some of whose values are known; their rows come last.
    next_tokens : tuple of str
        The next-token sites that were observed.
    tree : ContractionTree
        Sums the other concepts out of the priors.
    """

    piece: Piece
    scope: Scope
    counts: Counts
    given: tuple[str, ...]
    next_tokens: tuple[str, ...]
    tree: ContractionTree

    @property
    def n_contexts(self) -> int:
        """Number of contexts."""
        return int(self.counts.shape[0])

    def take(self, rows: NDArray[np.int64]) -> "DenseEvidence":
        """Return the evidence of some contexts."""
        return replace(self, counts=self.counts[rows])

    def rows_and_prior(self, tables: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the log-rows, shape (n_rows, Π scope), and log p(s), shape (Π scope,)."""
        graph = self.piece.graph(tables)
        sizes = [graph.sizes[name] for name in self.scope]
        leaves = [Leaf(factor.scope, factor.table) for factor in graph.priors]
        nothing = torch.zeros((), dtype=graph.dtype, device=graph.device)
        leaves = leaves or [Leaf((), nothing)]  # no concepts at all
        root = upward(self.tree, leaves)[-1]
        prior = align(root.scope, root.table, self.scope, batched=True).expand(1, *sizes)
        return torch.cat(self.row_blocks(graph)), prior.reshape(-1)

    def row_blocks(self, graph: FactorGraph) -> list[Tensor]:
        """Return the rows of tokens, next tokens and known values, each shape (n, Π scope)."""
        sizes = [graph.sizes[name] for name in self.scope]
        blocks = [
            _spread(table.movedim(-1, 1).flatten(0, 1), scope, self.scope, sizes)
            for table, scope in _token_blocks(graph)
        ]
        for name in self.next_tokens:
            factor = graph.next_tokens[name]
            blocks.append(_spread(factor.table.movedim(-1, 0), factor.scope, self.scope, sizes))
        for name in self.given:
            sure = torch.eye(graph.sizes[name], dtype=graph.dtype, device=graph.device).log()
            blocks.append(_spread(sure, (name,), self.scope, sizes))
        return blocks

    def by_context(self, tables: Sequence[Tensor], rows: NDArray[np.int64] | None = None) -> Tensor:
        """Return log p(x) of all or some contexts, shape (n,); differentiable, also twice."""
        table, prior = self.rows_and_prior(tables)
        counts = self.counts if rows is None else self.counts[rows]
        likelihood: Tensor = _Product.apply(table, counts, False)  # type: ignore[no-untyped-call]
        return torch.logsumexp(likelihood + prior, 1)

    def total(self, tables: Sequence[Tensor], weights: NDArray[np.float64]) -> Tensor:
        """Return Σ weight · log p(x), differentiable once, in chunks; −inf where p(x) = 0."""
        table, prior = self.rows_and_prior(tables)
        total: Tensor = _Total.apply(  # type: ignore[no-untyped-call]
            table, prior, self.counts, weights
        )
        return total

    def each(self, tables: Sequence[Tensor]) -> NDArray[np.float64]:
        """Return log p(x) of all contexts, without gradients, shape (n_contexts,)."""
        with torch.no_grad():
            table, prior = (part.numpy() for part in self.rows_and_prior(tables))
        pieces = [
            posterior_of(chunk, table, prior)[1] for chunk, _ in chunks_of(self.counts, prior)
        ]
        return np.concatenate(pieces) if pieces else np.empty(0)


def dense_evidence(
    piece: Piece,
    scope: Scope,
    contexts: Contexts,
    given: Mapping[str, NDArray[np.int64]],
    next_tokens: Mapping[str, NDArray[np.int64]],
) -> DenseEvidence:
    """Lay contexts out; known values and next tokens have shape (n_contexts,), −1 for unknown."""
    graph = piece.template
    blocks = _token_blocks(graph)
    starts = np.cumsum([0, *(table.shape[0] * table.shape[-1] for table, _ in blocks)])
    columns = _token_columns(graph, contexts, starts)
    n_rows = int(starts[-1])
    extra = []
    for values, size in (
        *((index, graph.next_tokens[name].table.shape[-1]) for name, index in next_tokens.items()),
        *((index, graph.sizes[name]) for name, index in given.items()),
    ):
        extra.append(np.where(values >= 0, values + n_rows, UNOBSERVED))
        n_rows += size
    counts = _sparse(columns, contexts.lengths, extra, n_rows)
    leaves = [factor.scope for factor in graph.priors] or [()]
    tree = contraction_tree(leaves, graph.sizes, scope)
    return DenseEvidence(piece, scope, counts, tuple(given), tuple(next_tokens), tree)


def _token_blocks(graph: FactorGraph) -> list[tuple[Tensor, Scope]]:
    """Return each distinct (token table, scope)."""
    found = {(id(e.tokens), e.scope): (e.tokens.table, e.scope) for e in graph.emissions}
    return list(found.values())


def _token_columns(
    graph: FactorGraph, contexts: Contexts, starts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the row of each token, −1 where unobserved, in the order of ``contexts.tokens``."""
    blocks = list({(id(e.tokens), e.scope): None for e in graph.emissions})
    first = np.empty(graph.n_tokens, np.int64)
    for emission in graph.emissions:
        block = blocks.index((id(emission.tokens), emission.scope))
        for t in range(emission.start, emission.stop):
            inside = (t - emission.start) * graph.vocabulary_size if emission.tokens.varies else 0
            first[t] = starts[block] + inside
    tokens = contexts.tokens
    position = np.arange(len(tokens)) - np.repeat(contexts.offsets, contexts.lengths)
    return np.where(tokens == UNOBSERVED, UNOBSERVED, tokens + first[position])


def _sparse(
    columns: NDArray[np.int64],
    lengths: NDArray[np.int64],
    extra: Sequence[NDArray[np.int64]],
    n_rows: int,
) -> Counts:
    for values in extra:
        ends = np.cumsum(lengths)
        columns, lengths = np.insert(columns, ends, values), lengths + 1
    known = columns >= 0
    if not known.all():
        before = np.append(0, np.cumsum(known))
        starts = before[np.append(0, np.cumsum(lengths))]
        columns = columns[known]
    else:
        starts = np.append(0, np.cumsum(lengths))
    small = np.int32 if max(len(columns), n_rows) < 2**31 else np.int64
    counts = sparse.csr_matrix(
        (np.ones(len(columns)), columns.astype(small), starts.astype(small)),
        shape=(len(starts) - 1, n_rows),
    )
    counts.sum_duplicates()
    return counts


def _spread(table: Tensor, own: Scope, scope: Scope, sizes: Sequence[int]) -> Tensor:
    """Lay rows over their own scope, shape (n, *own), out over a larger one, (n, Π scope)."""
    laid = align(own, table, scope, batched=True)
    return laid.expand(len(laid), *sizes).reshape(len(laid), -1)


def chunks_of(counts: Counts, prior: NDArray[np.float64]) -> list[tuple[Counts, slice]]:
    """Cut the rows of a CSR matrix into chunks, without copying its numbers."""
    n, n_rows = counts.shape
    step = max(64, CHUNK_CELLS // len(prior))
    if n <= step:
        return [(counts, slice(0, n))]
    chunks = []
    for start in range(0, n, step):
        stop = min(start + step, n)
        first, end = counts.indptr[start], counts.indptr[stop]
        part = sparse.csr_matrix((stop - start, n_rows))
        part.data, part.indices = counts.data[first:end], counts.indices[first:end]
        part.indptr = counts.indptr[start : stop + 1] - first
        chunks.append((part, slice(start, stop)))
    return chunks


def posterior_of(
    counts: Counts, rows: NDArray[np.float64], prior: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return p(s | x), shape (n, Π scope), and log p(x)."""
    table = counts @ rows
    table += prior
    peak = table.max(1, keepdims=True)
    peak[np.isneginf(peak)] = 0.0
    table -= peak
    np.exp(table, out=table)
    mass = table.sum(1)
    with np.errstate(divide="ignore"):
        log_evidence = np.log(mass) + peak[:, 0]
    table /= np.where(mass > 0, mass, 1.0)[:, None]
    return table, log_evidence


class _Total(torch.autograd.Function):
    """Σ weight · log p(x), whose gradient is the expected counts, made on the way."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, prior: Tensor, counts: Counts, weights: Any) -> Tensor:
        logs, start = rows.detach().numpy(), prior.detach().numpy()
        expected, mass, total = np.zeros_like(logs), np.zeros_like(start), 0.0
        for chunk, own in chunks_of(counts, start):
            posterior, log_evidence = posterior_of(chunk, logs, start)
            weight = weights[own]
            total += float(weight[weight > 0] @ log_evidence[weight > 0])
            posterior *= weight[:, None]
            expected += chunk.T @ posterior
            mass += posterior.sum(0)
        ctx.save_for_backward(torch.from_numpy(expected), torch.from_numpy(mass))
        return torch.tensor(total, dtype=torch.float64)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        expected, mass = ctx.saved_tensors
        return gradient * expected, gradient * mass, None, None


class _Product(torch.autograd.Function):
    """A sparse matrix, or its transpose, times a dense one: linear, so differentiable again."""

    @staticmethod
    def forward(ctx: Any, dense: Tensor, counts: Counts, transposed: bool) -> Tensor:
        ctx.counts, ctx.transposed = counts, transposed
        matrix = counts.T if transposed else counts
        return torch.from_numpy(np.ascontiguousarray(matrix @ dense.detach().numpy()))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        other = _Product.apply(  # type: ignore[no-untyped-call]
            gradient.contiguous(), ctx.counts, not ctx.transposed
        )
        return other, None, None
