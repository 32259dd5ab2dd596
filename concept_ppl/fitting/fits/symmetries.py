"""Which concepts may swap the names of their values, and how to give all draws the same names.

Permuting the values of a concept permutes rows (where it is a parent) and columns (in its own
table) of the parameters. Where that leaves the tables the same up to the names, and the prior
unchanged, the posterior cannot tell the names apart. Each draw is then matched to a reference by
the assignment of values that brings their tables closest (the Hungarian method), as in Stephens
(2000), https://doi.org/10.1111/1467-9868.00265.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from concept_ppl.fitting.likelihoods.program import Piece, Program, Values
from concept_ppl.fitting.likelihoods.ties import stacked_rows

Tables = Sequence[Sequence[Tensor]]
SAME = 1e-9
ROUNDS = 10


@dataclass(frozen=True)
class Symmetry:
    """A concept whose values may swap names.

    Attributes
    ----------
    name : str
        The concept; of one that moves, its base name.
    members : frozenset of str
        Its sites.
    n_values : int
    moved : frozenset of str
        The parameters that a swap changes.
    """

    name: str
    members: frozenset[str]
    n_values: int
    moved: frozenset[str]

    def permute(
        self, program: Program, values: Values, order: NDArray[np.int64]
    ) -> dict[str, Tensor]:
        """Return the parameters under which value k means what ``order[k]`` meant."""
        sources, flips = _row_actions(program, self.members, order)
        rows = {w: r.exp() for w, r in stacked_rows(program.views, values).items()}
        permuted = dict(values)
        starts: dict[int, int] = {}
        for view in program.views:
            start = starts.get(view.width, 0)
            starts[view.width] = start + view.n_rows
            own = slice(start, start + view.n_own)
            source, flip = sources[view.width][own], flips[view.width][own]
            is_same = (source == torch.arange(start, start + view.n_own)) & ~flip
            if view.name not in self.moved or bool(is_same.all()):
                continue
            new = rows[view.width][source]
            if view.width == self.n_values:
                new = torch.where(flip.unsqueeze(1), new[:, torch.from_numpy(order)], new)
            permuted[view.name] = view.value(new, program.parameters[view.name].shape)
        return permuted


def axes_of(piece: Piece, members: frozenset[str]) -> list[tuple[list[int], bool]]:
    """Return, for each table, the axes that are the concept's, and whether its values are too."""
    graph = piece.template
    found = []
    for factor, value_dims in zip(piece.own_priors, piece.value_dims, strict=False):
        axes = [a for a, name in enumerate(factor.scope) if name in members]
        is_own = bool(value_dims) and len(factor.scope) - 1 in axes
        found.append(([a for a in axes if not (is_own and a == len(factor.scope) - 1)], is_own))
    for place in piece.token_emissions:
        scope = graph.emissions[place].scope
        found.append(([a + 1 for a, name in enumerate(scope) if name in members], False))
    bases = {
        base for base, steps in graph.moving.items() if not members.isdisjoint(steps)
    } | members
    found += [
        ([a for a, name in enumerate(factor.scope) if name in bases], False)
        for factor in graph.next_tokens.values()
    ]
    return found


