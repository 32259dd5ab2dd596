"""What a model says where values of a concept are made one: their rows shared, by their counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from concept_ppl.fitting.likelihoods.likelihood import Likelihood
from concept_ppl.fitting.likelihoods.program import Program, Values
from concept_ppl.fitting.likelihoods.row_counts import free_numbers
from concept_ppl.fitting.likelihoods.ties import TableTies, stacked_rows

from .symmetries import axes_of

SURE = 0.999
"""Of the likelihood ratios of noise, the share that counts as none."""

Tables = Sequence[Sequence[Tensor]]
Groups = dict[int, NDArray[np.int64]]
"""By width, the group of each stacked row of parameters."""


@dataclass(frozen=True)
class Concept:
    """A concept, still or moving, with all of its sites.

    Attributes
    ----------
    name : str
        Of one that moves, its base name.
    members : frozenset of str
    labels : tuple of str
    is_moving : bool
    """

    name: str
    members: frozenset[str]
    labels: tuple[str, ...]
    is_moving: bool


def concepts_of(program: Program) -> list[Concept]:
    """Return the concepts of a program that have two values or more."""
    graph = program.pieces[0].template
    found = [Concept(n, frozenset({n}), graph.concepts[n].labels, False) for n in graph.static]
    for base in graph.moving:
        steps = [s for piece in program.pieces for s in piece.template.moving[base]]
        first = graph.moving[base][0]
        found.append(Concept(base, frozenset(steps), graph.concepts[first].labels, True))
    return [concept for concept in found if len(concept.labels) > 1]


@dataclass(frozen=True)
class Merge:
    """Values of a concept made one.

    Attributes
    ----------
    values : tuple of int
    cost : float
        Fall of Σ weight · log p(x), in nats.
    n_removed : int
        Parameters that are free no more.
    n_contexts : float
        By weight.
    """

    values: tuple[int, ...]
    cost: float
    n_removed: int
    n_contexts: float

    @property
    def is_flat(self) -> bool:
        """Whether the likelihood ratio is one that noise alone would leave, SURE of the time.

        By χ² of the parameters removed, which a maximum over many starts somewhat exceeds.
        """
        return bool(2 * self.cost < special.chdtri(max(self.n_removed, 1), 1 - SURE))

    @property
    def is_preferred(self) -> bool:
        """Whether BIC prefers the smaller model (Schwarz 1978)."""
        return bool(2 * self.cost < self.n_removed * np.log(max(self.n_contexts, 2)))


class Point:
    """Parameters, with the tables and the expected counts of every cell there."""

    def __init__(self, likelihood: Likelihood, values: Values) -> None:
        self.likelihood, self.program = likelihood, likelihood.program
        _, _, self.counts = likelihood.expected_counts(values)
        with torch.no_grad():
            self.tables, _ = self.program.evaluate(values)
            self.rows = stacked_rows(self.program.views, values)
        self.free = free_numbers(likelihood)
        self.log_evidence = self._total(self.tables)

    def merge(self, concept: Concept, values: Sequence[int]) -> Merge | None:
        """Make values one; None where parameters say nothing of them, or the tables cannot be."""
        axes = [axes_of(piece, concept.members) for piece in self.program.pieces]
        if not _can_merge(self.program, axes):
            return None
        groups = _joined(self.program, axes, values, canonical=False)
        shared = self._shared_rows(groups)
        new = [
            [
                _merged(table, count, tie, own[0], values, shared) if own[0] else table
                for table, count, tie, own in zip(tables, counts, piece.ties, places, strict=True)
            ]
            for tables, counts, piece, places in zip(
                self.tables, self.counts, self.program.pieces, axes, strict=True
            )
        ]
        cost = self.log_evidence - self._total(new)
        n_removed = _n_removed(self.program, axes, values, self.free)
        return Merge(tuple(values), cost, n_removed, float(self.likelihood.weights.sum()))

    def is_nested(self, concept: Concept) -> bool:
        """Whether the model with all values one is a smaller one: none of its rows is computed."""
        return all(
            not axes or tie.is_closed
            for piece in self.program.pieces
            for tie, (axes, _) in zip(piece.ties, axes_of(piece, concept.members), strict=True)
        )

    def closest(self, concept: Concept) -> tuple[int, int]:
        """Return the two values whose merged rows lose least of the expected log-likelihood."""
        size = len(concept.labels)
        tied: dict[tuple[int, bytes, tuple[int, ...]], NDArray[np.float64]] = {}
        for piece, counts in zip(self.program.pieces, self.counts, strict=True):
            places = axes_of(piece, concept.members)
            for count, (axes, _), tie in zip(counts, places, piece.ties, strict=True):
                for axis in axes:
                    rows = count.detach().movedim(axis, 0).reshape(size, -1, tie.width).numpy()
                    key = (axis, tie.index.numpy().tobytes(), tie.shape)
                    tied[key] = tied.get(key, 0) + rows  # homogeneous steps share their rows
        loss = sum((_merge_losses(rows) for rows in tied.values()), np.zeros((size, size)))
        np.fill_diagonal(loss, np.inf)
        first, second = sorted(int(k) for k in np.unravel_index(loss.argmin(), loss.shape))
        return first, second

    def _total(self, tables: Tables) -> float:
        parts = zip(self.likelihood.evidence, tables, strict=True)
        each = np.concatenate([part.each(own) for part, own in parts])
        weights = self.likelihood.weights
        return float(each[weights > 0] @ weights[weights > 0])

    def _shared_rows(self, groups: Groups) -> dict[int, Tensor]:
        """Return the rows of parameters with each group's the same: its counts, normalised."""
        result = {}
        for width, group in groups.items():
            counts = torch.zeros(int(group.max()) + 1, width, dtype=torch.float64)
            for piece, own in zip(self.program.pieces, self.counts, strict=True):
                for tie, count in zip(piece.ties, own, strict=True):
                    if tie.width == width:
                        tied = tie.index >= 0
                        place = torch.from_numpy(group)[tie.index[tied]]
                        counts.index_add_(0, place, count.detach().reshape(-1, width)[tied])
            share = counts / counts.sum(-1, keepdim=True).clamp_min(1e-300)
            joined = np.bincount(group)[group] > 1
            moved = torch.from_numpy(joined) & (counts.sum(-1) > 0)[torch.from_numpy(group)]
            result[width] = torch.where(
                moved.unsqueeze(1), share.log()[torch.from_numpy(group)], self.rows[width]
            )
        return result


