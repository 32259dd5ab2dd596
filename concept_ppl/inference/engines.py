"""A plan put to work: its engine answers the contexts of a part, one chunk after another."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from concept_ppl.contexts.tokens import Contexts
from concept_ppl.errors import InputError
from concept_ppl.inference.exact.answers import Answer, Wanted
from concept_ppl.inference.exact.dense import DensePrior, answer_dense, dense_prior
from concept_ppl.inference.exact.elimination import answer_by_elimination
from concept_ppl.inference.exact.sequences import answer_sequences
from concept_ppl.programs.factors import FactorGraph

from .batches import Part
from .plans import Plan, chain_of

Engine = Callable[[Contexts, Mapping[str, Tensor], Wanted], Answer]


def answer_chunks(part: Part, plan: Plan, wanted: Wanted) -> Iterator[Answer]:
    """Answer the distinct contexts of a part, in chunks of the plan's size."""
    graph, contexts = part.graph, part.distinct
    by_position = wanted.filtered or wanted.smoothed
    if graph.moving and plan.engine != "sequence" and wanted.smoothed:
        raise InputError("engine 'elimination' does not smooth moving concepts; use engine='auto'.")
    answer = _engine(graph, plan)
    for start in range(0, max(len(contexts), 1), plan.chunk):
        chunk = contexts.slice(start, min(start + plan.chunk, len(contexts)))
        known = {name: index[start : start + plan.chunk] for name, index in part.given.items()}
        result = answer(chunk, known, wanted)
        if by_position and plan.engine != "sequence":
            _add_positions(result, chunk, known, wanted, answer)
        yield result


def _engine(graph: FactorGraph, plan: Plan) -> Engine:
    """Return the chosen engine as a function of contexts, evidence and what is wanted."""
    if plan.engine == "dense":
        prior = _dense_prior(graph, plan.scope)
        return lambda contexts, given, wanted: answer_dense(graph, prior, contexts, given, wanted)
    if plan.engine == "elimination":
        return lambda contexts, given, wanted: answer_by_elimination(graph, contexts, given, wanted)
    chain = chain_of(graph)
    return lambda contexts, given, wanted: answer_sequences(graph, chain, contexts, given, wanted)


def _dense_prior(graph: FactorGraph, scope: tuple[str, ...]) -> DensePrior:
    key = f"dense:{','.join(scope)}"
    if key not in graph._cache:
        graph._cache[key] = dense_prior(graph, scope)
    prior = graph._cache[key]
    assert isinstance(prior, DensePrior)
    return prior


def _add_positions(
    answer: Answer, contexts: Contexts, given: Mapping[str, Tensor], wanted: Wanted, engine: Engine
) -> None:
    """Prefix posteriors of static concepts; given all tokens they are the same at each position."""
    repeats = torch.from_numpy(np.repeat(np.arange(len(contexts)), contexts.lengths))
    if wanted.smoothed:
        answer.smoothed = {
            name: table[repeats.to(table.device)] for name, table in answer.log_marginals.items()
        }
    if wanted.filtered and not answer.filtered:
        prefixes = contexts.prefixes()
        own = np.flatnonzero(prefixes.lengths > 0)
        known = {name: index[repeats] for name, index in given.items()}
        at_each = engine(prefixes.take(own), known, Wanted())
        answer.filtered = at_each.log_marginals
        answer.running_evidence = at_each.log_evidence