def _row_actions(
    program: Program, members: frozenset[str], order: NDArray[np.int64]
) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Return, by width, the stacked row that moves to each place, and whether columns move too."""
    sizes: dict[int, int] = {}
    for view in program.views:
        sizes[view.width] = sizes.get(view.width, 0) + view.n_rows
    sources = {width: torch.arange(n) for width, n in sizes.items()}
    flips = {width: torch.zeros(n, dtype=torch.bool) for width, n in sizes.items()}
    for piece in program.pieces:
        for tie, (axes, is_own) in zip(piece.ties, axes_of(piece, members), strict=True):
            if tie.width not in sizes:
                continue
            places = tie.index.reshape(tie.shape[:-1])
            moved = places
            for axis in axes:
                moved = moved.index_select(axis, torch.from_numpy(order))
            tied = (places >= 0) & (moved >= 0)
            sources[tie.width][places[tied]] = moved[tied]
            if is_own:
                flips[tie.width][places[tied]] = True
    return sources, flips


def _permuted_tables(
    program: Program, tables: Tables, members: frozenset[str], order: NDArray[np.int64]
) -> list[list[Tensor]]:
    index = torch.from_numpy(order)
    result = []
    for piece, own in zip(program.pieces, tables, strict=True):
        permuted = []
        for table, (axes, is_own) in zip(own, axes_of(piece, members), strict=True):
            new = table
            for axis in [*axes, *([table.dim() - 1] if is_own else [])]:
                new = new.index_select(axis, index)
            permuted.append(new)
        result.append(permuted)
    return result


def find_symmetries(
    program: Program, known: Sequence[str] = (), observed: Sequence[str] = ()
) -> list[Symmetry]:
    """Return the concepts whose values may swap names.

    Parameters
    ----------
    known
        Concepts of which values are known: their names are too.
    observed
        The next-token sites that were observed; the tables of others do not matter.
    """
    graph = program.pieces[0].template
    groups = {name: frozenset({name}) for name in graph.static}
    for base in graph.moving:
        groups[base] = frozenset(
            step for piece in program.pieces for step in piece.template.moving[base]
        )
    found = []
    for name, members in groups.items():
        size = graph.sizes[next(iter(members & set(graph.sizes)))]
        if size > 1 and members.isdisjoint(known):
            symmetry = _symmetry(program, name, members, size, observed)
            if symmetry is not None:
                found.append(symmetry)
    return found


def _symmetry(
    program: Program, name: str, members: frozenset[str], size: int, observed: Sequence[str]
) -> Symmetry | None:
    values = program.random_values(torch.Generator().manual_seed(3))
    swaps = [_swap(size, k) for k in range(size - 1)]
    every = frozenset(program.parameters)
    whole_rows = frozenset(v.name for v in program.views if not v.is_binary)
    for moved in (every, whole_rows):
        symmetry = Symmetry(name, members, size, moved)
        if all(_leaves_posterior(program, symmetry, values, order, observed) for order in swaps):
            return symmetry
    return None


def _swap(size: int, k: int) -> NDArray[np.int64]:
    order = np.arange(size)
    order[[k, k + 1]] = order[[k + 1, k]]
    return order


def _leaves_posterior(
    program: Program,
    symmetry: Symmetry,
    values: Values,
    order: NDArray[np.int64],
    observed: Sequence[str],
) -> bool:
    """Whether a permutation changes names alone: the tables in that order, and the same prior."""
    permuted = symmetry.permute(program, values, order)
    before, log_prior = program.evaluate(values)
    after, log_prior_after = program.evaluate(permuted)
    wanted = _permuted_tables(program, before, symmetry.members, order)
    is_same = all(
        bool(torch.isclose(one, other, rtol=0, atol=SAME).all())
        for piece, own, others in zip(program.pieces, after, wanted, strict=True)
        for one, other, matters in zip(own, others, _matters(piece, observed), strict=True)
        if matters
    )
    changes = any(not torch.equal(permuted[n], values[n]) for n in values)
    return changes and is_same and bool(torch.isclose(log_prior, log_prior_after, atol=1e-6))


def _matters(piece: Piece, observed: Sequence[str]) -> list[bool]:
    """Return, for each table, whether the evidence reads it."""
    n_others = piece.n_priors + len(piece.token_emissions)
    return [True] * n_others + [name in observed for name in piece.template.next_tokens]


def match(
    program: Program, symmetries: Sequence[Symmetry], reference: Tables, values: Values
) -> tuple[dict[str, Tensor], dict[str, NDArray[np.int64]]]:
    """Give parameters the reference's names.

    Returns
    -------
    matched
        The parameters, renamed.
    orders
        For each concept, the own value that plays the part of each value of the reference.
    """
    orders = {s.name: np.arange(s.n_values) for s in symmetries}
    current = dict(values)
    for _ in range(ROUNDS):
        changed = False
        for symmetry in symmetries:
            with torch.no_grad():
                tables, _ = program.evaluate(current)
            order = _assignment(program, symmetry, reference, tables)
            if (order != np.arange(symmetry.n_values)).any():
                current = symmetry.permute(program, current, order)
                orders[symmetry.name] = orders[symmetry.name][order]
                changed = True
        if not changed:
            break
    return current, orders


def _assignment(
    program: Program, symmetry: Symmetry, reference: Tables, tables: Tables
) -> NDArray[np.int64]:
    """Return the own value for each value of the reference, by squared Hellinger distance."""
    cost = np.zeros((symmetry.n_values, symmetry.n_values))
    for piece, one, other in zip(program.pieces, reference, tables, strict=True):
        for a, b, (axes, is_own) in zip(one, other, axes_of(piece, symmetry.members), strict=True):
            for axis in [*axes, *([a.dim() - 1] if is_own else [])]:
                ours, theirs = (
                    (t.detach() / 2).exp().movedim(axis, 0).reshape(len(cost), -1).numpy()
                    for t in (a, b)
                )
                squares = (ours**2).sum(1)[:, None] + (theirs**2).sum(1)[None, :]
                cost += squares - 2 * ours @ theirs.T
    _, columns = linear_sum_assignment(cost)
    order: NDArray[np.int64] = np.asarray(columns, np.int64)
    # Equal costs: keep the names that are there.
    stay = np.arange(len(cost))
    return stay if cost[stay, order].sum() > np.trace(cost) - 1e-12 else order


def match_draws(
    program: Program,
    symmetries: Sequence[Symmetry],
    draws: Mapping[str, NDArray[np.float64]],
    reference: Values,
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.int64]]]:
    """Match every draw to the reference; draws have shape (n_chains, n_draws, *shape)."""
    if not symmetries:
        return dict(draws), {}
    with torch.no_grad():
        tables, _ = program.evaluate(reference)
    n_chains, n_draws = next(iter(draws.values())).shape[:2]
    matched = {name: np.array(values) for name, values in draws.items()}
    orders = {s.name: np.empty((n_chains, n_draws, s.n_values), np.int64) for s in symmetries}
    for place in np.ndindex(n_chains, n_draws):
        values = {name: torch.from_numpy(np.asarray(d[place])) for name, d in draws.items()}
        renamed, own = match(program, symmetries, tables, values)
        for name, value in renamed.items():
            matched[name][place] = value.numpy()
        for name, order in own.items():
            orders[name][place] = order
    return matched, orders
