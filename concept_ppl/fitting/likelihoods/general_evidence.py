"""log p(x) where concepts move within the context, or are too many for one table.

The engines `sequences` and `contraction` of :mod:`concept_ppl.inference`, upward only, in chunks;
gradients by automatic differentiation, so that one chunk at a time is held.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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

from .chain_evidence import ChainBatch, ChainPass, backward_pass, forward_pass
from .program import Piece
from .total_in_parts import total_in_parts

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
    _laid_out: dict[tuple[int, int], ChainBatch] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def n_contexts(self) -> int:
        """Number of contexts."""
        return len(self.contexts)

    def take(self, rows: NDArray[np.int64]) -> "GeneralEvidence":
        """Return the evidence of some contexts."""
        given = {name: values[rows] for name, values in self.given.items()}
        following = {name: values[rows] for name, values in self.next_tokens.items()}
        return replace(
            self,
            contexts=self.contexts.take(rows),
            given=given,
            next_tokens=following,
            _laid_out={},
        )

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
        given = {
            name: torch.from_numpy(index[rows]).to(graph.device)
            for name, index in self.given.items()
        }
        following = {name: index[rows] for name, index in self.next_tokens.items()}
        answer = _along_positions if graph.moving else _by_elimination
        return answer(graph, part, given, following)

    def total(self, tables: Sequence[Tensor], weights: NDArray[np.float64]) -> Tensor:
        """Return Σ weight · log p(x), differentiable once; −inf where p(x) = 0."""

        def parts(leaves: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
            ready = self._ready(leaves)
            for rows in self._many(ready):
                weight = torch.from_numpy(weights[rows]).to(leaves[0].device)
                if ready is None:
                    found = self._answer(leaves, rows)
                    part = torch.where(weight > 0, weight * found, 0.0).sum()
                    yield part, part
                    continue
                found, counts = self._scaled(ready, leaves, rows, weight)
                value = torch.where(weight > 0, weight * found, 0.0).sum()
                yield (
                    value,
                    torch.stack(
                        [torch.where(n > 0, n * table, 0.0).sum() for table, n in counts]
                    ).sum(),
                )

        return total_in_parts(parts, tables, share_graph=True)

    def each(self, tables: Sequence[Tensor]) -> NDArray[np.float64]:
        """Return log p(x) of all contexts, without gradients, shape (n_contexts,)."""
        with torch.no_grad():
            ready = self._ready(tables)
            if ready is None:
                return self.by_context(tables).numpy(force=True)
            parts = [self._scaled(ready, tables, rows, None)[0] for rows in self._many(ready)]
            return torch.cat(parts).numpy(force=True)

    def _ready(self, tables: Sequence[Tensor]) -> ChainPass | None:
        """Return the graph for passes in probabilities, where that is possible."""
        is_whole = bool(self.n_contexts) and int(self.contexts.lengths.min()) > 0
        graph = self.piece.graph(tables)
        return ChainPass.of(graph) if graph.moving and not self.given and is_whole else None

    def _many(self, ready: ChainPass | None) -> Iterator[NDArray[np.int64]]:
        """Yield the contexts that are answered at once."""
        size = self.chunk if ready is None else ready.contexts_at_once(self.contexts.longest)
        for start in range(0, self.n_contexts, size):
            yield np.arange(start, min(start + size, self.n_contexts))

    def _scaled(
        self,
        ready: ChainPass,
        tables: Sequence[Tensor],
        rows: NDArray[np.int64],
        weights: Tensor | None,
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Return log p(x) of some contexts and, with weights, counts of differentiable tables.

        Contexts that probabilities cannot hold are answered in log-space; their part of the
        counts is left to their own gradient, by a table of one number.
        """
        batch = self._batch(ready, rows)
        order, last = batch.order, self._last(ready, batch.order)
        total, passed, doubtful = forward_pass(ready, batch, last)
        counts: list[tuple[Tensor, Tensor]] = []
        if weights is not None:
            own = weights[torch.from_numpy(order - rows[0]).to(weights.device)]
            counts, ends = backward_pass(ready, batch, passed, own.masked_fill(doubtful, 0.0))
            if last is not None:
                counts.append((last, ends))
        if bool(doubtful.any()):
            which = doubtful.nonzero().squeeze(1)
            found = self._answer(tables, order[which.numpy(force=True)])
            total[which] = found.detach()
            if weights is not None:
                counts.append((found, own[which]))
        return total[torch.from_numpy(np.argsort(order)).to(total.device)], counts

    def _batch(self, ready: ChainPass, rows: NDArray[np.int64]) -> ChainBatch:
        """Return some contexts laid out for passes along their positions; made once."""
        key = int(rows[0]), len(rows)
        if key not in self._laid_out:
            n_values, device = ready.graph.vocabulary_size, ready.graph.device
            self._laid_out[key] = ChainBatch.of(self.contexts, rows, n_values, device)
        return self._laid_out[key]

    def _last(self, ready: ChainPass, rows: NDArray[np.int64]) -> Tensor | None:
        """Return log p(next tokens | reported concepts), or None where none was observed."""
        reported, total = ready.chain.reported, None
        for name, values in self.next_tokens.items():
            leaf = _next_leaf(ready.graph, name, values[rows])
            own = align(leaf.scope, leaf.table, reported, batched=True)
            total = own if total is None else total + own
        sizes = [ready.graph.sizes[name] for name in ready.chain.steps[0].present]
        return None if total is None else total.expand(len(rows), *sizes)


def _next_leaf(graph: FactorGraph, name: str, values: NDArray[np.int64]) -> Leaf:
    factor = graph.next_tokens[name]
    rows = factor.table.movedim(-1, 0)
    index = torch.from_numpy(np.where(values >= 0, values, len(rows))).to(rows.device)
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
    index = torch.from_numpy(order).to(graph.device)
    known = {name: values[index] for name, values in given.items()}
    states, _ = forward(graph, chain, contexts.take(order), known, keep=False)
    total = states
    for name, values in following.items():
        leaf = _next_leaf(graph, name, values[order])
        total = total + align(leaf.scope, leaf.table, chain.reported, batched=True)
    return logsumexp(by_row(total), 1)[torch.argsort(index)]
