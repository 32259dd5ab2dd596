"""From a plain Pyro function to its :class:`~concept_ppl.programs.FactorGraph`.

The function runs once under enumeration (`enumeration`), and a few times as written, with single
values: where the two disagree, the program means something else when it is enumerated
(``TABLE[a][b]`` instead of ``Vindex(TABLE)[a, b]``), and it is refused instead of answered wrongly.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pyro.poutine.messenger import Messenger

from concept_ppl.errors import ConceptPPLError, ModelError

from .control_flow import ControlFlowError
from .distinct_names import DistinctNames
from .enumeration import Enumeration, GivenValues, MorePlatesError
from .factors import FactorGraph
from .graph_assembly import Model, assemble
from .lines import line_of_error
from .loops import run
from .own_draws import OwnDraws, require_no_own_draws
from .prefixes import is_prefix_consistent
from .tables import watching_row_sums
from .verification import Assignment, Draws, agrees_at, require_agreement

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
            run(model, n_tokens, given, parameters, enumeration, walker=enumeration.walker)
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
            _run_checked(model, name, n_tokens, given, first, shortened=True)

        def enumerate_at(length: int) -> Enumeration:
            row_sums.clear()
            enumeration = Enumeration(first.n_plates, row_sums)
            with _explaining(name, "fails when its sites are enumerated"):
                try:
                    _run_checked(model, name, length, given, enumeration, shortened=True)
                except MorePlatesError:
                    first.n_plates += 1
                    return enumerate_at(length)
            return enumeration

        def trace(length: int) -> FactorGraph:
            return assemble(model, name, length, enumerate_at(length))

        enumeration = enumerate_at(n_tokens)
        graph = assemble(model, name, n_tokens, enumeration)
        require_agreement(graph, model, given, draws, enumeration.visits)
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


def _run_checked(
    model: Model,
    name: str,
    n_tokens: int,
    given: GivenValues,
    handler: Enumeration | Assignment,
    *,
    shortened: bool,
) -> None:
    """Run a program whose sites all have values, and refuse what would make them ambiguous."""
    watch = OwnDraws()
    walker = handler.walker if shortened else None
    run(model, n_tokens, given, handler, DistinctNames(), watch, walker=walker)
    if watch.happened:
        require_no_own_draws(
            name,
            lambda other: run(
                model, n_tokens, given, Assignment(Draws(torch.Generator().manual_seed(0))), other
            ),
        )


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
        line = line_of_error(error.__traceback__)
        where = f" at {line}" if line is not None else ""
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
