"""From a plain Pyro function to its :class:`~concept_ppl.factors.FactorGraph`.

The function runs once under enumeration (:mod:`concept_ppl.enumeration`), and a few times as
written, with single values: where the two disagree, the program means something else when it is
enumerated (``TABLE[a][b]`` instead of ``Vindex(TABLE)[a, b]``), and it is refused instead of
answered wrongly.
"""

import re
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pyro.poutine.messenger import Messenger
from torch import Tensor

from concept_ppl.control_flow import ControlFlowError
from concept_ppl.enumeration import (
    POSITION,
    Assignment,
    Draws,
    Enumeration,
    GivenValues,
    TracedSite,
    run,
)
from concept_ppl.errors import ConceptPPLError, ModelError
from concept_ppl.factors import Concept, Emission, Factor, FactorGraph, TokenTable
from concept_ppl.prefixes import is_prefix_consistent
from concept_ppl.tables import watching_row_sums
from concept_ppl.verification import agrees_at, require_agreement

Model = Callable[[int], Any]
"""A Pyro program for one context: takes the number of tokens."""

CELLS, CELLS_TO_ANSWER = 2**23, 2**26
"""Table cells that are traced again at shorter lengths: at any, and at those of given contexts."""


def compile_model(
    model: Model,
    n_tokens: int,
    *,
    values: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    lengths: Iterable[int] | None = None,
) -> FactorGraph:
    """Trace a Pyro program under enumeration and keep its log-tables.

    Parameters
    ----------
    model
        A plain Pyro function of the number of tokens. Site ``x`` in plate ``position``, or sites
        ``x_0, x_1, …`` in a loop, are the context; ``y`` and ``y_…`` are next tokens; every other
        discrete site is a concept. An attribute ``labels`` (site name to names of values) is used.
    n_tokens
        The length of the longest context to answer, at least 1.
    values
        Values of continuous sites and ``pyro.param`` statements, by name; the tables are
        differentiable in them. They go before those of the model's attribute ``values``.
    device, dtype
        Where the tables are to lie, and their precision; they are computed in float64.
    seed
        Seed of the single values with which the tables are checked.
    lengths
        Of the shorter contexts that will be answered, all by default; the program is traced again
        there (at some of them, where that would take long), and if it means something else at one,
        the graph answers contexts of ``n_tokens`` alone.

    Raises
    ------
    ModelError
        If the program cannot be answered exactly; the message names the site and the remedy.
    """
    given = _given(model, values)
    if lengths is None:
        graph = _compile(model, n_tokens, given, range(1, n_tokens), seed, cells=CELLS)
    else:
        graph = _compile(model, n_tokens, given, lengths, seed)
    _require_used(graph.name, given)
    return graph.to(device, dtype)


