"""log p(x) and expected counts where concepts move in a chain: forward–backward, in probabilities.

    a_t = (a_{t−1} P) ∘ e_t / c_t,      b_{t−1} = P (e_t ∘ b_t) / c_t,      log p(x) = Σ_t log c_t

The expected count of a transition is Σ_t a_{t−1} (e_t ∘ b_t / c_t)ᵀ ∘ P, that of a token in a state
Σ_t a_t ∘ b_t; both are the gradients of log p(x) by the logarithms of the tables. All contexts go a
position at a time, so that the work is that of matrix products. What probabilities of 64 bits
cannot hold (a state 10¹⁵⁰ times less likely than others, from which evidence could bring it back)
is left to the log-space of `general_evidence`. Source: Rabiner (1989),
https://doi.org/10.1109/5.18626, section V.A.
"""

import math
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csc_matrix
from torch import Tensor

from concept_ppl.contexts.tokens import UNOBSERVED, Contexts
from concept_ppl.inference.exact.contraction import Leaf, align, combine
from concept_ppl.inference.exact.moves import joint_of, kind_of, lay_out
from concept_ppl.inference.exact.sequences import Chain, Step, unroll
from concept_ppl.programs.factors import FactorGraph, TokenTable

SMALLEST_ENTRY, SMALLEST_STATE = 1e-140, 1e-150
"""A product of both is still a number of 64 bits."""
CELLS_AT_ONCE = 2**23
"""States of all positions that are kept for the way back, 64 MiB, and as many of their tokens."""


@dataclass(frozen=True)
class Transition:
    """A position's move as matrices, for each value of what stays: from what goes to what comes.

    Attributes
    ----------
    log_table : Tensor, shape (1, *joint)
        Differentiable.
    matrices : Tensor, shape (n_stay, n_go, n_come)
        Probabilities.
    axes : tuple of int
        Permutation of the joint to (stay, go, come).
    sizes : tuple of tuple of int
        Of the concepts that stay, go and come.
    into, out_of : Tensor or None
        Which state before is each (stay, go), and which (stay, come) is each state after; None
        where they are in order.
    token : Tensor or None
        Which value of a token's parents each state after has; None where they are the same.
    """

    log_table: Tensor
    matrices: Tensor
    axes: tuple[int, ...]
    sizes: tuple[tuple[int, ...], ...]
    into: Tensor | None
    out_of: Tensor | None
    token: Tensor | None

    def ahead(self, state: Tensor) -> Tensor:
        """Return the state after, before its token is seen, shape (n, n_after)."""
        moved = _times(_picked(state, self.into), self.matrices)
        return _picked(moved, self.out_of)

    def back(self, after: Tensor) -> Tensor:
        """Return P times what lies behind, over the state before, shape (n, n_before)."""
        moved = _times(_put_back(after, self.out_of), self.matrices.transpose(1, 2))
        return _put_back(moved, self.into)

    def counts(self, state: Tensor, behind: Tensor) -> Tensor:
        """Return Σ state · behindᵀ, shape (n_stay, n_go, n_come)."""
        before, after = _picked(state, self.into), _put_back(behind, self.out_of)
        n_stay = len(self.matrices)
        if n_stay == 1:
            return (before.T @ after).unsqueeze(0)
        parts = (x.reshape(len(x), n_stay, -1).movedim(1, 0) for x in (before, after))
        one, other = parts
        return one.transpose(1, 2) @ other


def _times(rows: Tensor, matrices: Tensor) -> Tensor:
    if len(matrices) == 1:
        return rows @ matrices[0]
    product = rows.reshape(len(rows), len(matrices), -1).movedim(1, 0) @ matrices
    return product.movedim(0, 1).reshape(len(rows), -1)


def _picked(table: Tensor, columns: Tensor | None) -> Tensor:
    return table if columns is None else table[:, columns]


def _put_back(table: Tensor, columns: Tensor | None) -> Tensor:
    return table if columns is None else table[:, columns.argsort()]


