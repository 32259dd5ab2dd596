"""The posterior of contexts that come some at a time, as a file that memory does not hold."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from concept_ppl.contexts.tokens import Contexts
from concept_ppl.programs.factors import FactorGraph
from concept_ppl.programs.graph_assembly import Model
from concept_ppl.programs.tracing import compile_lengths

from .posteriors import posterior
from .results import Posterior


def posterior_blocks(
    model: Model,
    blocks: Iterable[Contexts],
    *,
    values: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> Iterator[Posterior]:
    """Answer blocks of contexts one after the other; a program is compiled once where that can be.

    Parameters
    ----------
    model, values, device, dtype
        As in :func:`concept_ppl.posterior`.
    blocks
        Contexts that occur twice in one are answered once; no more than one is held.
    options
        Of :func:`concept_ppl.posterior`.

    Raises
    ------
    ConceptPPLError
        As there; rows are numbered from each block's ``first_row``.
    """
    graph: FactorGraph | None = None
    known: set[int] = set()
    for block in blocks:
        lengths = set(np.maximum(np.unique(block.lengths), 1).tolist()) or {1}
        if graph is None or not lengths <= known:
            known |= lengths
            graph = _one_graph(model, known, values, device, dtype)
        if graph is not None:
            yield posterior(graph, block, **options)
        else:
            yield posterior(model, block, values=values, device=device, dtype=dtype, **options)


def _one_graph(
    model: Model,
    lengths: set[int],
    values: Mapping[str, Any] | None,
    device: torch.device | str,
    dtype: torch.dtype,
) -> FactorGraph | None:
    """Compile for contexts of these lengths; None where each length has a graph of its own."""
    needed = np.array(sorted(lengths))
    graphs = compile_lengths(model, needed, values=values, device=device, dtype=dtype)
    graph, rows = next(graphs)
    if len(rows) < len(needed):
        return None
    for _ in graphs:  # lets the values that no site has used be refused
        pass
    return graph
