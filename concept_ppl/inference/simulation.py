"""Draw contexts, next tokens and their concepts from a generative model, by its log-tables."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from concept_ppl.errors import InputError, ModelError
from concept_ppl.programs.factors import FactorGraph
from concept_ppl.programs.graph_assembly import Model
from concept_ppl.programs.tracing import compile_lengths

DEFAULT_LENGTHS = (1, 8)


def simulate(
    model: Model,
    n_contexts: int,
    *,
    lengths: int | tuple[int, int] | NDArray[np.int64] | None = None,
    seed: int = 0,
    values: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Draw independent contexts with their next tokens and concepts.

    Parameters
    ----------
    model
        A Pyro program for one context; see :func:`~concept_ppl.compile_model`.
    n_contexts
        How many.
    lengths
        Number of tokens, the shortest and the longest (uniform between), or one for each context.
        Default: the model's attribute ``lengths``, else 1 to 8.
    seed
        Same seed, same contexts.
    values
        Values of continuous sites and parameters.

    Returns
    -------
    DataFrame
        ``x`` (list of token indices), one column per next-token site, ``text`` where the model
        names its tokens (joined by spaces), and one column per concept: its value's label, for a
        moving concept a list with one label a position.
    """
    if n_contexts < 1:
        raise InputError(f"the number of contexts must be at least 1, not {n_contexts}.")
    generator = torch.Generator().manual_seed(seed)
    drawn = _drawn_lengths(model, n_contexts, lengths, generator)
    parts = [
        _columns(graph, drawn[rows], generator).set_index(rows)
        for graph, rows in compile_lengths(model, drawn, values=values)
    ]
    return pd.concat(parts).sort_index()


def _drawn_lengths(
    model: Model,
    n_contexts: int,
    lengths: int | tuple[int, int] | NDArray[np.int64] | None,
    generator: torch.Generator,
) -> NDArray[np.int64]:
    if isinstance(lengths, np.ndarray):
        if lengths.shape != (n_contexts,):
            raise InputError(f"lengths have shape {lengths.shape}, the contexts are {n_contexts}.")
        return lengths
    shortest, longest = _length_range(model, lengths)
    return torch.randint(shortest, longest + 1, (n_contexts,), generator=generator).numpy()


def _length_range(model: Model, lengths: int | tuple[int, int] | None) -> tuple[int, int]:
    chosen = lengths if lengths is not None else getattr(model, "lengths", DEFAULT_LENGTHS)
    shortest, longest = (chosen, chosen) if isinstance(chosen, int) else chosen
    if not 0 <= shortest <= longest:
        raise InputError(f"lengths must be 0 or more, shortest first, not {shortest} to {longest}.")
    return shortest, longest


def _columns(
    graph: FactorGraph, lengths: NDArray[np.int64], generator: torch.Generator
) -> pd.DataFrame:
    n = len(lengths)
    drawn: dict[str, Tensor] = {}
    for factor in graph.priors:
        if not factor.scope or factor.scope[-1] in drawn:
            raise ModelError(f"site '{factor.site}' is observed in the program; drop its obs=.")
        parents = [drawn[name] for name in factor.scope[:-1]]
        drawn[factor.scope[-1]] = _draw(factor.table, parents, n, generator)
    tokens = _draw_tokens(graph, drawn, n, generator)
    columns: dict[str, Any] = {"x": [row[:k] for row, k in zip(tokens, lengths, strict=True)]}
    columns |= _draw_next(graph, drawn, lengths, generator)
    if graph.token_labels is not None:
        words = np.array(graph.token_labels, dtype=object)
        columns["text"] = [" ".join(words[row]) for row in columns["x"]]
    return pd.DataFrame(columns | _labels(graph, drawn, lengths))


def _draw(table: Tensor, parents: list[Tensor], n: int, generator: torch.Generator) -> Tensor:
    """Draw one value per context from the rows that the parents pick, shape (n,)."""
    table = table.detach()
    rows = table.reshape(-1, table.shape[-1])
    if not parents:
        return torch.multinomial(rows[0].exp(), n, replacement=True, generator=generator)
    place = torch.zeros(n, dtype=torch.long)
    for size, index in zip(table.shape, parents, strict=False):
        place = place * size + index
    result = torch.empty(n, dtype=torch.long)
    for row in torch.unique(place):
        own = (place == row).nonzero().squeeze(1)
        weights = rows[row].exp()
        result[own] = torch.multinomial(weights, len(own), replacement=True, generator=generator)
    return result


def _draw_tokens(
    graph: FactorGraph, drawn: dict[str, Tensor], n: int, generator: torch.Generator
) -> NDArray[np.int64]:
    tokens = np.empty((n, graph.n_tokens), np.int64)
    for emission in graph.emissions:
        parents = [drawn[name] for name in emission.scope]
        for t in range(emission.start, emission.stop):
            table = emission.tokens.table[t if emission.tokens.varies else 0]
            tokens[:, t] = _draw(table, parents, n, generator).numpy()
    return tokens


def _draw_next(
    graph: FactorGraph,
    drawn: dict[str, Tensor],
    lengths: NDArray[np.int64],
    generator: torch.Generator,
) -> dict[str, NDArray[np.int64]]:
    columns = {}
    for name, factor in graph.next_tokens.items():
        parents = [_at_last(graph, drawn, parent, lengths) for parent in factor.scope]
        columns[name] = _draw(factor.table, parents, len(lengths), generator).numpy()
    return columns


def _at_last(
    graph: FactorGraph, drawn: dict[str, Tensor], name: str, lengths: NDArray[np.int64]
) -> Tensor:
    if name not in graph.moving:
        return drawn[name]
    steps = torch.stack([drawn[step] for step in graph.moving[name]])
    last = torch.from_numpy(np.maximum(lengths, 1) - 1)
    return steps[last, torch.arange(len(lengths))]


def _labels(
    graph: FactorGraph, drawn: dict[str, Tensor], lengths: NDArray[np.int64]
) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, concept in graph.reported.items():
        labels = np.array(concept.labels, dtype=object)
        if name in graph.moving:
            steps = torch.stack([drawn[step] for step in graph.moving[name]], 1).numpy()
            named = labels[steps]
            columns[name] = [row[:k] for row, k in zip(named, lengths, strict=True)]
        else:
            columns[name] = labels[drawn[name].numpy()]
    return columns