def _merge_losses(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how much Σ n log p falls where two values share their rows, shape (K, K)."""

    def fitted(n: NDArray[np.float64]) -> NDArray[np.float64]:
        mass = n.sum(-1, keepdims=True)
        share = np.divide(n, mass, out=np.ones_like(n), where=mass > 0)
        logs = np.log(share, out=np.zeros_like(n), where=share > 0)
        return np.asarray((n * logs).sum((-1, -2)))

    alone = fitted(rows)
    together = np.stack([fitted(rows + row) for row in rows])
    return np.asarray(alone[:, None] + alone[None, :] - together)


Axes = list[list[tuple[list[int], bool]]]


def _can_merge(program: Program, axes: Axes) -> bool:
    """Whether rows of parameters depend on the concept, and all that do give values."""
    touched = False
    for piece, places in zip(program.pieces, axes, strict=True):
        for tie, has_values, (own, _) in zip(piece.ties, piece.value_dims, places, strict=True):
            if own and not has_values:
                return False
            touched |= bool(own) and bool((tie.index >= 0).any())
    return touched


def _places(tie: TableTies) -> Tensor:
    """Return the stacked row of each row of a table, in the table's shape."""
    return tie.index.reshape(tie.shape[:-1])


def _joined(program: Program, axes: Axes, values: Sequence[int], *, canonical: bool) -> Groups:
    """Return which rows of parameters become one where values of a concept do.

    ``canonical``: a number that is read in both orders counts as one row.
    """
    groups = {}
    for width, own in _row_numbers(program, canonical).items():
        pairs = []
        for piece, places in zip(program.pieces, axes, strict=True):
            for tie, (along, _) in zip(piece.ties, places, strict=True):
                if tie.width != width or not along:
                    continue
                for axis in along:
                    lined = _places(tie).movedim(axis, 0)[list(values)].reshape(len(values), -1)
                    ends = np.stack([lined[:-1].numpy().ravel(), lined[1:].numpy().ravel()])
                    pairs.append(own[ends[:, (ends >= 0).all(0)]])
        ends = np.concatenate([np.empty((2, 0), np.int64), *pairs], 1)
        n = int(own.max()) + 1
        graph = coo_matrix((np.ones(ends.shape[1]), (ends[0], ends[1])), shape=(n, n))
        groups[width] = np.asarray(connected_components(graph, directed=False)[1], np.int64)[own]
    return groups


def _row_numbers(program: Program, canonical: bool) -> Groups:
    numbers: dict[int, list[NDArray[np.int64]]] = {}
    for view in program.views:
        start = sum(len(part) for part in numbers.get(view.width, []))
        own = np.arange(view.n_rows)
        numbers.setdefault(view.width, []).append(start + (own % view.n_own if canonical else own))
    return {width: np.concatenate(parts) for width, parts in numbers.items()}


def _n_removed(
    program: Program, axes: Axes, values: Sequence[int], free: Mapping[int, Tensor]
) -> int:
    """Count the free numbers of the rows that depend on the values or give them probability."""
    groups = _joined(program, axes, values, canonical=True)
    before: dict[int, set[int]] = {}
    own_rows: dict[int, set[int]] = {}
    for piece, places in zip(program.pieces, axes, strict=True):
        for tie, (along, is_own) in zip(piece.ties, places, strict=True):
            used = set(np.unique(tie.index[tie.index >= 0]).tolist())
            if along or is_own:
                before.setdefault(tie.width, set()).update(used)
            if is_own:
                own_rows.setdefault(tie.width, set()).update(used)
    removed = 0
    for width, used in before.items():
        if not used:
            continue
        rows, own = np.array(sorted(used)), np.array(sorted(own_rows.get(width, set())), np.int64)
        canonical = np.unique(_row_numbers(program, canonical=True)[width][rows])
        _, left = np.unique(groups[width][rows], return_index=True)
        removed += int(free[width][canonical].sum() - free[width][rows[left]].sum())
        removed += len(np.unique(groups[width][own])) * (len(values) - 1)
    return removed


def _merged(
    table: Tensor,
    count: Tensor,
    tie: TableTies,
    axes: Sequence[int],
    values: Sequence[int],
    shared: Mapping[int, Tensor],
) -> Tensor:
    """Return a table whose rows of these values are the same: the parameters', or by its counts."""
    new, n = table.detach().clone(), count.detach().clone()
    chosen = torch.tensor(list(values))
    for axis in axes:
        rows, expected = new.movedim(axis, 0), n.movedim(axis, 0)
        total = expected[chosen].sum(0)
        mass = total.sum(-1, keepdim=True)
        expected[chosen] = total.expand(len(chosen), *total.shape)
        row = torch.where(mass > 0, (total / mass.clamp_min(1e-300)).log(), rows[values[0]])
        rows[chosen] = row.expand(len(chosen), *row.shape)
    tied = (tie.index >= 0).reshape(*tie.shape[:-1], 1)
    if not bool(tied.any()):
        return new
    known = shared[tie.width][tie.index.clamp_min(0)].reshape(tie.shape)
    return torch.where(tied, known, new)


def shares_rows(program: Program, members: frozenset[str]) -> bool:
    """Whether tables without the concept read parameters of its own: no merge is its own."""
    with_it, without = set[tuple[int, int]](), set[tuple[int, int]]()
    for piece in program.pieces:
        for tie, (axes, is_own) in zip(piece.ties, axes_of(piece, members), strict=True):
            rows = {(tie.width, int(row)) for row in tie.index if row >= 0}
            (with_it if axes or is_own else without).update(rows)
    return bool(with_it & without)
