"""Other exact answers: the next token, the most probable concepts, samples, pairs of concepts."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from concept_ppl.contexts.tokens import UNOBSERVED, Contexts, as_contexts
from concept_ppl.errors import InputError, listed
from concept_ppl.inference.exact.contraction import (
    Leaf,
    combine,
    contract,
    contraction_tree,
    traceback,
    upward,
)
from concept_ppl.inference.exact.elimination import all_leaves
from concept_ppl.logspace import expectation, log_product, normalise
from concept_ppl.programs.factors import FactorGraph
from concept_ppl.programs.graph_assembly import Model

from .batches import graphs_for, require_tokens
from .impossible_contexts import ImpossibleContextError
from .posteriors import posterior

STATE_CELLS = 2**24
"""Joint states of moving concepts that are held at once (128 MiB), however many the contexts."""

Batch = Contexts | pd.DataFrame | Tensor | Iterable[Sequence[int]]


def predictive(
    model: Model | FactorGraph,
    contexts: Batch,
    *,
    site: str = "y",
    values: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Return the Bayes-optimal log-predictive, log p(next token | context).

    Parameters
    ----------
    model, contexts, values, device, dtype
        As in :func:`concept_ppl.posterior`.
    site
        A next-token site of the program, or ``x`` for the next token of the context itself,
        log p(x_{t+1} | x_{≤t}); a compiled graph then needs one position more than the contexts.

    Returns
    -------
    Tensor, shape (n_contexts, n_values)
        Natural logarithms; impossible tokens are −inf.

    Raises
    ------
    InputError
        If the model has no such site.
    """
    batch = as_contexts(contexts)
    asked = _one_more(batch) if site == "x" else batch
    rows, pieces = [], []
    for graph, own in graphs_for(model, asked, values, device, dtype):
        part = asked.take(own)
        for length in np.unique(part.lengths):
            same = np.flatnonzero(part.lengths == length)
            scope, table = next_table(graph, site, int(length))
            weights = _log_weights(graph, part.take(same), scope, int(length))
            logs = table.reshape(weights.shape[1], -1)
            _require_possible(graph, weights, own[same])
            pieces.append(log_product(weights.exp(), weights, logs.exp(), logs))
            rows.append(own[same])
    if not pieces:
        graph, _ = next(graphs_for(model, asked, values, device, dtype))
        _, table = next_table(graph, site, 1)
        return table.new_empty(0, table.shape[-1])
    order = torch.from_numpy(np.argsort(np.concatenate(rows)))
    stacked = torch.cat(pieces)
    return stacked[order.to(stacked.device)]


def _one_more(contexts: Contexts) -> Contexts:
    """Append an unobserved token to each context."""
    ends = np.cumsum(contexts.lengths)
    return Contexts(np.insert(contexts.tokens, ends, UNOBSERVED), contexts.lengths + 1)


def next_table(graph: FactorGraph, site: str, length: int) -> tuple[tuple[str, ...], Tensor]:
    """Return the parents of a next token, and its table, parents first."""
    if site == "x":
        emission = next(e for e in graph.emissions if e.start <= length - 1 < e.stop)
        tokens = emission.tokens
        return emission.scope, tokens.table[length - 1 if tokens.varies else 0]
    if site not in graph.next_tokens:
        known = listed([*graph.next_tokens, "x"])
        raise InputError(f"model {graph.name} has no next-token site '{site}'; it has: {known}.")
    factor = graph.next_tokens[site]
    return graph.at_length(factor.scope, length), factor.table


