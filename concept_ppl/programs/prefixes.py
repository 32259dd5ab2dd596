"""Is the program for a shorter context a prefix of the program for a longer one?

If so, one graph answers all lengths. The question is decided on whole tables, traced again at the
lengths that are to be answered. Where that would take long, it is done at some of them, evenly
spread, and at the others a run of the program as written is looked up in the tables.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from concept_ppl.errors import ConceptPPLError

from .factors import Emission, Factor, FactorGraph

CELLS_PER_SITE = 2**13
"""What tracing a site costs, in the time of table cells."""
SITES_RUN = 4000
"""Sites that are run as written in all, at the lengths that are not traced."""
TOLERANCE = 1e-12
"""On log-probabilities: the same program gives the same tables, to rounding."""


def is_prefix_consistent(
    graph: FactorGraph,
    lengths: Iterable[int],
    trace: Callable[[int], FactorGraph],
    agrees: Callable[[int], bool],
    cells: float,
) -> bool:
    """Whether the program at these lengths has the graph's tables.

    Parameters
    ----------
    graph
        Of the longest context.
    lengths
        Of the shorter contexts, each at least 1.
    trace
        Traces the program at a length; raises ModelError where that is impossible.
    agrees
        Whether a run of the program as written at a length is found in the graph's tables.
    cells
        Table cells that may be traced again in all.
    """
    wanted = sorted(set(lengths))
    traced = _spread(wanted, int(cells // _cost(graph)))
    run = _spread([n for n in wanted if n not in traced], SITES_RUN // _n_sites(graph))
    try:
        return all(_is_prefix(trace(n), graph) for n in traced) and all(map(agrees, run))
    except ConceptPPLError:
        return False


def _n_sites(graph: FactorGraph) -> int:
    return len(graph.priors) + graph.n_tokens


def _cost(graph: FactorGraph) -> int:
    """Cells and sites of one trace, in cells."""
    tables = {id(e.tokens): e.tokens.table.numel() for e in graph.emissions}
    cells = sum(tables.values()) + sum(factor.table.numel() for factor in graph.priors)
    return cells + CELLS_PER_SITE * (len(graph.priors) + len(graph.emissions))


def _spread(lengths: list[int], count: int) -> list[int]:
    """Choose so many of the lengths, evenly spread, the shortest among them."""
    if len(lengths) <= count:
        return lengths
    chosen = np.linspace(0, len(lengths) - 1, count).round().astype(int)
    return [lengths[i] for i in np.unique(chosen)]


def _is_prefix(shorter: FactorGraph, graph: FactorGraph) -> bool:
    n = shorter.n_tokens
    later = {step for steps in graph.moving.values() for step in steps[n:]}
    concepts = {name: c for name, c in graph.concepts.items() if name not in later}
    if concepts != shorter.concepts or shorter.vocabulary_size != graph.vocabulary_size:
        return False
    if {base: steps[:n] for base, steps in graph.moving.items()} != shorter.moving:
        return False
    priors = [factor for factor in graph.priors if later.isdisjoint(factor.scope)]
    return (
        _same_factors(priors, shorter.priors)
        and _same_factors(graph.next_tokens.values(), shorter.next_tokens.values())
        and all(_same_emission(graph, shorter, t) for t in _positions(graph, shorter))
    )


def _same_factors(ours: Iterable[Factor], others: Iterable[Factor]) -> bool:
    """Whether both hold the same tables, in whatever order."""
    own = {(factor.site, factor.scope): factor.table for factor in ours}
    other = {(factor.site, factor.scope): factor.table for factor in others}
    return own.keys() == other.keys() and all(_same(own[key], other[key]) for key in own)


def _positions(graph: FactorGraph, shorter: FactorGraph) -> Iterable[int]:
    """Positions whose token tables can differ: the first alone where none varies."""
    whole = len(graph.emissions) == len(shorter.emissions) == 1
    varies = graph.emissions[0].tokens.varies or shorter.emissions[0].tokens.varies
    return range(1) if whole and not varies else range(shorter.n_tokens)


def _same_emission(graph: FactorGraph, shorter: FactorGraph, t: int) -> bool:
    ours, other = _emission_at(graph, t), _emission_at(shorter, t)
    return ours.scope == other.scope and _same(_table_at(ours, t), _table_at(other, t))


def _emission_at(graph: FactorGraph, t: int) -> Emission:
    return graph.emissions[t] if len(graph.emissions) > 1 else graph.emissions[0]


def _table_at(emission: Emission, t: int) -> Tensor:
    table = emission.tokens.table
    return table[t - emission.start if emission.tokens.varies else 0]


def _same(a: Tensor, b: Tensor) -> bool:
    if a is b:
        return True
    same_shape = a.shape == b.shape
    return same_shape and bool(torch.isclose(a, b, rtol=TOLERANCE, atol=TOLERANCE).all())
