"""The dense engine: one table over the concepts that the evidence speaks of, for each context.

    log p(s | x) ∝ log p(s) + log p(x | s),     p(c_i | x) = Σ_s p(c_i | s) p(s | x)

``s`` are the joint values of the concepts in the evidence's scope S. The other concepts never enter
a table with contexts: p(c_i | s) does not depend on the context and is computed once.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from concept_ppl.contexts.tokens import Contexts
from concept_ppl.inference.evidence import joint_evidence, prefix_evidence
from concept_ppl.logspace import by_row, expectation, log_product, logsumexp, normalise
from concept_ppl.programs.factors import FactorGraph

from .answers import Answer, Wanted
from .contraction import Leaf, align, contract

MAX_MATRIX = 2**22
"""Largest (joint values × concept values) matrix of the marginal product; then axes are summed."""


@dataclass(frozen=True)
class DensePrior:
    """What the dense engine knows before any context.

    Attributes
    ----------
    scope : tuple of str
        The concepts S of the dense table.
    log_prior : Tensor, shape (Π S,)
    columns : mapping of str to slice
        Where each concept's values lie in ``log_conditional``.
    log_conditional : Tensor, shape (Π S, Σ K_i) or None
        log p(c_i | s); None if the matrix would be too large, then S holds every concept asked for.
    conditional : Tensor or None
        Its exponential.
    rest_entropy : Tensor, shape (Π S,) or None
        H(other concepts | s) in nats; None if there are no others.
    """

    scope: tuple[str, ...]
    log_prior: Tensor
    columns: Mapping[str, slice]
    log_conditional: Tensor | None
    conditional: Tensor | None
    rest_entropy: Tensor | None


def dense_prior(graph: FactorGraph, scope: tuple[str, ...]) -> DensePrior:
    """Compute once what all contexts share."""
    leaves = [Leaf(factor.scope, factor.table) for factor in graph.priors]
    sizes = graph.sizes
    n_joint = math.prod(sizes[name] for name in scope)
    total = contract(leaves, sizes, scope).reshape(-1)
    columns, width = {}, 0
    for name, size in sizes.items():
        columns[name] = slice(width, width + size)
        width += size
    others = [name for name in sizes if name not in scope]
    log_conditional = None
    if others or n_joint * width <= MAX_MATRIX:
        log_conditional = torch.cat(
            [_conditional(leaves, sizes, scope, name, total) for name in sizes], dim=1
        )
    return DensePrior(
        scope,
        total,
        columns,
        log_conditional,
        None if log_conditional is None else log_conditional.exp(),
        _rest_entropy(graph, scope, total) if others else None,
    )


def _conditional(
    leaves: list[Leaf], sizes: Mapping[str, int], scope: tuple[str, ...], name: str, total: Tensor
) -> Tensor:
    """Return log p(name | s), shape (Π S, K)."""
    size = sizes[name]
    if name in scope:
        sure = torch.eye(size, dtype=total.dtype, device=total.device).log()
        shape = [*(sizes[other] for other in scope), size]
        return (
            align((name, ""), sure, (*scope, ""), batched=False)[0].expand(shape).reshape(-1, size)
        )
    table = contract(leaves, sizes, (*scope, name)).reshape(-1, size)
    possible = torch.where(torch.isneginf(total), torch.zeros_like(total), total)
    return table - possible.unsqueeze(-1)


def _rest_entropy(graph: FactorGraph, scope: tuple[str, ...], total: Tensor) -> Tensor:
    """H(rest | s) = log p(s) − Σ E[log factor | s], because log p(rest, s) = Σ log factor."""
    leaves = [Leaf(factor.scope, factor.table) for factor in graph.priors]
    sizes = graph.sizes
    finite = torch.where(torch.isneginf(total), torch.zeros_like(total), total)
    entropy = finite
    for factor in graph.priors:
        extra = tuple(name for name in factor.scope if name not in scope)
        table = contract(leaves, sizes, (*scope, *extra)).reshape(len(total), -1)
        log_weight = table - finite.unsqueeze(-1)
        shape = [sizes[name] for name in (*scope, *extra)]
        values = align(factor.scope, factor.table, (*scope, *extra), batched=False)[0].expand(shape)
        entropy = entropy - expectation(log_weight, values.reshape(len(total), -1)).sum(1)
    return torch.where(torch.isneginf(total), torch.zeros_like(entropy), entropy.clamp_min(0))


def answer_dense(
    graph: FactorGraph,
    prior: DensePrior,
    contexts: Contexts,
    given: Mapping[str, Tensor],
    wanted: Wanted,
) -> Answer:
    """Answer a chunk of contexts."""
    log_table = joint_evidence(graph, prior.scope, contexts, given)
    answer = answer_rows(graph, prior, _plus_prior(log_table, prior), joint=wanted.joint)
    if wanted.filtered:
        prefixes = prefix_evidence(graph, prior.scope, contexts, given)
        at_each = answer_rows(graph, prior, _plus_prior(prefixes, prior), joint=False)
        answer.filtered = at_each.log_marginals
        answer.running_evidence = at_each.log_evidence
    return answer


def _plus_prior(log_likelihood: Tensor, prior: DensePrior) -> Tensor:
    if log_likelihood.requires_grad or prior.log_prior.requires_grad:
        return log_likelihood + prior.log_prior
    return log_likelihood.add_(prior.log_prior)


def answer_rows(graph: FactorGraph, prior: DensePrior, log_table: Tensor, *, joint: bool) -> Answer:
    """Answer from rows of log p(s, x), shape (n, Π S), which may be overwritten.

    Few passes over the table, because at small scopes they and not the token rows take the time.
    """
    peak = log_table.detach().amax(1, keepdim=True)
    peak = torch.where(torch.isneginf(peak), 0.0, peak)
    shifted = log_table - peak if log_table.requires_grad else log_table.sub_(peak)
    weights = shifted.exp()
    total = weights.sum(1)
    is_possible = total > 0
    mass = torch.where(is_possible, total, 1.0)
    log_mass = mass.log()
    log_evidence = torch.where(is_possible, log_mass + peak.squeeze(1), -torch.inf)
    if prior.conditional is None or prior.log_conditional is None:
        marginals = {name: _sum_axes(graph, prior, shifted, name) for name in prior.scope}
        marginals = {name: table - log_mass.unsqueeze(1) for name, table in marginals.items()}
    else:
        stacked = log_product(weights, shifted, prior.conditional, prior.log_conditional)
        stacked = stacked - log_mass.unsqueeze(1)
        marginals = {name: stacked[:, columns] for name, columns in prior.columns.items()}
    log_joint = _full_joint(graph, prior, shifted - log_mass.unsqueeze(1)) if joint else None
    rest = 0.0 if prior.rest_entropy is None else weights @ prior.rest_entropy
    entropy = log_mass + (rest - _sum_p_log_p(weights, shifted)) / mass
    return Answer(log_evidence, entropy, marginals, log_joint)


def _sum_p_log_p(weights: Tensor, log_weights: Tensor) -> Tensor:
    """Σ p log p of each row, in place of the weights where nothing else needs them."""
    finite = _finite(log_weights)
    return (weights * finite if weights.requires_grad else weights.mul_(finite)).sum(1)


def _finite(log_weights: Tensor) -> Tensor:
    """Keep 0 · (−inf) from becoming NaN, also in gradients."""
    if log_weights.numel() == 0:
        return log_weights
    if log_weights.requires_grad or bool(torch.isneginf(log_weights.amin())):
        return log_weights.clamp_min(torch.finfo(log_weights.dtype).min)
    return log_weights


def _sum_axes(graph: FactorGraph, prior: DensePrior, log_scope: Tensor, name: str) -> Tensor:
    sizes = [graph.sizes[other] for other in prior.scope]
    axis = prior.scope.index(name)
    before, after = math.prod(sizes[:axis]), math.prod(sizes[axis + 1 :])
    return logsumexp(log_scope.reshape(-1, before, sizes[axis], after), (1, 3))


def _full_joint(graph: FactorGraph, prior: DensePrior, log_scope: Tensor) -> Tensor:
    """Return log p(c | x) over all concepts, the last fastest, shape (n, C)."""
    names = tuple(graph.concepts)
    if prior.scope == names:
        return log_scope
    leaves = [Leaf(factor.scope, factor.table) for factor in graph.priors]
    finite = torch.where(torch.isneginf(prior.log_prior), 0.0, prior.log_prior)
    shape = (len(log_scope), *(graph.sizes[name] for name in prior.scope))
    ratio = (log_scope - finite).reshape(shape)
    everything = contract(leaves, graph.sizes, names)
    total = everything + align(prior.scope, ratio, names, batched=True)
    return normalise(by_row(total), 1)
