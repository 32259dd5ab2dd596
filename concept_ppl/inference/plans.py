"""Which engine answers a batch of contexts, in chunks of how many, at what cost."""

import math
from dataclasses import dataclass

import torch

from concept_ppl.contexts.tokens import Contexts
from concept_ppl.errors import InputError, MemoryBudgetError, listed
from concept_ppl.inference.exact.contraction import ContractionTree, contraction_tree
from concept_ppl.inference.exact.sequences import Chain, unroll
from concept_ppl.programs.factors import FactorGraph

ENGINES = ("auto", "dense", "elimination", "sequence")
DENSE_ALWAYS = 512
"""Up to this many joint values a dense table beats any elimination order, by overhead alone."""
LOG_SPACE_COST = 10
"""One addition in log-space (exp, log, passes) in units of one addition of a dense row."""
CACHE_BYTES = 2**23
"""Working memory of a chunk: passes over what the caches hold are several times faster."""
MIN_CHUNK = 256
"""Fewer contexts at a time than this and the calls take longer than the arithmetic."""
JOINT_TABLES = 6
"""Tables over all joint values that are alive at once while an engine makes log_joint."""
KEPT_TABLES = 2
"""Copies of log_joint that are kept: the chunks, and the whole that they are put together to."""

Estimate = tuple[int, int, int, tuple[str, ...]]
"""(width, cells, operations, scope) of one context."""


@dataclass(frozen=True)
class Plan:
    """How a batch of contexts is answered.

    Attributes
    ----------
    engine : str
        ``dense``, ``elimination`` or ``sequence``.
    scope : tuple of str
        The concepts that the evidence speaks of.
    width : int
        Largest number of concepts in one table.
    bytes_per_context : int
        Peak working memory of one context.
    kept_bytes : int
        What ``log_joint`` takes besides, until the last chunk is answered.
    operations : int
        Log-table cells touched per context.
    chunk : int
        Contexts answered at a time.
    n_contexts : int
    """

    engine: str
    scope: tuple[str, ...]
    width: int
    bytes_per_context: int
    kept_bytes: int
    operations: int
    chunk: int
    n_contexts: int

    def describe(self) -> str:
        """Return the plan in words."""
        return (
            f"engine {self.engine}: {self.n_contexts:,} contexts, {self.chunk:,} at a time; widest "
            f"table over {self.width} concepts, {self.operations:,} operations and "
            f"{self.bytes_per_context:,} bytes a context."
        )


