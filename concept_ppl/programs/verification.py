"""Does a program mean the same when it is enumerated as when it is run with single values?

``TABLE[a][b]`` and other plain indexing give wrong tables under enumeration without a word. Running
the program as written, with single values, and looking those up in the traced tables finds this
out. The values are a Latin hypercube: in as many runs as a concept has values, each comes up once.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from concept_ppl.errors import ModelError

from .enumeration import Assignment, Draws, GivenValues, role, run
from .factors import FactorGraph

MIN_RUNS = 8
SITES_RUN = 2000
"""Sites that are run in all, a fraction of a second; a long program gets fewer runs."""
TOLERANCE = 1e-5
"""On log-probabilities, relative and absolute: wide enough for tables written in float32."""


def require_agreement(graph: FactorGraph, model: Any, given: GivenValues, draws: Draws) -> None:
    """Compare the graph with runs of the program as written.

    Raises
    ------
    ModelError
        If a table differs from what the program says at single values; the message names the site.
    """
    wanted = max(MIN_RUNS, *graph.sizes.values(), 0)
    for _ in range(max(2, min(wanted, SITES_RUN // (len(graph.concepts) + graph.n_tokens)))):
        run(model, graph.n_tokens, given, check := Assignment(draws))
        site = _first_disagreement(graph, check, graph.n_tokens)
        if site is not None:
            _require_repeatable(graph, model, given, draws, check)
            raise ModelError(
                f"site '{site}' gets another table when its parents are enumerated than when they "
                f"have single values; index tables with Vindex(TABLE)[a, b], never TABLE[a][b], "
                f"and combine concepts elementwise."
            )


def _require_repeatable(
    graph: FactorGraph, model: Any, given: GivenValues, draws: Draws, before: Assignment
) -> None:
    """Refuse a program that says something else at the same values when it runs once more."""
    draws.turn -= 1
    run(model, graph.n_tokens, given, after := Assignment(draws))
    for site, table in before.tables.items():
        if site not in after.tables or not torch.equal(table, after.tables[site]):
            raise ModelError(
                f"site '{site}' gets another table each time that the program runs, at the same "
                f"values of its parents; take what is random, or changes, out of the function."
            )


def agrees_at(
    graph: FactorGraph, model: Any, length: int, given: GivenValues, generator: torch.Generator
) -> bool:
    """Whether one run of the program for a shorter context is found in the graph's tables."""
    try:
        run(model, length, given, shorter := Assignment(Draws(generator)))
    except Exception:
        return False
    return _first_disagreement(graph, shorter, length) is None


def _first_disagreement(graph: FactorGraph, check: Assignment, length: int) -> str | None:
    """Return the first site whose table, run as written, is no row of the graph's."""
    index = _index_of_each_concept(check)
    unknown = [name for name in index if name not in graph.concepts]
    if unknown:
        return unknown[0]
    for factor in graph.priors:
        if factor.site in check.observed:
            site, parents, written = factor.site, factor.scope, check.observed[factor.site]
        elif factor.scope and factor.scope[-1] in index:
            site, member = _site_and_member(factor.scope[-1], check)
            parents, written = factor.scope[:-1], _row(check.tables[site], member)
        else:
            continue
        if not _agrees(factor.table, parents, index, written):
            return site
    for name, factor in graph.next_tokens.items():
        site, member = _site_and_member(name, check)
        parents = graph.at_length(factor.scope, length)
        if not _agrees(factor.table, parents, index, _row(check.tables[site], member)):
            return site
    return _first_token_disagreement(graph, check, index, length)


def _agrees(
    table: Tensor, parents: tuple[str, ...], index: Mapping[str, int], written: Tensor
) -> bool:
    """Whether the program as written has all these parents and says what the table says."""
    if any(parent not in index for parent in parents):
        return False
    return _close(table.detach()[tuple(index[parent] for parent in parents)], written)


def _first_token_disagreement(
    graph: FactorGraph, check: Assignment, index: Mapping[str, int], length: int
) -> str | None:
    for emission in graph.emissions[:length]:
        site = "x" if "x" in check.tables else f"x_{emission.start}"
        if site not in check.tables or (site == "x" and check.plates["x"].size != length):
            return site
        if any(parent not in index for parent in emission.scope):
            return site
        parents = tuple(index[parent] for parent in emission.scope)
        every: tuple[slice | int, ...] = (slice(None), *parents)
        rows = emission.tokens.table.detach()[every]
        own = check.tables[site]
        if site == "x" and emission.stop - emission.start == 1:
            own = own[min(emission.start, own.shape[0] - 1)]
        elif site == "x" and emission.tokens.varies:
            rows = rows[:length]
        if not _close(rows, own):
            return site
    return None


def _index_of_each_concept(check: Assignment) -> dict[str, int]:
    index = {}
    for site, values in check.indices.items():
        if role(site) != "concept":
            continue
        if check.plates[site] is None:
            index[site] = int(values)
        else:
            index |= {f"{site}.{m}": int(v) for m, v in enumerate(values.reshape(-1))}
    return index


def _site_and_member(name: str, check: Assignment) -> tuple[str, int | None]:
    if name in check.tables:
        return name, None
    site, _, member = name.rpartition(".")
    return site, int(member)


def _row(table: Tensor, member: int | None) -> Tensor:
    return table if member is None else table[member]


def _close(graph_rows: Tensor, written_rows: Tensor) -> bool:
    try:
        a, b = torch.broadcast_tensors(graph_rows, written_rows)  # type: ignore[no-untyped-call]
    except RuntimeError:
        return False
    return bool(torch.isclose(a, b, rtol=TOLERANCE, atol=TOLERANCE).all())
