"""The sequence engine: concepts that move within the context, summed out along the positions.

    α_t(s_t) = Σ_{s_{t−1}} α_{t−1}(s_{t−1}) p(s_t | s_{t−1}) p(x_t | s_t),     α_t ∝ p(s_t | x_{≤t})
    β_t(s_t) = Σ_{s_{t+1}} p(s_{t+1} | s_t) p(x_{t+1} | s_{t+1}) β_{t+1}(s_{t+1})

The state ``s_t`` holds the concepts that do not move, those at position t, and whatever later
factors still need (more than one step of history). Linear in the number of positions. Source: Baum
and Petrie (1966); Rabiner (1989), https://doi.org/10.1109/5.18626.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concept_ppl.contexts.tokens import Contexts
from concept_ppl.errors import InputError
from concept_ppl.inference.evidence import observed, token_rows
from concept_ppl.logspace import by_row, logsumexp, normalise
from concept_ppl.programs.factors import Emission, Factor, FactorGraph

from .answers import Answer, Wanted, answer_from_table
from .contraction import Leaf, align, combine, contract
from .moves import Move, joint_of, kind_of, lay_out, over_joint
from .scans import FEWEST, positions_at_once, scan

ROWS_AT_ONCE = 2**20
"""Cells of token rows that are looked up at once."""


@dataclass(frozen=True)
class Step:
    """What happens at one position.

    Attributes
    ----------
    factors : tuple of Factor
        The tables whose last moving concept is at this position.
    emission : Emission
    present : tuple of str
        The static concepts and those at this position, in the order in which they are reported.
    carry : tuple of str
        The state after this position: ``present`` and what later factors need.
    """

    factors: tuple[Factor, ...]
    emission: Emission
    present: tuple[str, ...]
    carry: tuple[str, ...]


@dataclass(frozen=True)
class Chain:
    """A graph with moving concepts, unrolled: the static prior, then one step per position.

    Attributes
    ----------
    start : Leaf
        The prior of the concepts that neither move nor depend on one that does.
    steps : tuple of Step
    reported : tuple of str
        What a posterior speaks of.
    closing : tuple of str
        Concepts that do not move but depend on the state at some position.
    """

    start: Leaf
    steps: tuple[Step, ...]
    reported: tuple[str, ...]
    closing: tuple[str, ...]

    def cells(self, graph: FactorGraph) -> int:
        """Table cells that a context needs in the widest step."""
        widest = 1
        before: tuple[str, ...] = self.start.scope
        for step in self.steps:
            names = {*before, *step.carry, *(n for f in step.factors for n in f.scope)}
            cells = math.prod(graph.sizes[name] for name in names)
            widest = max(cells, widest)
            before = step.carry
        return widest


def unroll(graph: FactorGraph) -> Chain:
    """Order the factors of a graph by position."""
    position = {site: t for sites in graph.moving.values() for t, site in enumerate(sites)}
    by_step: list[list[Factor]] = [[] for _ in range(graph.n_tokens)]
    static_leaves, needed_until = [], dict.fromkeys(position, -1)
    for factor in graph.priors:
        moving = [position[name] for name in factor.scope if name in position]
        if not moving:
            static_leaves.append(Leaf(factor.scope, factor.table))
            continue
        by_step[max(moving)].append(factor)
        for name in factor.scope:
            if name in position:
                needed_until[name] = max(needed_until[name], *moving)
    for t, emission in enumerate(graph.emissions):
        for name in emission.scope:
            if name in position:
                needed_until[name] = max(needed_until[name], t)
    steps = _steps(graph, by_step, needed_until)
    static = graph.static
    start = contract(static_leaves, graph.sizes, static) if static_leaves else None
    table = (
        start
        if start is not None
        else torch.zeros([1] * (1 + len(static)), dtype=graph.dtype, device=graph.device)
    )
    own = {f.scope[-1] for factors in by_step for f in factors if f.scope[-1].startswith(f.site)}
    closing = tuple(name for name in static if name in own)
    return Chain(Leaf(static, table, batched=True), steps, tuple(graph.reported), closing)


def _steps(
    graph: FactorGraph, by_step: list[list[Factor]], needed_until: dict[str, int]
) -> tuple[Step, ...]:
    """Put the factors of each position beside what is carried on from it."""
    reported, steps, older = tuple(graph.reported), [], list[str]()
    for t, emission in enumerate(graph.emissions):
        present = graph.at_length(reported, t + 1)
        older = [name for name in older if needed_until[name] > t]
        steps.append(Step(tuple(by_step[t]), emission, present, (*present, *older)))
        older += [sites[t] for sites in graph.moving.values()]
    return tuple(steps)


def answer_sequences(
    graph: FactorGraph,
    chain: Chain,
    contexts: Contexts,
    given: Mapping[str, Tensor],
    wanted: Wanted,
) -> Answer:
    """Answer a chunk of contexts, longest first inside, so that finished ones cost nothing."""
    order = np.argsort(-contexts.lengths, kind="stable")
    ordered = contexts.take(order)
    rows = torch.from_numpy(order).to(graph.device)
    known = {name: index.to(graph.device)[rows] for name, index in given.items()}
    keep = wanted.filtered or wanted.smoothed
    if keep and chain.closing:
        raise InputError(
            f"concept '{chain.closing[0]}' of model {graph.name} depends on a state within the "
            f"context and has no posterior before that; leave out filtered and smoothed."
        )
    states, kept = forward(graph, chain, ordered, known, keep=keep)
    answer = answer_from_table(chain.reported, states[torch.argsort(rows)], joint=wanted.joint)
    if wanted.filtered:
        tables = [normalise_rows(table) for table in kept]
        answer.filtered = _by_position(graph, chain, tables, contexts, order)
        totals = [logsumexp(by_row(table), 1) for table in kept]
        answer.running_evidence = _in_token_order(totals, contexts, order)
    if wanted.smoothed:
        tables = _smooth(graph, chain, ordered, known, kept)
        answer.smoothed = _by_position(graph, chain, tables, contexts, order)
    return answer


def normalise_rows(table: Tensor) -> Tensor:
    """Normalise each context's table over all its states."""
    return normalise(by_row(table), 1).reshape(table.shape)


