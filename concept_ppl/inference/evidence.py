"""What a batch of contexts says about the concepts: log p(x | concepts), before any prior.

Where all positions share one scope, the log-likelihood of a context is the sum of one row per token
of a (vocabulary, Π parents) table: an embedding bag, which runs at memory bandwidth. Where scopes
differ from position to position but the union is small, their tables are laid out over it once, and
the bag is taken over (position, token) pairs.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from concept_ppl.contexts.tokens import UNOBSERVED, Contexts
from concept_ppl.inference.exact.contraction import Leaf, align
from concept_ppl.logspace import by_row
from concept_ppl.programs.factors import Emission, FactorGraph, TokenTable

PAIR_CELLS = 2**16
"""Largest table of all pairs of tokens: 512 kB, what a core's cache holds."""
NARROW = 32
"""Up to so many columns a float64 bag is summed position by position, 3 to 10 times as fast."""
MAX_LAID_OUT = 2**20
"""Largest (position · vocabulary, joint values) table made so that one bag answers all scopes."""


def evidence_leaves(
    graph: FactorGraph, contexts: Contexts, given: Mapping[str, Tensor]
) -> list[Leaf]:
    """Return log p(x | concepts) as one batched table per distinct scope.

    Parameters
    ----------
    given
        Concepts whose value is known: name to value indices, shape (n_contexts,), −1 for unknown.
    """
    by_scope: dict[tuple[str, ...], Tensor] = {}
    emissions = graph.emissions[:1] if _reads_one_table(graph) else graph.emissions
    columns = contexts.padded(graph.n_tokens) if len(emissions) > 1 else None
    for emission in emissions:
        if emission.start >= max(contexts.longest, 1):
            break
        if columns is None:
            tokens = emission.tokens
            if _goes_by_pairs(tokens, contexts):
                table = _sum_by_pair(tokens.pairs, graph.vocabulary_size + 1, contexts)
            else:
                table = _bag(tokens.rows, graph.vocabulary_size if tokens.varies else 0, contexts)
        else:
            table = token_rows(emission, torch.from_numpy(columns[:, emission.start]))
        table = table.reshape(-1, *(graph.sizes[name] for name in emission.scope))
        known = by_scope.get(emission.scope)
        by_scope[emission.scope] = table if known is None else known + table
    leaves = [Leaf(scope, table, batched=True) for scope, table in by_scope.items()]
    return leaves + [observed(graph, name, index) for name, index in given.items()]


def _reads_one_table(graph: FactorGraph) -> bool:
    """Whether all positions read one table over one scope, so that tokens are counted anywhere."""
    first = graph.emissions[0]
    return len(graph.emissions) == 1 or all(
        e.tokens is first.tokens and e.scope == first.scope and not e.tokens.varies
        for e in graph.emissions
    )


def observed(graph: FactorGraph, name: str, index: Tensor) -> Leaf:
    """Return a table that is 0 at the known value and −inf elsewhere, 0 everywhere if unknown."""
    values = torch.arange(graph.sizes[name], device=graph.device)
    index = index.to(graph.device).unsqueeze(-1)
    excluded = (values != index) & (index >= 0)
    zeros = torch.zeros(excluded.shape, dtype=graph.dtype, device=graph.device)
    return Leaf((name,), zeros.masked_fill(excluded, -torch.inf), batched=True)


def _bag(rows: Tensor, stride: int, contexts: Contexts) -> Tensor:
    """Sum the rows of each context's tokens, shape (n_contexts, row width).

    ``stride`` rows lie between one position's row of a token and the next one's.
    """
    is_narrow = rows.dtype == torch.float64 and rows.shape[1] <= NARROW
    if is_narrow and rows.device.type == "cpu":
        return _sum_by_position(rows, stride, contexts)
    tokens, offsets = contexts.tokens, contexts.offsets
    index = tokens
    if stride:
        positions = np.arange(len(tokens)) - np.repeat(offsets, contexts.lengths)
        index = positions * stride + tokens
    is_observed = tokens != UNOBSERVED
    if not is_observed.all():
        counts = np.append(0, np.cumsum(is_observed))
        index, offsets = index[is_observed], counts[offsets]
    if len(index) == 0:
        return rows.new_zeros(len(contexts), rows.shape[1])
    return embedding_bag(
        torch.from_numpy(np.ascontiguousarray(index)).to(rows.device),
        rows,
        torch.from_numpy(np.ascontiguousarray(offsets)).to(rows.device),
        mode="sum",
    )


def _goes_by_pairs(tokens: TokenTable, contexts: Contexts) -> bool:
    """Whether a table of all pairs of tokens is small enough to be looked up in half as often."""
    rows = tokens.rows
    n_cells = (len(rows) + 1) ** 2 * rows.shape[1]
    is_narrow = rows.dtype == torch.float64 and rows.shape[1] <= NARROW
    is_small = n_cells <= PAIR_CELLS and n_cells <= contexts.tokens.size
    on_cpu = rows.device.type == "cpu" and not rows.requires_grad
    return is_narrow and is_small and on_cpu and not tokens.varies and contexts.longest > 1


