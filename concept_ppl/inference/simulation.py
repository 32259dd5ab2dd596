"""Draw contexts, next tokens and their concepts from a generative model, by its log-tables."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from concept_ppl.errors import InputError, MemoryBudgetError, ModelError
from concept_ppl.outputs import in_bytes
from concept_ppl.programs.factors import FactorGraph
from concept_ppl.programs.graph_assembly import Model
from concept_ppl.programs.tracing import compile_lengths

DEFAULT_LENGTHS = (1, 8)
RESERVED = frozenset({"text", "weight"})
"""Columns of a table of contexts that mean something else than a concept."""
BLOCK = 2**16
"""Contexts that are drawn at once."""
BLOCK_TOKENS = 2**25
"""Their tokens: 256 MiB. Longer contexts are drawn fewer at a time."""


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

    Raises
    ------
    MemoryBudgetError
        If the table would not fit in the memory that is left; the message names both.
    """
    blocks = simulate_blocks(model, n_contexts, lengths=lengths, seed=seed, values=values)
    first = next(blocks)
    if len(first) == n_contexts:
        return first
    _require_memory(first, n_contexts)
    return pd.concat([first, *blocks])


def simulate_blocks(
    model: Model,
    n_contexts: int,
    *,
    lengths: int | tuple[int, int] | NDArray[np.int64] | None = None,
    seed: int = 0,
    values: Mapping[str, Any] | None = None,
) -> Iterator[pd.DataFrame]:
    """Draw the contexts of :func:`simulate` in tables of consecutive rows, made one at a time.

    Each table has 65,536 rows, fewer where contexts are longer than 512 tokens, and draws from a
    generator of its own, seeded by ``seed`` and its number: a seed stands for the same contexts
    however many tables are held at once. Parameters as there.

    Raises
    ------
    InputError
        If the number of contexts or a length makes no sense.
    """
    if n_contexts < 1:
        raise InputError(f"the number of contexts must be at least 1, not {n_contexts}.")
    if isinstance(lengths, np.ndarray):
        if lengths.shape != (n_contexts,):
            raise InputError(f"lengths have shape {lengths.shape}, the contexts are {n_contexts}.")
        longest = int(lengths.max())
    else:
        lengths = _length_range(model, lengths)
        longest = lengths[1]
    return _blocks(model, n_contexts, lengths, _rows_at_once(longest), seed, values)


def _rows_at_once(longest: int) -> int:
    return max(1, min(BLOCK, BLOCK_TOKENS // max(longest, 1)))


def _blocks(
    model: Model,
    n_contexts: int,
    lengths: tuple[int, int] | NDArray[np.int64],
    n_rows: int,
    seed: int,
    values: Mapping[str, Any] | None,
) -> Iterator[pd.DataFrame]:
    every = lengths if isinstance(lengths, np.ndarray) else np.arange(lengths[0], lengths[1] + 1)
    graphs: list[FactorGraph] = []
    for number, start in enumerate(range(0, n_contexts, n_rows)):
        generator = _generator(seed, number)
        n = min(n_rows, n_contexts - start)
        if isinstance(lengths, np.ndarray):
            drawn = lengths[start : start + n]
        else:
            drawn = torch.randint(lengths[0], lengths[1] + 1, (n,), generator=generator).numpy()
        if not graphs:
            needed = drawn if n == n_contexts else every
            graphs = [graph for graph, _ in compile_lengths(model, needed, values=values)]
        parts = []
        for graph in graphs:
            is_own = np.maximum(drawn, 1) == graph.n_tokens
            own = np.arange(n) if len(graphs) == 1 else np.flatnonzero(is_own)
            if len(own):
                parts.append(_columns(graph, drawn[own], generator).set_index(own + start))
        yield pd.concat(parts).sort_index()


def _generator(seed: int, block: int) -> torch.Generator:
    """Return the generator of a block; the first block's is that of the seed itself."""
    if block:
        seed = int(np.random.SeedSequence([seed, block]).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(seed)


def _require_memory(first: pd.DataFrame, n_contexts: int) -> None:
    needed = int(first.memory_usage(deep=True).sum()) * n_contexts // len(first)
    available = psutil.virtual_memory().available
    if needed > available:
        raise MemoryBudgetError(
            f"{n_contexts:,} contexts would take {in_bytes(needed)} of memory, and "
            f"{in_bytes(available)} are left; write them to a file with concept-ppl simulate, or "
            f"take them in turn from simulate_blocks."
        )


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
    if taken := RESERVED & graph.reported.keys():
        raise ModelError(
            f"model {graph.name}: a table of contexts has a column '{min(taken)}' that is no "
            f"concept; give the site '{min(taken)}' another name."
        )
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