def forward(
    graph: FactorGraph, chain: Chain, contexts: Contexts, given: Mapping[str, Tensor], *, keep: bool
) -> tuple[Tensor, list[Tensor]]:
    """Return log p(state, x) at each context's last position, and α at every position if kept.

    Contexts must lie longest first.
    """
    n_active = np.append(_counts_longer(contexts), 0)
    rows = _TokenRows(contexts.padded(max(contexts.longest, 1)), n_active)
    start = chain.start
    alpha = start.table.expand(len(contexts), *start.table.shape[1:])
    finished: list[Tensor] = []
    kept: list[Tensor] = []
    for stretch in _stretches(graph, chain, n_active):
        n, move = int(n_active[stretch.start]), stretch.move
        alpha, own = alpha[:n], chain.steps[stretch.start : stretch.stop]
        at_once = positions_at_once(move, alpha.shape[1:], n) if not (keep or given) else 0
        if at_once > 1 and len(own) >= FEWEST:
            for t in range(stretch.start, stretch.stop, at_once):
                several = rows.between(own[0].emission, t, min(t + at_once, stretch.stop))
                alpha = scan(move, alpha, several)
        else:
            for t, step in enumerate(own, stretch.start):
                known = _known_over_joint(graph, chain, t, given, n) if given else ()
                alpha = move.apply(alpha, rows.at(step.emission, t), known)
                if keep:
                    kept.append(alpha)
        if (following := int(n_active[stretch.stop])) < n or not len(contexts):
            done = Leaf(own[-1].carry, alpha[following:], True)
            finished.append(combine([done], own[-1].present).table)
    return torch.cat(finished[::-1]), kept


@dataclass
class _Stretch:
    """Consecutive positions of the same arithmetic, token table and contexts."""

    start: int
    stop: int
    move: Move


def _stretches(graph: FactorGraph, chain: Chain, n_active: NDArray[np.int64]) -> Iterator[_Stretch]:
    moves: dict[Any, Move] = {}
    last, current, scope = None, None, chain.start.scope
    for t, step in enumerate(chain.steps[: len(n_active) - 1]):
        parts = scope, step.factors, step.emission, step.carry
        kind = kind_of(*parts, graph.sizes)
        if kind not in moves:
            moves[kind] = lay_out(*parts, graph.sizes)
        key = (kind, id(step.emission.tokens), n_active[t])
        if current is None or key != last or step.emission.tokens.varies:
            if current is not None:
                yield current
            last, current = key, _Stretch(t, t, moves[kind])
        current.stop, scope = t + 1, step.carry
    if current is not None:
        yield current


def _counts_longer(contexts: Contexts) -> NDArray[np.int64]:
    """Return how many contexts have a token at each position; the first stands for empty ones."""
    longer = np.bincount(contexts.lengths, minlength=2)[::-1].cumsum()[::-1][1:]
    longer[0] = len(contexts)
    return longer


