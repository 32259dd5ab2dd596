"""What is doubtful about a point: values that emptied or are one, data that say nothing."""

from collections.abc import Sequence

import torch
from torch import Tensor

from concept_ppl.fitting.algorithms.ascents import Reached
from concept_ppl.fitting.likelihoods.likelihood import Likelihood
from concept_ppl.fitting.likelihoods.program import Values

from .merges import Concept, Merge, Point, concepts_of, shares_rows

FEW = 0.5
"""Expected contexts of a value that count as none."""
SAME_TOP = 1e-4
"""Nats an objective may lie below the best one and count as equal, relative to its size."""


def doubts_about_point(likelihood: Likelihood, values: Values) -> list[str]:
    """Return a sentence for each concept value that emptied, each pair that may be one."""
    point = Point(likelihood, values)
    empty = _emptied(point)
    merged = _mergeable(point, {name for name, _ in empty})
    return [sentence for _, sentence in empty] + merged + _uninformed(likelihood, values)


def _emptied(point: Point) -> list[tuple[str, str]]:
    """Return the concepts with a value that none is expected to have, and a sentence each."""
    found = []
    for concept in concepts_of(point.program):
        by_value = _expected(point, concept)
        if by_value is None:
            continue
        unit = "positions" if concept.is_moving else "contexts"
        found += [
            (
                concept.name,
                f"Value '{concept.labels[k]}' of concept '{concept.name}' has emptied: "
                f"{float(by_value[k]):.2g} of {float(by_value.sum()):,.0f} {unit} are "
                f"expected to have it; try fewer values or other starts.",
            )
            for k in (by_value < FEW).nonzero().reshape(-1).tolist()
        ]
    return found


def _expected(point: Point, concept: Concept) -> Tensor | None:
    """Return how many contexts, or positions of one that moves, have each value; None if unsaid."""
    total = None
    for piece, own in zip(point.program.pieces, point.counts, strict=True):
        for factor, count in zip(piece.own_priors, own, strict=False):
            name = factor.scope[-1] if factor.scope else ""
            if name in concept.members and factor.site in {name, name.rpartition(".")[0]}:
                by_value = count.reshape(-1, count.shape[-1]).sum(0)
                total = by_value if total is None else total + by_value
    return total


def flat_concepts(likelihood: Likelihood, values: Values) -> list[tuple[str, Merge]]:
    """Return the concepts without which the model is no worse: of which the tokens tell nothing.

    A point with one is the top where there is nothing to find, and a plateau where there is.
    """
    point = Point(likelihood, values)
    found = []
    for concept in filter(point.is_nested, concepts_of(likelihood.program)):
        merge = point.merge(concept, range(len(concept.labels)))
        if merge is not None and merge.is_flat:
            found.append((concept.name, merge))
    return found


def _mergeable(point: Point, skipped: set[str]) -> list[str]:
    """Compare, for each concept, with all of its values made one, or its two closest ones."""
    found = []
    for concept in concepts_of(point.program):
        if concept.name in skipped:
            continue
        labels = concept.labels
        whole = point.merge(concept, range(len(labels)))
        if whole is None:
            continue
        if len(labels) > 2 and whole.is_flat and point.is_nested(concept):
            found.append(
                f"All {len(labels)} values of concept '{concept.name}' may be one: merged, they "
                f"cost {whole.cost:.2f} nats of log-evidence and save {whole.n_removed} "
                f"parameters, as noise would; compare with a model without it."
            )
            continue
        if shares_rows(point.program, concept.members):
            continue
        pair = point.merge(concept, point.closest(concept))
        if pair is not None and pair.is_preferred:
            one, other = (labels[k] for k in pair.values)
            fewer = len(labels) - 1
            found.append(
                f"Values '{one}' and '{other}' of concept '{concept.name}' may be one: merged, "
                f"they cost {pair.cost:.2f} nats of log-evidence and save {pair.n_removed} "
                f"parameters, which BIC prefers; compare with a model of {fewer} "
                f"value{'s' if fewer > 1 else ''}."
            )
    return found


def _uninformed(likelihood: Likelihood, values: Values) -> list[str]:
    """Name parameters along which the log-evidence does not change at all."""
    leaves = {name: value.detach().clone().requires_grad_() for name, value in values.items()}
    log_evidence, _ = likelihood.log_density(leaves)
    if not (log_evidence.requires_grad and likelihood.program.fixed_priors):
        return []
    found = torch.autograd.grad(log_evidence, list(leaves.values()), allow_unused=True)
    return [
        f"Parameter '{name}' has no effect on these tokens; its value says nothing."
        for name, gradient in zip(leaves, found, strict=True)
        if gradient is None or not bool(gradient.any())
    ]


def doubts_about_ascent(reached: Sequence[Reached], best: Reached, method: str) -> list[str]:
    """Return a sentence if the top was not reached, reached once only, or EM went down."""
    sentences = []
    if not best.converged:
        sentences.append(
            f"{method} had not converged after {len(best.history)} iterations; give more."
        )
    if best.fell_at is not None:
        sentences.append(
            f"The objective fell at iteration {best.fell_at + 1} of {method}, which must not be."
        )
    near = sum(
        best.objective - one.objective <= SAME_TOP * max(abs(best.objective), 1.0)
        for one in reached
    )
    if len(reached) > 1 and near == 1:
        sentences.append(
            f"Only one of {len(reached)} restarts reached the best point; more may find a better."
        )
    return sentences
