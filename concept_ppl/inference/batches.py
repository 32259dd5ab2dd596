"""What a batch of contexts is: in what parts it is answered, each by a graph that it fits.

One graph answers a whole batch where shorter contexts are prefixes of longer ones; else each length
has a graph, and a part, of its own. Contexts that occur again are answered once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concept_ppl.contexts.tokens import UNOBSERVED, Contexts
from concept_ppl.errors import InputError, ModelError, listed
from concept_ppl.programs.factors import FactorGraph
from concept_ppl.programs.graph_assembly import Model
from concept_ppl.programs.tracing import compile_lengths

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of a batch that one graph answers.

    Attributes
    ----------
    graph : FactorGraph
    rows : int64 array, shape (n_rows,)
        Their numbers in the batch.
    distinct : Contexts
        The different contexts among them; all of them where something is given of each.
    inverse : int64 array, shape (n_rows,)
        Which of ``distinct`` each row is.
    given : mapping of str to Tensor, shape (n_distinct,)
        Value indices of concepts that are known, −1 where unknown.
    """

    graph: FactorGraph
    rows: Rows
    distinct: Contexts
    inverse: Rows
    given: Mapping[str, Tensor]


def parts_of(
    model: Model | FactorGraph,
    batch: Contexts,
    given: Mapping[str, Tensor],
    values: Mapping[str, Any] | None,
    device: torch.device | str,
    dtype: torch.dtype,
) -> Iterator[Part]:
    """Yield the parts of a batch, each checked against its graph as it comes."""
    reported: list[str] | None = None
    for graph, rows in graphs_for(model, batch, values, device, dtype):
        _require_concepts(graph)
        reported = _require_same_concepts(graph, reported)
        _require_known_concepts(graph, given, batch.lengths)
        own = batch.take(rows)
        distinct, inverse = own.unique() if not given else (own, np.arange(len(own)))
        known = {name: index[torch.from_numpy(rows)] for name, index in given.items()}
        yield Part(graph, rows, distinct, inverse, known)


def graphs_for(
    model: Model | FactorGraph,
    contexts: Contexts,
    values: Mapping[str, Any] | None,
    device: torch.device | str,
    dtype: torch.dtype,
) -> Iterator[tuple[FactorGraph, Rows]]:
    """Yield a graph and the rows it answers: one for all, or one per length where they differ."""
    if isinstance(model, FactorGraph):
        require_tokens(model, contexts)
        yield model, np.arange(len(contexts))
        return
    graphs = compile_lengths(model, contexts.lengths, values=values, device=device, dtype=dtype)
    for graph, rows in graphs:
        require_tokens(graph, contexts.take(rows), rows + contexts.first_row)
        yield graph, rows


def require_tokens(graph: FactorGraph, contexts: Contexts, rows: Rows | None = None) -> None:
    """Refuse tokens outside the vocabulary and lengths that the graph does not answer, by row.

    ``rows`` are the numbers by which the caller knows the contexts.
    """
    numbers = contexts.first_row + np.arange(len(contexts)) if rows is None else rows
    tokens = contexts.tokens
    largest, least = tokens.max(initial=UNOBSERVED), tokens.min(initial=UNOBSERVED)
    if largest >= graph.vocabulary_size or least < UNOBSERVED:
        outside = (tokens >= graph.vocabulary_size) | (tokens < UNOBSERVED)
        position = int(np.argmax(outside))
        row = numbers[np.searchsorted(np.cumsum(contexts.lengths), position, side="right")]
        raise InputError(
            f"row {row}: token {contexts.tokens[position]} is outside the vocabulary of model "
            f"{graph.name}, 0 to {graph.vocabulary_size - 1}."
        )
    if contexts.longest > graph.n_tokens:
        row = numbers[np.argmax(contexts.lengths)]
        raise InputError(
            f"row {row} has {contexts.longest} tokens, but model {graph.name} was compiled for "
            f"{graph.n_tokens}; compile it with n_tokens={contexts.longest}."
        )
    is_other = np.maximum(contexts.lengths, 1) != graph.n_tokens
    if is_other.any() and not graph.prefix_consistent:
        first = int(np.argmax(is_other))
        raise InputError(
            f"row {numbers[first]} has {contexts.lengths[first]} tokens, but model {graph.name} "
            f"means something else at other lengths than the {graph.n_tokens} it was compiled for; "
            f"pass the model itself, which is then compiled once for each length."
        )


def _require_concepts(graph: FactorGraph) -> None:
    if not graph.concepts:
        raise ModelError(
            f"model {graph.name} has no concept, so there is no posterior; a concept is a discrete "
            f"site other than x and y."
        )


def _require_same_concepts(graph: FactorGraph, known: list[str] | None) -> list[str]:
    """Refuse a graph that reports others than the graphs before it; return what it reports."""
    reported = list(graph.reported)
    if known is not None and reported != known:
        raise ModelError(
            f"model {graph.name} has other concepts at other lengths; loop with pyro.markov, or "
            f"answer contexts of one length at a time."
        )
    return reported


def _require_known_concepts(graph: FactorGraph, given: Mapping[str, Tensor], lengths: Rows) -> None:
    n = len(lengths)
    for name, index in given.items():
        if name not in graph.sizes:
            names = listed(graph.sizes)
            raise InputError(f"given: model {graph.name} has no concept '{name}'; it has: {names}.")
        if index.shape != (n,):
            shape = tuple(index.shape)
            raise InputError(f"given['{name}'] has shape {shape}, the contexts are {n}.")
        if bool((index >= graph.sizes[name]).any()):
            row = int((index >= graph.sizes[name]).nonzero()[0])
            raise InputError(f"given['{name}'], row {row}: value {int(index[row])} does not exist.")
        position = max(
            (steps.index(name) for steps in graph.moving.values() if name in steps), default=0
        )
        beyond = (index >= 0).numpy(force=True) & (position >= np.maximum(lengths, 1))
        if beyond.any():
            row = int(np.flatnonzero(beyond)[0])
            raise InputError(
                f"given['{name}'], row {row}: the context has {lengths[row]} tokens, so '{name}' "
                f"lies behind its end; give -1 there."
            )