@dataclass
class _TokenRows:
    """log p(token | parents) of many positions at once, where they read one table."""

    columns: NDArray[np.int64]
    n_active: NDArray[np.int64]
    start: int = 0
    tokens: object = None
    rows: Tensor | None = None

    def at(self, emission: Emission, t: int) -> Tensor:
        """Return the rows of the contexts that have a token at position t."""
        n = int(self.n_active[t])
        known = self.rows is not None and t < self.start + len(self.rows)
        if not known or emission.tokens is not self.tokens or emission.tokens.varies:
            cells = max(n * emission.tokens.rows.shape[1], 1)
            ahead = 1 if emission.tokens.varies else max(1, ROWS_AT_ONCE // cells)
            self.start, self.tokens = t, emission.tokens
            self.rows = self.between(emission, t, min(t + ahead, self.columns.shape[1]))
        assert self.rows is not None
        return self.rows[t - self.start, :n]

    def between(self, emission: Emission, start: int, stop: int) -> Tensor:
        """Return the rows of some positions, shape (n_positions, n, Π parents)."""
        n = int(self.n_active[start])
        columns = torch.from_numpy(np.ascontiguousarray(self.columns[:n, start:stop].T))
        rows = token_rows(emission, columns.reshape(-1))
        return rows.reshape(stop - start, n, rows.shape[1])


def _known_over_joint(
    graph: FactorGraph, chain: Chain, t: int, given: Mapping[str, Tensor], active: int
) -> list[Tensor]:
    step, before = chain.steps[t], chain.steps[t - 1].carry if t else chain.start.scope
    joint = joint_of(before, step.factors, step.emission, step.carry)
    return [over_joint(leaf, joint) for leaf in _known(graph, step, given, active)]


def _known(
    graph: FactorGraph, step: Step, given: Mapping[str, Tensor], active: int
) -> Iterator[Leaf]:
    """Return what is known of the concepts that come in at a position."""
    own = {factor.scope[-1] for factor in step.factors}
    first = step.emission.start == 0
    for name, index in given.items():
        if name in own or (first and name in graph.static):
            yield observed(graph, name, index[:active])


def _step_leaves(
    graph: FactorGraph, step: Step, tokens: Tensor, given: Mapping[str, Tensor], active: int
) -> list[Leaf]:
    """Return the tables of one position: its factors, its token, what is known of its concepts."""
    leaves = [Leaf(factor.scope, factor.table) for factor in step.factors]
    rows = token_rows(step.emission, tokens)
    shape = [graph.sizes[name] for name in step.emission.scope]
    leaves.append(Leaf(step.emission.scope, rows.reshape(active, *shape), batched=True))
    leaves += _known(graph, step, given, active)
    return leaves


def _smooth(
    graph: FactorGraph,
    chain: Chain,
    contexts: Contexts,
    given: Mapping[str, Tensor],
    kept: list[Tensor],
) -> list[Tensor]:
    """Return log p(state_t | x) at every position from the α that were kept."""
    columns = torch.from_numpy(contexts.padded(max(contexts.longest, 1)))
    smoothed: list[Tensor] = []
    beta: Leaf | None = None
    for t in range(len(kept) - 1, -1, -1):
        step, active = chain.steps[t], len(kept[t])
        table = torch.zeros_like(kept[t])
        if beta is not None:
            table = torch.cat([beta.table, table[len(beta.table) :]])
        smoothed.append(normalise_rows(kept[t] + table))
        if t:
            after = Leaf(step.carry, table, batched=True)
            leaves = [after, *_step_leaves(graph, step, columns[:active, t], given, active)]
            before = chain.steps[t - 1].carry
            held = {name for leaf in leaves for name in leaf.scope}
            beta = combine(leaves, tuple(name for name in before if name in held))
            sizes = [graph.sizes[name] for name in before]
            aligned = align(beta.scope, beta.table, before, batched=True)
            beta = Leaf(before, aligned.expand(active, *sizes), batched=True)
    return smoothed[::-1]


def _by_position(
    graph: FactorGraph,
    chain: Chain,
    tables: list[Tensor],
    contexts: Contexts,
    order: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
) -> dict[str, Tensor]:
    """Return log-marginals of each reported concept at each position, in token order."""
    marginals = {}
    for base in chain.reported:
        pieces = []
        for t, table in enumerate(tables):
            name = graph.at_length((base,), t + 1)
            pieces.append(combine([Leaf(chain.steps[t].carry, table, True)], name).table)
        marginals[base] = _in_token_order(pieces, contexts, order)
    return marginals


def _in_token_order(
    pieces: list[Tensor],
    contexts: Contexts,
    order: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
) -> Tensor:
    """Interleave per-position tables (longest contexts first) into the order of the tokens."""
    offsets = contexts.offsets[order]
    lengths = contexts.lengths[order]
    place = [offsets[lengths > t] + t for t in range(len(pieces))]
    stacked = torch.cat([piece[: len(p)] for piece, p in zip(pieces, place, strict=True)])
    index = torch.from_numpy(np.concatenate(place)).to(stacked.device)
    return stacked[torch.argsort(index)]