def transition(graph: FactorGraph, before: tuple[str, ...], step: Step) -> Transition | None:
    """Lay a position out as matrices; None where its token depends on what is summed out."""
    parts = before, step.factors, step.emission, step.carry
    move, joint = lay_out(*parts, graph.sizes), joint_of(*parts)
    if not move.is_late or not set(joint) - set(step.carry) <= set(before):
        return None
    stay = [name for name in step.carry if name in before]
    go = [name for name in before if name not in step.carry]
    come = [name for name in step.carry if name not in before]
    sizes = tuple(tuple(graph.sizes[name] for name in names) for names in (stay, go, come))
    axes = tuple(joint.index(name) for name in (*stay, *go, *come))
    whole = move.table.expand(1, *(graph.sizes[name] for name in joint))
    counts = [math.prod(size) for size in sizes]
    return Transition(
        log_table=whole,
        matrices=whole.detach()[0].permute(axes).reshape(counts).exp(),
        axes=axes,
        sizes=sizes,
        into=_columns(graph, before, (*stay, *go)),
        out_of=_columns(graph, (*stay, *come), step.carry),
        token=_columns(graph, step.emission.scope, step.carry),
    )


def _columns(graph: FactorGraph, held: tuple[str, ...], wanted: tuple[str, ...]) -> Tensor | None:
    """Return which joint value of ``held`` each joint value of ``wanted`` has."""
    if held == wanted:
        return None
    sizes = [graph.sizes[name] for name in held]
    number = torch.arange(math.prod(sizes), device=graph.device).reshape(1, *sizes)
    whole = align(held, number, wanted, batched=True)
    return whole.expand(1, *(graph.sizes[name] for name in wanted)).reshape(-1)


@dataclass(frozen=True, eq=False)
class ChainBatch:
    """Contexts laid out position after position, made once for all passes over them.

    Attributes
    ----------
    order : int64 array, shape (n,)
        Their rows, longest first.
    active : tuple of int
        How many of them have a token at each position.
    starts : tuple of int
        Where each position begins among all tokens.
    tokens : Tensor, shape (n_tokens,)
        Position after position; the vocabulary's size where unobserved.
    """

    order: NDArray[np.int64]
    active: tuple[int, ...]
    starts: tuple[int, ...]
    tokens: Tensor

    @classmethod
    def of(
        cls, contexts: Contexts, rows: NDArray[np.int64], n_values: int, device: torch.device
    ) -> "ChainBatch":
        """Lay some contexts out, each with a token."""
        order = rows[np.argsort(-contexts.lengths[rows], kind="stable")]
        own = contexts.take(order)
        columns = own.padded().T
        is_own = np.arange(own.longest)[:, None] < own.lengths
        tokens = columns[is_own]
        active = is_own.sum(1)
        starts = tuple(int(end) for end in np.cumsum([0, *active]))
        seen = torch.from_numpy(np.where(tokens == UNOBSERVED, n_values, tokens))
        return cls(order, tuple(int(n) for n in active), starts, seen.to(device))

    def at(self, table: Tensor, t: int) -> Tensor:
        """Return the part of a table of all tokens that belongs to one position."""
        return table[self.starts[t] : self.starts[t + 1]]


