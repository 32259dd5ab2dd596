"""The elimination engine: exact marginals where the joint of the concepts is too large for a table.

One sweep up a contraction tree gives log p(x), one down gives every marginal and the joint entropy:

    H(c | x) = log p(x) − Σ_tables E[log table | x].
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from concept_ppl.contexts.tokens import Contexts
from concept_ppl.inference.evidence import evidence_leaves
from concept_ppl.inference.plans import evidence_scopes, evidence_tree
from concept_ppl.logspace import by_row, expectation
from concept_ppl.programs.factors import FactorGraph

from .answers import Answer, Wanted, answer_from_table
from .contraction import Leaf, align, combine, contract, downward, upward


def all_leaves(graph: FactorGraph, contexts: Contexts, given: Mapping[str, Tensor]) -> list[Leaf]:
    """Return the priors and the evidence in the order of :func:`evidence_tree`."""
    priors = [Leaf(factor.scope, factor.table) for factor in graph.priors]
    evidence = evidence_leaves(graph, contexts, given)
    scopes = evidence_scopes(graph, tuple(given))
    present = {id(leaf) for leaf in evidence}
    ordered = []
    for scope in scopes:
        match = next((x for x in evidence if x.scope == scope and id(x) in present), None)
        if match is None:
            size = [graph.sizes[name] for name in scope]
            zeros = torch.zeros(len(contexts), *size, dtype=graph.dtype, device=graph.device)
            match = Leaf(scope, zeros, batched=True)
        present.discard(id(match))
        ordered.append(match)
    return priors + ordered


def answer_by_elimination(
    graph: FactorGraph, contexts: Contexts, given: Mapping[str, Tensor], wanted: Wanted
) -> Answer:
    """Answer a chunk of contexts."""
    if graph.moving:
        return _moving(graph, contexts, given, wanted)
    tree = evidence_tree(graph, tuple(given))
    leaves = all_leaves(graph, contexts, given)
    filled = upward(tree, leaves)
    outside = downward(tree, filled)
    n = len(contexts)
    log_evidence = filled[-1].table.reshape(-1).expand(n)
    finite = torch.where(torch.isneginf(log_evidence), 0.0, log_evidence)
    marginals: dict[str, Tensor] = {}
    entropy = finite.clone()
    for leaf, rest in zip(leaves, outside[: len(leaves)], strict=True):
        table = align(leaf.scope, leaf.table, leaf.scope, leaf.batched)
        shift = finite.reshape(-1, *[1] * len(leaf.scope))
        belief = Leaf(leaf.scope, (table + rest.table - shift).expand(n, *table.shape[1:]), True)
        entropy = entropy - by_row(expectation(belief.table, table)).sum(1)
        for name in leaf.scope:
            if name not in marginals:
                marginals[name] = combine([belief], (name,)).table
    marginals = {name: marginals[name] for name in graph.concepts}
    log_joint = _joint(graph, leaves, n) if wanted.joint else None
    return Answer(log_evidence, entropy, marginals, log_joint)


def _joint(graph: FactorGraph, leaves: list[Leaf], n: int) -> Tensor:
    table = contract(leaves, graph.sizes, tuple(graph.concepts), n)
    return answer_from_table(tuple(graph.concepts), table, joint=True).log_joint  # type: ignore[return-value]


def _moving(
    graph: FactorGraph, contexts: Contexts, given: Mapping[str, Tensor], wanted: Wanted
) -> Answer:
    """Treat every position's concept as a variable of its own, one length at a time."""
    names = tuple(graph.reported)
    sizes = [concept.size for concept in graph.reported.values()]
    tables = torch.empty(len(contexts), *sizes, dtype=graph.dtype, device=graph.device)
    for length in np.unique(contexts.lengths):
        rows = np.flatnonzero(contexts.lengths == length)
        index = torch.from_numpy(rows).to(graph.device)
        known = {name: value.to(graph.device)[index] for name, value in given.items()}
        leaves = all_leaves(graph, contexts.take(rows), known)
        scope = graph.at_length(names, int(length))
        tables[index] = contract(leaves, graph.sizes, scope, len(rows))
    return answer_from_table(names, tables, joint=wanted.joint)
