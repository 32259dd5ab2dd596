"""log p(x) where concepts move within the context, or are too many for one table.

The engines `sequences` and `contraction` of :mod:`concept_ppl.inference`, upward only, in chunks;
gradients by automatic differentiation, so that one chunk at a time is held.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concept_ppl.contexts.tokens import Contexts
from concept_ppl.inference.exact.contraction import Leaf, align, contraction_tree, upward
from concept_ppl.inference.exact.elimination import all_leaves
from concept_ppl.inference.exact.sequences import forward, unroll
from concept_ppl.logspace import by_row, logsumexp
from concept_ppl.programs.factors import FactorGraph

from .program import Piece

Indices = Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True)
class GeneralEvidence:
    """Contexts of one piece, answered in chunks.

    Attributes
    ----------
    piece : Piece
    contexts : Contexts
    given, next_tokens : mapping of str to int64 array, shape (n_contexts,)
        −1 for unknown.
    chunk : int
        Contexts at a time.
    """

    piece: Piece
    contexts: Contexts
    given: Indices
    next_tokens: Indices
    chunk: int

    @property
    def n_contexts(self) -> int:
        """Number of contexts."""
        return len(self.contexts)

    def take(self, rows: NDArray[np.int64]) -> "GeneralEvidence":
        """Return the evidence of some contexts."""
        given = {name: values[rows] for name, values in self.given.items()}
        following = {name: values[rows] for name, values in self.next_tokens.items()}
        return replace(self, contexts=self.contexts.take(rows), given=given, next_tokens=following)

    def by_context(self, tables: Sequence[Tensor], rows: NDArray[np.int64] | None = None) -> Tensor:
        """Return log p(x) of all or some contexts, shape (n,); differentiable, also twice."""
        chosen = np.arange(self.n_contexts) if rows is None else rows
        parts = [
            self._answer(tables, chosen[start : start + self.chunk])
            for start in range(0, len(chosen), self.chunk)
        ]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)

    def _answer(self, tables: Sequence[Tensor], rows: NDArray[np.int64]) -> Tensor:
        graph = self.piece.graph(tables)
        part = self.contexts.take(rows)
        given = {name: torch.from_numpy(index[rows]) for name, index in self.given.items()}
        following = {name: index[rows] for name, index in self.next_tokens.items()}
        answer = _along_positions if graph.moving else _by_elimination
        return answer(graph, part, given, following)

    def total(self, tables: Sequence[Tensor], weights: NDArray[np.float64]) -> Tensor:
        """Return Σ weight · log p(x), differentiable once; −inf where p(x) = 0."""
        total: Tensor = _Total.apply(self, weights, *tables)  # type: ignore[no-untyped-call]
        return total

    def each(self, tables: Sequence[Tensor]) -> NDArray[np.float64]:
        """Return log p(x) of all contexts, without gradients, shape (n_contexts,)."""
        with torch.no_grad():
            return self.by_context(tables).numpy()


def _next_leaf(graph: FactorGraph, name: str, values: NDArray[np.int64]) -> Leaf:
    factor = graph.next_tokens[name]
    rows = factor.table.movedim(-1, 0)
    index = torch.from_numpy(np.where(values >= 0, values, len(rows)))
    padded = torch.cat([rows, torch.zeros_like(rows[:1])])
    return Leaf(factor.scope, padded.index_select(0, index), batched=True)


def _by_elimination(
    graph: FactorGraph, contexts: Contexts, given: Mapping[str, Tensor], following: Indices
) -> Tensor:
    leaves = all_leaves(graph, contexts, given)
    leaves += [_next_leaf(graph, name, values) for name, values in following.items()]
    key = f"tree:evidence:{','.join(given)}:{','.join(following)}"
    if key not in graph._cache:
        flags = [leaf.batched for leaf in leaves]
        scopes = [leaf.scope for leaf in leaves]
        graph._cache[key] = contraction_tree(scopes, graph.sizes, (), flags, 1000)
    tree: Any = graph._cache[key]
    return upward(tree, leaves)[-1].table.reshape(-1).expand(len(contexts))


def _along_positions(
    graph: FactorGraph, contexts: Contexts, given: Mapping[str, Tensor], following: Indices
) -> Tensor:
    chain = unroll(graph)
    order = np.argsort(-contexts.lengths, kind="stable")
    index = torch.from_numpy(order)
    known = {name: values[index] for name, values in given.items()}
    states, _ = forward(graph, chain, contexts.take(order), known, keep=False)
    total = states
    for name, values in following.items():
        leaf = _next_leaf(graph, name, values[order])
        total = total + align(leaf.scope, leaf.table, chain.reported, batched=True)
    return logsumexp(by_row(total), 1)[torch.argsort(index)]


class _Total(torch.autograd.Function):
    """Σ weight · log p(x) by chunks; each chunk's graph is gone before the next one's is made."""

    @staticmethod
    def forward(ctx: Any, evidence: GeneralEvidence, weights: Any, *tables: Tensor) -> Tensor:
        leaves = [table.detach().requires_grad_() for table in tables]
        gradients = [torch.zeros_like(table) for table in tables]
        total = torch.zeros((), dtype=torch.float64)
        for start in range(0, evidence.n_contexts, evidence.chunk):
            rows = np.arange(start, min(start + evidence.chunk, evidence.n_contexts))
            weight = torch.from_numpy(weights[rows])
            with torch.enable_grad():
                found = evidence._answer(leaves, rows)
                part = torch.where(weight > 0, weight * found, 0.0).sum()
                own = torch.autograd.grad(part, leaves, allow_unused=True)
            for gradient, more in zip(gradients, own, strict=True):
                if more is not None:
                    gradient.add_(more)
            total += part.detach()
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        return (None, None, *(gradient * own for own in ctx.saved_tensors))