def _log_weights(
    graph: FactorGraph, contexts: Contexts, scope: tuple[str, ...], length: int
) -> Tensor:
    """Return log p(scope | x) for contexts of one length, shape (n, Π scope)."""
    if not graph.moving:
        leaves = all_leaves(graph, contexts, {})
        table = contract(leaves, graph.sizes, scope, len(contexts))
        return normalise(table.reshape(len(contexts), -1), 1)
    names = graph.at_length(tuple(graph.reported), length)
    shape = [graph.sizes[name] for name in names]
    at_once = max(1, STATE_CELLS // math.prod(shape))
    pieces = []
    for start in range(0, len(contexts), at_once):
        part = contexts.slice(start, min(start + at_once, len(contexts)))
        answer = posterior(graph, part, joint=True, impossible="mark")
        assert answer.log_joint is not None
        state = Leaf(names, answer.log_joint.reshape(len(part), *shape), batched=True)
        pieces.append(combine([state], scope).table.reshape(len(part), -1))
    return torch.cat(pieces)


@dataclass(frozen=True)
class Assignments:
    """Joint values of the concepts, one for each context.

    Attributes
    ----------
    values : mapping of str to Tensor
        Value index of each concept, shape (n_contexts,), or (n_samples, n_contexts) for samples.
    log_probability : Tensor or None
        log p(c | x) of the joint value, shape (n_contexts,), where it was asked for.
    """

    values: Mapping[str, Tensor]
    log_probability: Tensor | None = None


def most_probable(graph: FactorGraph, contexts: Batch) -> Assignments:
    """Return the joint maximum a posteriori (MAP) of all concepts, exactly, for each context.

    The joint MAP need not hold each concept's own most probable value. Among equally probable joint
    values one is returned. Contexts must have the length that the graph was compiled for where its
    concepts move.
    """
    batch = _fixed(graph, contexts)
    leaves = all_leaves(graph, batch, {})
    tree = _full_tree(graph, leaves, len(batch))
    maxima = upward(tree, leaves, _maximum)
    chosen = traceback(tree, maxima, lambda logits: logits.argmax(1), len(batch))
    best = maxima[-1].table.reshape(-1).expand(len(batch))
    _require_possible(graph, best.unsqueeze(1), np.arange(len(batch)))
    evidence = upward(tree, leaves)[-1].table.reshape(-1)
    return Assignments({name: chosen[name] for name in graph.concepts}, best - evidence)


def sample_posterior(
    graph: FactorGraph, contexts: Batch, n_samples: int, *, seed: int = 0
) -> Assignments:
    """Draw exact, independent samples of all concepts jointly from p(c | x), for each context."""
    batch = _fixed(graph, contexts)
    leaves = all_leaves(graph, batch, {})
    tree = _full_tree(graph, leaves, len(batch))
    sums = upward(tree, leaves)
    evidence = sums[-1].table.reshape(-1, 1).expand(len(batch), 1)
    _require_possible(graph, evidence, np.arange(len(batch)))
    generator = torch.Generator(graph.device).manual_seed(seed)

    def draw(logits: Tensor) -> Tensor:
        weights = normalise(logits, 1).exp()
        return torch.multinomial(weights, 1, generator=generator).squeeze(1)

    samples = [traceback(tree, sums, draw, len(batch)) for _ in range(n_samples)]
    stacked = {name: torch.stack([s[name] for s in samples]) for name in graph.concepts}
    return Assignments(stacked)


def _fixed(graph: FactorGraph, contexts: Batch) -> Contexts:
    batch = as_contexts(contexts)
    require_tokens(graph, batch)
    if graph.moving and (batch.lengths != graph.n_tokens).any():
        row = int(np.argmax(batch.lengths != graph.n_tokens))
        raise InputError(
            f"row {row} has {batch.lengths[row]} tokens; concepts of model {graph.name} move, so "
            f"give contexts of the {graph.n_tokens} tokens that it was compiled for."
        )
    return batch


def _require_possible(graph: FactorGraph, log_weights: Tensor, rows: NDArray[np.int64]) -> None:
    """Refuse contexts whose weights, shape (n, k), are all zero; ``rows`` are their numbers."""
    impossible = torch.isneginf(log_weights).all(1).numpy(force=True)
    if impossible.any():
        raise ImpossibleContextError(graph.name, rows[impossible])


def _full_tree(graph: FactorGraph, leaves: Sequence[Leaf], n_contexts: int) -> Any:
    flags = [leaf.batched for leaf in leaves]
    return contraction_tree([leaf.scope for leaf in leaves], graph.sizes, (), flags, n_contexts)


def _maximum(values: Tensor, dims: int | Sequence[int]) -> Tensor:
    return values.amax(dims if isinstance(dims, int) else tuple(dims))


def pair_log_marginals(graph: FactorGraph, contexts: Batch, first: str, second: str) -> Tensor:
    """Return log p(first, second | x), shape (n_contexts, K_first, K_second).

    A concept beside itself has its marginal on the diagonal and zeros (−inf) elsewhere.

    Raises
    ------
    InputError
        If the model has no such concept, or a token lies outside the vocabulary.
    """
    for name in (first, second):
        if name not in graph.sizes:
            known = listed(graph.sizes)
            raise InputError(f"model {graph.name} has no concept '{name}'; it has: {known}.")
    batch = as_contexts(contexts)
    require_tokens(graph, batch)
    leaves = all_leaves(graph, batch, {})
    if first == second:
        single = normalise(contract(leaves, graph.sizes, (first,), len(batch)), 1)
        same = torch.eye(graph.sizes[first], dtype=torch.bool, device=single.device)
        return torch.where(same, single.unsqueeze(2), -torch.inf)
    return normalise(contract(leaves, graph.sizes, (first, second), len(batch)), (1, 2))


def mutual_information(pair: Tensor) -> Tensor:
    """Return I(first; second | x) in nats from :func:`pair_log_marginals`, shape (n_contexts,)."""
    joint = normalise(pair, (1, 2))
    apart = torch.logsumexp(joint, 2, keepdim=True) + torch.logsumexp(joint, 1, keepdim=True)
    ratio = torch.where(torch.isneginf(joint), 0.0, joint - apart)
    return expectation(joint, ratio).sum((1, 2)).clamp_min(0)