def _sum_by_pair(pairs: Tensor, base: int, contexts: Contexts) -> Tensor:
    """Sum the rows of each context's tokens, two tokens at a time."""
    columns = contexts.padded().T
    n_pairs = len(columns) // 2
    index = np.multiply(columns[: 2 * n_pairs : 2], base, order="C")
    index += columns[1 : 2 * n_pairs : 2]
    index += base + 1
    total = pairs.index_select(0, torch.from_numpy(index[0]))
    for column in index[1:]:
        total += pairs.index_select(0, torch.from_numpy(column))
    if len(columns) % 2:  # the last token, beside one that was not observed
        total += pairs.index_select(0, torch.from_numpy(np.ascontiguousarray(columns[-1]) + 1))
    return total


def _sum_by_position(rows: Tensor, stride: int, contexts: Contexts) -> Tensor:
    """Do as :func:`_bag`, a position at a time; torch's own float64 bag is slow for narrow rows."""
    rows = torch.cat([rows, rows.new_zeros(1, rows.shape[1])])
    total = rows.new_zeros(len(contexts), rows.shape[1])
    for t, column in enumerate(np.ascontiguousarray(contexts.padded().T)):
        index = column + t * stride if stride else column
        if column.min(initial=0) == UNOBSERVED:
            index = np.where(column == UNOBSERVED, len(rows) - 1, index)
        total += rows.index_select(0, torch.from_numpy(index))
    return total


def token_rows(emission: Emission, tokens: Tensor, position: int = 0) -> Tensor:
    """Return log p(token | parents) at one position, 0 where unobserved, shape (n, Π parents)."""
    rows = emission.tokens.rows
    tokens = tokens.to(rows.device)
    first = position * emission.tokens.table.shape[-1] if emission.tokens.varies else 0
    picked = rows.index_select(0, tokens.clamp_min(0) + first)
    return picked.masked_fill((tokens == UNOBSERVED).unsqueeze(-1), 0.0)


def joint_evidence(
    graph: FactorGraph, scope: tuple[str, ...], contexts: Contexts, given: Mapping[str, Tensor]
) -> Tensor:
    """Return log p(x | scope) as one table, shape (n_contexts, Π scope); it may be written to."""
    shape = (len(contexts), *(graph.sizes[name] for name in scope))
    n_rows = graph.n_tokens * graph.vocabulary_size
    if not _reads_one_table(graph) and n_rows * math.prod(shape[1:]) <= MAX_LAID_OUT:
        total = _bag(_laid_out(graph, scope), graph.vocabulary_size, contexts).reshape(shape)
        leaves = [observed(graph, name, index) for name, index in given.items()]
    else:
        leaves = evidence_leaves(graph, contexts, given)
        if len(leaves) == 1 and leaves[0].scope == scope:
            return by_row(leaves[0].table)
        total = torch.zeros(shape, dtype=graph.dtype, device=graph.device)
    for leaf in leaves:
        total = total + align(leaf.scope, leaf.table, scope, batched=True)
    return by_row(total)


def _laid_out(graph: FactorGraph, scope: tuple[str, ...]) -> Tensor:
    """Return log p(x_t | scope), one row per (position, token), made once per graph."""
    key = f"laid out:{','.join(scope)}"
    if key not in graph._cache:
        by_emission = []
        for emission in graph.emissions:
            rows = emission.tokens.rows
            rows = rows.reshape(len(rows), *(graph.sizes[name] for name in emission.scope))
            repeats = 1 if emission.tokens.varies else emission.stop - emission.start
            by_emission.append(_spread(graph, emission.scope, rows, scope).repeat(repeats, 1))
        graph._cache[key] = torch.cat(by_emission)
    table = graph._cache[key]
    assert isinstance(table, Tensor)
    return table


def prefix_evidence(
    graph: FactorGraph, scope: tuple[str, ...], contexts: Contexts, given: Mapping[str, Tensor]
) -> Tensor:
    """Return log p(x_{≤t} | scope) at every position, shape (sum of lengths, Π scope).

    One running sum over the positions of each context, in the order of ``contexts.tokens``.
    """
    columns = torch.from_numpy(contexts.padded(graph.n_tokens)[:, : contexts.longest])
    by_position = []
    for emission in graph.emissions:
        for t in range(emission.start, min(emission.stop, contexts.longest)):
            rows = token_rows(emission, columns[:, t], t)
            rows = rows.reshape(-1, *(graph.sizes[name] for name in emission.scope))
            by_position.append(_spread(graph, emission.scope, rows, scope))
    known = [observed(graph, name, index) for name, index in given.items()]
    start = sum(_spread(graph, leaf.scope, leaf.table, scope) for leaf in known)
    if not by_position:
        width = math.prod(graph.sizes[name] for name in scope)
        return torch.zeros(0, width, dtype=graph.dtype, device=graph.device)
    running = torch.stack(by_position, 1).cumsum(1)
    if known:
        running = running + torch.as_tensor(start).unsqueeze(1)
    is_own = torch.arange(running.shape[1]) < torch.from_numpy(contexts.lengths).unsqueeze(1)
    return running[is_own.to(running.device)]


def _spread(
    graph: FactorGraph, own: tuple[str, ...], table: Tensor, scope: tuple[str, ...]
) -> Tensor:
    """Lay a batched table out over a larger scope, shape (n, Π scope)."""
    sizes = [graph.sizes[name] for name in scope]
    return by_row(align(own, table, scope, batched=True).expand(-1, *sizes))