@dataclass(frozen=True)
class ChainPass:
    """A graph whose concepts move, made ready for forward and backward passes."""

    graph: FactorGraph
    chain: Chain
    transitions: tuple[Transition, ...]
    probabilities: dict[int, Tensor]

    @classmethod
    def of(cls, graph: FactorGraph) -> "ChainPass | None":
        """Lay a graph out; None where probabilities of 64 bits would not do."""
        chain = unroll(graph)
        if chain.closing:
            return None
        scope = chain.start.scope
        kinds: dict[Any, Transition | None] = {}
        found = []
        for step in chain.steps:
            key = kind_of(scope, step.factors, step.emission, step.carry, graph.sizes)
            if key not in kinds:
                kinds[key] = transition(graph, scope, step)
            if (own := kinds[key]) is None or step.emission.tokens.varies:
                return None
            found.append(own)
            scope = step.carry
        rows = {id(step.emission.tokens): step.emission.tokens for step in chain.steps}
        probabilities = {key: _with_unknown(tokens) for key, tokens in rows.items()}
        tables = [one.matrices for one in kinds.values() if one] + [*probabilities.values()]
        start = chain.start.table.detach().exp()
        if any(_has_tiny(table) for table in [*tables, start]):
            return None
        return cls(graph, chain, tuple(found), probabilities)

    @property
    def start(self) -> Tensor:
        """p(concepts that do not move), shape (1, n)."""
        return self.chain.start.table.detach().exp().reshape(1, -1)

    def contexts_at_once(self, longest: int) -> int:
        """Return how many contexts' states are kept at once, for the way back."""
        widest = max(move.matrices[:, 0].numel() for move in self.transitions)
        return max(1, CELLS_AT_ONCE // (widest * longest))

    def token_tables(self, n_positions: int) -> list[tuple[TokenTable, int, int]]:
        """Return the stretches of positions that read one table of tokens."""
        tables = [step.emission.tokens for step in self.chain.steps[:n_positions]]
        found, first = [], 0
        for _, group in groupby(tables, key=id):
            own = list(group)
            found.append((own[0], first, first + len(own)))
            first += len(own)
        return found

    def seen(self, batch: ChainBatch) -> list[Tensor]:
        """Return p(token | parents) at each position, shape (n_active, Π parents)."""
        found: list[Tensor] = []
        for tokens, first, stop in self.token_tables(len(batch.active)):
            own = slice(batch.starts[first], batch.starts[stop])
            rows = self.probabilities[id(tokens)].index_select(0, batch.tokens[own])
            found += torch.split(rows, list(batch.active[first:stop]))
        return found


def _with_unknown(tokens: TokenTable) -> Tensor:
    """Return p(token | parents), a last row of ones for a token that was not observed."""
    rows = tokens.rows.detach().exp()
    return torch.cat([rows, torch.ones_like(rows[:1])])


def _has_tiny(table: Tensor) -> bool:
    return bool(((table > 0) & (table < SMALLEST_ENTRY)).any())


@dataclass
class Passed:
    """What a forward pass leaves for the way back: of each position, and where contexts end."""

    states: list[Tensor]
    tokens: list[Tensor]
    scales: list[Tensor]
    ends: dict[int, Tensor]


def forward_pass(
    ready: ChainPass, batch: ChainBatch, last: Tensor | None
) -> tuple[Tensor, Passed, Tensor]:
    """Return log p(x) of each context, what a way back needs, and which contexts need log-space.

    Parameters
    ----------
    ready, batch
        The graph and the contexts.
    last
        log p(next tokens | reported concepts), shape (n, *reported), if any was observed.
    """
    n = batch.active[0]
    state = ready.start.expand(n, -1)
    passed = Passed([], ready.seen(batch), [], {})
    n_after = (*batch.active[1:], 0)
    total = torch.zeros(n, dtype=state.dtype, device=state.device)
    for t, active in enumerate(batch.active):
        move, token = ready.transitions[t], passed.tokens[t]
        passed.tokens[t] = token = _picked(token, move.token)
        state = move.ahead(state[:active]) * token
        scale = state.sum(1, keepdim=True)
        state /= scale.clamp_min(torch.finfo(scale.dtype).tiny)
        passed.states.append(state)
        passed.scales.append(scale)
        if n_after[t] < active and last is not None:
            own = _over_state(ready, ready.chain.steps[t], last[n_after[t] : active])
            value = (state[n_after[t] :] * own).sum(1, keepdim=True)
            total[n_after[t] : active] += value.log().squeeze(1)
            passed.ends[t] = own / value
    logs = torch.cat(passed.scales).log().squeeze(1)
    for t, active in enumerate(batch.active):
        total[:active] += batch.at(logs, t)
    doubtful = torch.isneginf(total)
    for one in passed.states:
        if bool(((one > 0) & (one < SMALLEST_STATE)).any()):
            doubtful[: len(one)] |= ((one > 0) & (one < SMALLEST_STATE)).any(1)
    return total, passed, doubtful


def _over_state(ready: ChainPass, step: Step, last: Tensor) -> Tensor:
    whole = align(step.present, last.detach().exp(), step.carry, batched=True)
    return whole.expand(-1, *(ready.graph.sizes[n] for n in step.carry)).reshape(len(last), -1)


def backward_pass(
    ready: ChainPass, batch: ChainBatch, passed: Passed, weights: Tensor
) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """Return expected counts of log-tables, and of the reported concepts at the ends.

    Parameters
    ----------
    ready, batch
        As in :func:`forward_pass`, which left ``passed``; its states are written over.
    weights
        How often each context counts, shape (n,); 0 where log-space is needed.

    Returns
    -------
    counts
        Pairs of a differentiable log-table and the expected count of each of its cells.
    ends
        Weighted p(concepts at the last position | x), shape (n, *reported).
    """
    found: dict[int, tuple[Transition, Tensor]] = {}
    ends: list[Tensor] = []
    weight = weights.unsqueeze(1)
    after = passed.states[-1].new_zeros(0, passed.states[-1].shape[1])
    for t in range(len(batch.active) - 1, -1, -1):
        step, move, state = ready.chain.steps[t], ready.transitions[t], passed.states[t]
        n, done = batch.active[t], len(after)
        if n > done:
            last = passed.ends.get(t, torch.ones_like(state[done:]))
            after = torch.cat([after, last])
        behind = passed.tokens[t] * after / passed.scales[t].clamp_min(1e-300)
        here = state.mul_(after).mul_(weight[:n])
        if n > done:
            ends.append(_reported(ready, step, here[done:]))
        before = passed.states[t - 1][:n] if t else ready.start.expand(n, -1)
        own = move.counts(before, behind * weight[:n])
        known = found.get(id(move))
        found[id(move)] = move, own if known is None else known[1].add_(own)
        after = move.back(behind)
    counts = [(move.log_table, _over_joint(move, own)) for move, own in found.values()]
    start = ready.chain.start.table
    counts.append((start, (ready.start * (after * weight).sum(0)).reshape(start.shape)))
    return counts + _token_counts(ready, batch, passed), torch.cat(ends)


def _over_joint(move: Transition, found: Tensor) -> Tensor:
    """Return counts of transitions as counts of the cells of the move's table."""
    sizes = [size for part in move.sizes for size in part]
    counts = (found * move.matrices).reshape(sizes)
    return counts.permute(*(int(axis) for axis in np.argsort(move.axes))).unsqueeze(0)


def _reported(ready: ChainPass, step: Step, here: Tensor) -> Tensor:
    sizes = [ready.graph.sizes[name] for name in step.carry]
    whole = Leaf(step.carry, here.log().reshape(len(here), *sizes), batched=True)
    return combine([whole], step.present).table.exp()


def _token_counts(
    ready: ChainPass, batch: ChainBatch, passed: Passed
) -> list[tuple[Tensor, Tensor]]:
    """Return how often each token is expected in each state, of each table of tokens."""
    counts: dict[int, tuple[Tensor, Tensor]] = {}
    for tokens, first, stop in ready.token_tables(len(batch.active)):
        width = tokens.rows.shape[1]
        values = torch.cat(
            [
                _by_parent(passed.states[t], ready.transitions[t].token, width)
                for t in range(first, stop)
            ]
        )
        index = batch.tokens[batch.starts[first] : batch.starts[stop]]
        own = sum_by_token(index, values, len(tokens.rows))
        known = counts.get(id(tokens))
        counts[id(tokens)] = tokens.rows, own if known is None else known[1] + own
    return list(counts.values())


def _by_parent(here: Tensor, columns: Tensor | None, width: int) -> Tensor:
    if columns is None:
        return here
    return here.new_zeros(len(here), width).index_add_(1, columns, here)


def sum_by_token(index: Tensor, values: Tensor, n_tokens: int) -> Tensor:
    """Add up the rows of ``values`` by token, shape (n_tokens, width); others count as unseen."""
    if values.device.type != "cpu":
        total = values.new_zeros(n_tokens + 1, values.shape[1])
        return total.index_add_(0, index, values)[:n_tokens]
    # A product with a sparse matrix: torch's own index_add_ takes ten times as long on the CPU.
    n = len(index)
    rows = csc_matrix((np.ones(n), index.numpy(), np.arange(n + 1)), shape=(n_tokens + 1, n))
    return torch.from_numpy(rows @ values.numpy())[:n_tokens]