def compile_lengths(
    model: Model,
    lengths: NDArray[np.int64],
    *,
    values: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> Iterator[tuple[FactorGraph, NDArray[np.int64]]]:
    """Compile a program for contexts of the given lengths; options as in :func:`compile_model`.

    Yields
    ------
    graph, rows
        One graph for all rows where shorter contexts are prefixes of longer ones, else one graph
        for each length.
    """
    given = _given(model, values)
    needed = np.maximum(lengths, 1)
    each = np.unique(needed)[::-1] if len(needed) else np.ones(1, dtype=np.int64)
    graph = _compile(model, int(each[0]), given, each[1:], seed)
    if graph.prefix_consistent or len(each) == 1:
        _require_used(graph.name, given)
        yield graph.to(device, dtype), np.arange(len(lengths))
        return
    for length in each[::-1]:
        own = graph if length == each[0] else _compile(model, int(length), given, (), seed)
        yield own.to(device, dtype), np.flatnonzero(needed == length)
    _require_used(graph.name, given)


def retrace(
    model: Model, n_tokens: int, given: GivenValues, parameters: Messenger, n_plates: int
) -> FactorGraph:
    """Trace a program again, whose checks it has passed, at other values of its parameters.

    Parameters
    ----------
    model, n_tokens
        As in :func:`compile_model`.
    given
        Values that stay.
    parameters
        A handler that gives the continuous sites and ``pyro.param`` statements their values.
    n_plates
        Of :func:`count_plates`.
    """
    name = getattr(model, "__name__", type(model).__name__)
    with double_precision(), watching_row_sums() as row_sums:
        enumeration = Enumeration(n_plates, row_sums)
        with _explaining(name, "fails when its sites are enumerated"):
            run(model, n_tokens, given, parameters, enumeration)
        return assemble(model, name, n_tokens, enumeration)


def count_plates(model: Model, n_tokens: int, given: GivenValues, parameters: Messenger) -> int:
    """Run a program as written and return how many tensor dimensions its plates take."""
    name = getattr(model, "__name__", type(model).__name__)
    with double_precision(), _explaining(name, "fails when it is run once"):
        first = Assignment(Draws(torch.Generator().manual_seed(0)))
        run(model, n_tokens, given, parameters, first)
    return first.n_plates


def _given(model: Model, values: Mapping[str, Any] | None) -> GivenValues:
    return GivenValues({**getattr(model, "values", {}), **(values or {})})


def _compile(
    model: Model,
    n_tokens: int,
    given: GivenValues,
    lengths: Iterable[int],
    seed: int,
    *,
    cells: float = CELLS_TO_ANSWER,
) -> FactorGraph:
    """Trace at a length, compare with the program as written, and with shorter traces."""
    n_tokens = max(int(n_tokens), 1)
    name = getattr(model, "__name__", type(model).__name__)
    generator = torch.Generator().manual_seed(seed)
    draws = Draws(generator)
    with double_precision(), watching_row_sums() as row_sums:
        first = Assignment(draws)
        with _explaining(name, "fails when it is run once"):
            run(model, n_tokens, given, first)

        def trace(length: int) -> FactorGraph:
            row_sums.clear()
            enumeration = Enumeration(first.n_plates, row_sums)
            with _explaining(name, "fails when its sites are enumerated"):
                run(model, length, given, enumeration)
            return assemble(model, name, length, enumeration)

        graph = trace(n_tokens)
        require_agreement(graph, model, given, draws)
        shorter = [int(n) for n in lengths if 0 < n < n_tokens]
        with torch.no_grad():
            consistent = is_prefix_consistent(
                graph,
                shorter,
                trace,
                lambda length: agrees_at(graph, model, length, given, generator),
                cells,
            )
    return replace(graph, prefix_consistent=consistent and (bool(shorter) or n_tokens == 1))


def _require_used(name: str, given: GivenValues) -> None:
    unknown = sorted(set(given.values) - given.used)
    if unknown:
        raise ModelError(
            f"model {name} has no continuous site and no parameter named '{unknown[0]}'; leave "
            f"out its value."
        )


@contextmanager
def double_precision() -> Iterator[None]:
    """Let literals in the program become float64 tables."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _explaining(name: str, what: str) -> Iterator[None]:
    """Turn an exception inside the user's program into one sentence with its line."""
    try:
        yield
    except ConceptPPLError:
        raise
    except (Exception, SystemExit) as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.line]
        own = [
            f
            for f in frames
            if not re.search(r"site-packages|contextlib\.py|concept_ppl/\w+\.py", f.filename)
        ]
        where = f" at line {own[-1].lineno} ({own[-1].line})" if own else ""
        text = str(error).strip().splitlines()
        reason = text[0].rstrip(".") if text else type(error).__name__
        if _is_control_flow(error):
            raise ModelError(
                f"model {name}: control flow{where} depends on the value of a concept, which is "
                f"enumerated; choose between tables with Vindex or torch.where instead."
            ) from error
        hint = "; index tables with Vindex(TABLE)[a, b]" if "enumerated" in what else ""
        raise ModelError(f"model {name} {what}{where}: {reason}{hint}.") from error


def _is_control_flow(error: BaseException) -> bool:
    if isinstance(error, ControlFlowError):
        return True
    patterns = (
        "Boolean value of Tensor with more than one value",
        "cannot be converted to Scalar",
        "only one element tensors can be converted",
        "only integer tensors of a single element can be converted to an index",
        "only tensors with one element can be converted",
    )
    return any(pattern in str(error) for pattern in patterns)


def assemble(model: Model, name: str, n_tokens: int, enumeration: Enumeration) -> FactorGraph:
    """Put the tables that an enumeration recorded together to a graph."""
    sites = enumeration.sites.values()
    tokens = [site for site in sites if site.role == "token"]
    vocabulary_size = _require_tokens(name, tokens, n_tokens)
    labels = getattr(model, "labels", {})
    concepts: dict[str, Concept] = {}
    moving: dict[str, tuple[str, ...]] = {}
    priors: list[Factor] = []
    local = {site.name for site in sites if site.role == "concept" and site.plate == POSITION}
    for site in sites:
        _require_local_use(site, local)
        if site.role == "observed":
            priors.append(Factor(site.name, site.parents, site.table))
        if site.role != "concept":
            continue
        members = _members(site, local)
        value_labels = _value_labels(site, enumeration.values[site.name], labels)
        concepts |= {
            factor.scope[-1]: Concept(factor.scope[-1], value_labels) for factor in members
        }
        priors += members
        if site.plate == POSITION:
            moving[site.name] = tuple(factor.scope[-1] for factor in members)
    moving |= _steps(sites, n_tokens)
    last = {steps[-1]: base for base, steps in moving.items()}
    next_tokens = {
        factor.site: replace(
            factor, scope=tuple(last.get(parent, parent) for parent in factor.scope)
        )
        for site in sites
        if site.role == "next"
        for factor in _next_factors(site)
    }
    token_labels = labels.get("x")
    return FactorGraph(
        name=name,
        n_tokens=n_tokens,
        vocabulary_size=vocabulary_size,
        concepts=concepts,
        moving=moving,
        priors=tuple(priors),
        emissions=_emissions(tokens, n_tokens, moving),
        next_tokens=next_tokens,
        token_labels=tuple(token_labels) if token_labels is not None else None,
    )