def evidence_scopes(graph: FactorGraph, given: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the distinct scopes of the evidence leaves, in order."""
    scopes = dict.fromkeys(emission.scope for emission in graph.emissions)
    return [*scopes, *((name,) for name in given)]


def dense_scope(graph: FactorGraph, given: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the union of the evidence's scopes, in program order."""
    names = {name for scope in evidence_scopes(graph, given) for name in scope}
    return tuple(name for name in graph.concepts if name in names)


def evidence_tree(graph: FactorGraph, given: tuple[str, ...] = ()) -> ContractionTree:
    """Return the elimination order for the priors and the evidence (made once per graph)."""
    key = f"tree:{','.join(given)}"
    if key not in graph._cache:
        priors = [factor.scope for factor in graph.priors]
        evidence = evidence_scopes(graph, given)
        flags = [False] * len(priors) + [True] * len(evidence)
        tree = contraction_tree([*priors, *evidence], graph.sizes, (), flags, 1000)
        graph._cache[key] = tree
    known = graph._cache[key]
    assert isinstance(known, ContractionTree)
    return known


def chain_of(graph: FactorGraph) -> Chain:
    """Return the graph unrolled over positions (made once per graph)."""
    if "chain" not in graph._cache:
        graph._cache["chain"] = unroll(graph)
    chain = graph._cache["chain"]
    assert isinstance(chain, Chain)
    return chain


def make_plan(
    graph: FactorGraph,
    contexts: Contexts,
    *,
    given: tuple[str, ...] = (),
    engine: str = "auto",
    memory: float = 2e9,
    kept_positions: bool = False,
    joint_rows: int = 0,
) -> Plan:
    """Choose the engine and the chunk by estimated cost, before anything is allocated.

    Parameters
    ----------
    engine
        ``auto``, or the engine to use whatever it costs.
    memory
        Budget of working memory in bytes.
    kept_positions
        Whether every position is kept (filtered or smoothed posteriors of moving concepts).
    joint_rows
        Contexts whose ``log_joint`` is kept until the end, 0 where it is not asked for; what it
        takes leaves the rest of the budget to the chunks.

    Raises
    ------
    MemoryBudgetError
        If one context alone, with all that is kept, exceeds the budget.
    """
    if engine not in ENGINES:
        raise InputError(f"engine '{engine}' is unknown; choose one of {listed(ENGINES)}.")
    chosen = _choose(graph, contexts, given, memory) if engine == "auto" else engine
    if (chosen == "sequence") > bool(graph.moving):
        raise InputError(f"model {graph.name} has no moving concepts; use engine='auto'.")
    if chosen == "dense" and graph.moving:
        raise InputError(f"model {graph.name} has moving concepts; use engine='auto'.")
    width, cells, operations, scope = _ESTIMATES[chosen](graph, contexts, given, kept_positions)
    itemsize = torch.empty((), dtype=graph.dtype).element_size()
    joint_bytes = _n_joint(graph) * itemsize if joint_rows else 0
    is_own_table = chosen == "dense" and scope == tuple(graph.concepts)
    bytes_per_context = int(cells * itemsize) + joint_bytes * (1 if is_own_table else JOINT_TABLES)
    kept = KEPT_TABLES * joint_rows * joint_bytes
    if joint_rows and bytes_per_context + kept > memory:
        raise MemoryBudgetError(
            f"model {graph.name}: the joint posterior of {joint_rows:,} "
            f"context{'s' if joint_rows > 1 else ''} over "
            f"{_n_joint(graph):,} joint values takes {bytes_per_context + kept:,} bytes, the "
            f"budget is {int(memory):,}; leave out the joint, give fewer contexts or raise memory=."
        )
    if bytes_per_context > memory:
        raise MemoryBudgetError(
            f"model {graph.name}: one context needs {bytes_per_context:,} bytes with engine "
            f"{chosen} (a table over {width} concepts), the budget is {int(memory):,}; raise "
            f"memory= or make the tables of the program narrower."
        )
    cached = max(MIN_CHUNK, CACHE_BYTES // bytes_per_context)
    chunk = int(min((memory - kept) / bytes_per_context, cached, max(len(contexts), 1)))
    return Plan(
        chosen, scope, width, bytes_per_context, kept, int(operations), chunk, len(contexts)
    )


def _n_joint(graph: FactorGraph) -> int:
    """Return the number of joint values of what is reported, moving concepts at one position."""
    return math.prod(concept.size for concept in graph.reported.values())


def _choose(graph: FactorGraph, contexts: Contexts, given: tuple[str, ...], memory: float) -> str:
    if graph.moving:
        return "sequence"
    _, cells, operations, _ = _dense(graph, contexts, given, kept_positions=False)
    if cells <= 4 * DENSE_ALWAYS:
        return "dense"
    if cells * 8 > memory:
        return "elimination"
    other = _elimination(graph, contexts, given, kept_positions=False)[2]
    return "dense" if operations <= other else "elimination"


def _dense(
    graph: FactorGraph, contexts: Contexts, given: tuple[str, ...], kept_positions: bool
) -> Estimate:
    scope = dense_scope(graph, given)
    n_joint = math.prod(graph.sizes[name] for name in scope)
    length = float(contexts.lengths.mean()) if len(contexts) else 0.0
    values = sum(graph.sizes.values())
    kept = contexts.longest + 1 if kept_positions else 1
    cells = (4 * n_joint + 4 * values) * kept
    return len(scope), cells, int(n_joint * (length + 4 + values / 8)), scope


def _elimination(
    graph: FactorGraph, contexts: Contexts, given: tuple[str, ...], kept_positions: bool
) -> Estimate:
    tree = evidence_tree(graph, given)
    scopes = evidence_scopes(graph, given)
    evidence = sum(math.prod(graph.sizes[name] for name in scope) for scope in scopes)
    width = max([tree.width, *(len(scope) for scope in scopes)])
    kept = contexts.longest + 1 if kept_positions else 1
    operations = LOG_SPACE_COST * tree.operations + evidence * (contexts.longest + 1)
    return width, (tree.cells + evidence) * kept, operations, dense_scope(graph, given)


def _sequence(
    graph: FactorGraph, contexts: Contexts, given: tuple[str, ...], kept_positions: bool
) -> Estimate:
    chain = chain_of(graph)
    cells = chain.cells(graph)
    kept = contexts.longest if kept_positions else 2
    width = max(len(step.carry) for step in chain.steps) + len(graph.moving)
    scope = graph.static + tuple(graph.moving)
    del given
    return width, cells * (4 + kept), cells * max(contexts.longest, 1), scope


_ESTIMATES = {"dense": _dense, "elimination": _elimination, "sequence": _sequence}
