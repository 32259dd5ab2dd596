"""What is doubtful about a point: values that emptied or are one, data that say nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from concept_ppl.fitting.algorithms.ascents import Reached
from concept_ppl.fitting.likelihoods.likelihood import Likelihood
from concept_ppl.fitting.likelihoods.program import Piece, Values

from .symmetries import _axes

FEW = 0.5
"""Expected contexts of a value that count as none."""
SAME_TOP = 1e-4
"""Nats an objective may lie below the best one and count as equal, relative to its size."""


def doubts_about_point(likelihood: Likelihood, values: Values) -> list[str]:
    """Return a sentence for each concept value that emptied, each pair that may be one."""
    _, _, counts = likelihood.expected_counts(values)
    empty = _emptied(likelihood, counts)
    merged = _mergeable(likelihood, values, counts, {name for name, _ in empty})
    return [sentence for _, sentence in empty] + merged + _uninformed(likelihood, values)


def _emptied(likelihood: Likelihood, counts: Sequence[Sequence[Tensor]]) -> list[tuple[str, str]]:
    totals: dict[str, Tensor] = {}
    labels: dict[str, tuple[str, ...]] = {}
    for piece, own in zip(likelihood.program.pieces, counts, strict=True):
        graph = piece.template
        for factor, count in zip(graph.priors, own, strict=False):
            name = factor.scope[-1] if factor.scope else ""
            if name in graph.static and factor.site in {name, name.rpartition(".")[0]}:
                by_value = count.reshape(-1, count.shape[-1]).sum(0)
                totals[name] = totals.get(name, 0) + by_value
                labels[name] = graph.concepts[name].labels
    found = []
    for name, by_value in totals.items():
        found += [
            (
                name,
                f"Value '{labels[name][k]}' of concept '{name}' has emptied: "
                f"{float(by_value[k]):.2g} of {float(by_value.sum()):,.0f} contexts are "
                f"expected to have it; try fewer values or other starts.",
            )
            for k in (by_value < FEW).nonzero().reshape(-1).tolist()
        ]
    return found


@dataclass(frozen=True)
class _Pair:
    """Two values of a concept, and the tables in which they are one."""

    first: int
    second: int
    tables: list[list[Tensor]]
    n_removed: int


def _mergeable(
    likelihood: Likelihood,
    values: Values,
    counts: Sequence[Sequence[Tensor]],
    skipped: set[str],
) -> list[str]:
    """Compare, for each concept, with its two closest values merged, by BIC."""
    with torch.no_grad():
        tables, _ = likelihood.program.evaluate(values)
    weights = likelihood.weights
    before = _total(likelihood, tables, weights)
    found = []
    graph = likelihood.program.pieces[0].template
    for name in graph.static:
        if graph.sizes[name] < 2 or name in skipped or _shares_rows(likelihood, name):
            continue
        pair = _closest(likelihood, name, tables, counts)
        if pair is None:
            continue
        cost = before - _total(likelihood, pair.tables, weights)
        if 2 * cost < pair.n_removed * np.log(max(weights.sum(), 2)):
            one, other = (graph.concepts[name].labels[k] for k in (pair.first, pair.second))
            fewer = graph.sizes[name] - 1
            found.append(
                f"Values '{one}' and '{other}' of concept '{name}' may be one: merged, they cost "
                f"{cost:.2f} nats of log-evidence and save {pair.n_removed} parameters, which BIC "
                f"prefers; compare with a model of {fewer} value{'s' if fewer > 1 else ''}."
            )
    return found


def _shares_rows(likelihood: Likelihood, name: str) -> bool:
    """Whether tables without the concept read parameters of its own tables: no merge is its own."""
    with_it, without = set[tuple[int, int]](), set[tuple[int, int]]()
    for piece in likelihood.program.pieces:
        for tie, (axes, is_own) in zip(piece.ties, _axes(piece, frozenset({name})), strict=True):
            rows = {(tie.width, int(row)) for row in tie.index if row >= 0}
            (with_it if axes or is_own else without).update(rows)
    return bool(with_it & without)


def _total(
    likelihood: Likelihood, tables: Sequence[Sequence[Tensor]], weights: np.ndarray
) -> float:
    each = np.concatenate(
        [part.each(own) for part, own in zip(likelihood.evidence, tables, strict=True)]
    )
    return float(each[weights > 0] @ weights[weights > 0])


def _closest(
    likelihood: Likelihood,
    name: str,
    tables: Sequence[Sequence[Tensor]],
    counts: Sequence[Sequence[Tensor]],
) -> _Pair | None:
    """Return the pair of values whose merged tables lose least of the expected log-likelihood."""
    pieces, members = likelihood.program.pieces, frozenset({name})
    size = pieces[0].template.sizes[name]
    loss, touched = np.zeros((size, size)), np.zeros((size, size), dtype=bool)
    for piece, own in zip(pieces, counts, strict=True):
        for count, (axes, _), tie in zip(own, _axes(piece, members), piece.ties, strict=True):
            for axis in axes:
                rows = count.detach().movedim(axis, 0).reshape(size, -1, tie.width).numpy()
                loss += _merge_losses(rows)
                touched |= bool((tie.index >= 0).any())
    if not touched.any():
        return None
    np.fill_diagonal(loss, np.inf)
    first, second = sorted(int(k) for k in np.unravel_index(loss.argmin(), loss.shape))
    merged, n_removed = [], 0
    for piece, table, own in zip(pieces, tables, counts, strict=True):
        new, removed = _merge(piece, members, table, own, first, second)
        merged.append(new)
        n_removed = max(n_removed, removed)
    return _Pair(first, second, merged, n_removed)


def _merge_losses(rows: np.ndarray) -> np.ndarray:
    """Return how much Σ n log p falls where two values share their rows, shape (K, K)."""

    def fitted(n: np.ndarray) -> np.ndarray:
        mass = n.sum(-1, keepdims=True)
        share = np.divide(n, mass, out=np.ones_like(n), where=mass > 0)
        logs = np.log(share, out=np.zeros_like(n), where=share > 0)
        return np.asarray((n * logs).sum((-1, -2)))

    alone = fitted(rows)
    together = np.stack([fitted(rows + row) for row in rows])
    return np.asarray(alone[:, None] + alone[None, :] - together)


def _merge(
    piece: Piece,
    members: frozenset[str],
    tables: Sequence[Tensor],
    counts: Sequence[Tensor],
    first: int,
    second: int,
) -> tuple[list[Tensor], int]:
    """Give the two values one row (by their counts) and the first one all probability of both."""
    merged, n_removed = [], 0
    parts = zip(tables, counts, _axes(piece, members), piece.ties, strict=True)
    for table, count, (axes, is_own), tie in parts:
        new = table.detach().clone()
        for axis in axes:
            rows, n = new.movedim(axis, 0), count.movedim(axis, 0)
            total = n[first] + n[second]
            mass = total.sum(-1, keepdim=True)
            row = torch.where(mass > 0, (total / mass.clamp_min(1e-300)).log(), rows[first])
            rows[first] = row
            rows[second] = row
            own = tie.index.reshape(tie.shape[:-1]).movedim(axis, 0)[second]
            n_removed += len(np.unique(own[own >= 0])) * (tie.width - 1)
        if is_own:
            both = torch.logaddexp(new[..., first], new[..., second])
            new[..., first], new[..., second] = both, torch.full_like(both, -torch.inf)
            n_removed += len(np.unique(tie.index[tie.index >= 0]))
        merged.append(new)
    return merged, n_removed


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