def _require_tokens(name: str, tokens: list[TracedSite], n_tokens: int) -> int:
    names = [site.name for site in tokens]
    if names == ["x"]:
        (site,) = tokens
        if site.plate != POSITION or site.plate_size != n_tokens:
            raise ModelError(
                f"model {name}: site 'x' must lie in pyro.plate(\"{POSITION}\", n_tokens)."
            )
    elif sorted(names) != sorted(f"x_{t}" for t in range(n_tokens)):
        raise ModelError(
            f"model {name} has no context of {n_tokens} tokens: name the token site x, in "
            f'pyro.plate("{POSITION}", n_tokens), or x_0, x_1, … in a loop over range(n_tokens).'
        )
    sizes = {site.table.shape[-1] for site in tokens}
    if len(sizes) > 1:
        raise ModelError(f"model {name}: its token sites have different numbers of values.")
    return sizes.pop()


def _require_local_use(site: TracedSite, local: Collection[str]) -> None:
    """Refuse a concept of the position plate outside of it: it has one value per position."""
    outside = [parent for parent in site.parents if parent in local]
    if outside and site.plate != POSITION:
        raise ModelError(
            f"site '{site.name}' lies outside plate '{POSITION}' but depends on '{outside[0]}', "
            f"which has one value per position."
        )


def _members(site: TracedSite, local: Collection[str]) -> list[Factor]:
    """Return one factor per member of the site's plate, or the site's own."""
    if site.plate is None:
        return [Factor(site.name, (*site.parents, site.name), site.table)]
    factors = []
    for member in range(site.plate_size):
        own = f"{site.name}.{member}"
        table = site.table[member if site.table.shape[0] > 1 else 0]
        parents = tuple(f"{p}.{member}" if p in local else p for p in site.parents)
        if site.plate != POSITION:
            parents, table = _without_idle(parents, table)
        factors.append(Factor(own, (*parents, own), table))
    return factors


def _next_factors(site: TracedSite) -> list[Factor]:
    if site.plate is None:
        return [Factor(site.name, site.parents, site.table)]
    return [
        Factor(f"{site.name}.{m}", site.parents, site.table[m if site.table.shape[0] > 1 else 0])
        for m in range(site.plate_size)
    ]


def _without_idle(parents: tuple[str, ...], table: Tensor) -> tuple[tuple[str, ...], Tensor]:
    """Drop the dimensions along which a table does not change (other members of a plate)."""
    if table.requires_grad:
        return parents, table  # equal at these values of the parameters is not equal at all
    kept: list[str] = []
    for parent in parents:
        axis = len(kept)
        first = table.narrow(axis, 0, 1)
        if torch.equal(first.expand_as(table), table):
            table = first.squeeze(axis)
        else:
            kept.append(parent)
    return tuple(kept), table


def _value_labels(site: TracedSite, values: Tensor, labels: Mapping[str, Any]) -> tuple[str, ...]:
    base = re.sub(r"_\d+$", "", site.name) if site.in_markov else site.name
    given = labels.get(site.name, labels.get(base))
    if given is None:
        if values.dim() > 1:
            return tuple(str(k) for k in range(len(values)))
        return tuple(f"{float(v):g}" for v in values)
    if len(given) != len(values):
        raise ModelError(
            f"site '{site.name}' has {len(values)} values but {len(given)} labels: {list(given)}."
        )
    return tuple(str(label) for label in given)


def _steps(sites: Iterable[TracedSite], n_tokens: int) -> dict[str, tuple[str, ...]]:
    """Find the concepts of a ``pyro.markov`` loop: ``language_0 … language_{n-1}`` is language."""
    indexed: dict[str, dict[int, str]] = {}
    for site in sites:
        match = re.fullmatch(r"(\w+)_(\d+)", site.name)
        if site.role == "concept" and site.in_markov and match:
            indexed.setdefault(match[1], {})[int(match[2])] = site.name
    return {
        base: tuple(steps[t] for t in range(n_tokens))
        for base, steps in indexed.items()
        if set(steps) == set(range(n_tokens))
    }


def _emissions(
    tokens: list[TracedSite], n_tokens: int, moving: Mapping[str, tuple[str, ...]]
) -> tuple[Emission, ...]:
    if tokens[0].name == "x":
        (site,) = tokens
        if not moving:
            return (Emission(0, n_tokens, site.parents, TokenTable(site.table)),)
        shared = [TokenTable(table[None]) for table in site.table]
        scopes = [
            tuple(moving[p][t] if p in moving else p for p in site.parents) for t in range(n_tokens)
        ]
        pairs = zip(scopes, shared * (n_tokens // len(shared)), strict=True)
        return tuple(Emission(t, t + 1, scope, table) for t, (scope, table) in enumerate(pairs))
    tables: dict[int, TokenTable] = {}
    emissions = []
    for site in sorted(tokens, key=lambda site: int(site.name[2:])):
        t = int(site.name[2:])
        table = tables.setdefault(id(site.table), TokenTable(site.table[None]))
        emissions.append(Emission(t, t + 1, site.parents, table))
    return tuple(emissions)
