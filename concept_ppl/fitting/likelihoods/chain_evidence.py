"""log p(x) and expected counts where concepts move in a chain: forward–backward, in probabilities.

    a_t = (a_{t−1} P) ∘ e_t / c_t,      b_{t−1} = P (e_t ∘ b_t) / c_t,      log p(x) = Σ_t log c_t

The expected count of a transition is Σ_t a_{t−1} (e_t ∘ b_t / c_t)ᵀ ∘ P, that of a token in a state
Σ_t a_t ∘ b_t; both are the gradients of log p(x) by the logarithms of the tables. All contexts go a
position at a time, so that the work is that of matrix products. What probabilities of 64 bits
cannot hold (a state 10¹⁵⁰ times less likely than others, from which evidence could bring it back)
is left to the log-space of `general_evidence`. Source: Rabiner (1989),
https://doi.org/10.1109/5.18626, section V.A.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from concept_ppl.contexts.tokens import UNOBSERVED, Contexts
from concept_ppl.inference.exact.contraction import Leaf, align, combine
from concept_ppl.inference.exact.moves import Layout, Move, joint_of, kind_of, lay_out
from concept_ppl.inference.exact.sequences import Chain, Step, unroll
from concept_ppl.programs.factors import FactorGraph, TokenTable

SMALLEST_ENTRY, SMALLEST_STATE = 1e-140, 1e-150
"""A product of both is still a number of 64 bits."""
CELLS_AT_ONCE = 2**24
"""States of all positions that are kept for the way back, 128 MiB."""


@dataclass(frozen=True)
class Transition:
    """A position's move as matrices, for each value of what stays: from what goes to what comes.

    Attributes
    ----------
    log_table : Tensor, shape (1, *joint)
        Differentiable.
    matrices : Tensor, shape (n_stay, n_go, n_come)
        Probabilities.
    into : tuple of int
        Permutation of the state before to (n, stay, go).
    out_of : tuple of int
        Permutation of (stay, come) to the order of the state after.
    axes : tuple of int
        Permutation of the joint to (stay, go, come).
    sizes : tuple of tuple of int
        Of the concepts that stay, go and come.
    token : Layout
        Of a token's row over the state after.
    token_sizes : tuple of int
        Of the concepts on which the token depends.
    """

    log_table: Tensor
    matrices: Tensor
    into: tuple[int, ...]
    out_of: tuple[int, ...]
    axes: tuple[int, ...]
    sizes: tuple[tuple[int, ...], ...]
    token: Layout
    token_sizes: tuple[int, ...]

    def ahead(self, state: Tensor) -> Tensor:
        """Return the state after, before its token is seen, shape (n, *kept)."""
        stay, _, come = self.sizes
        product = self._batched(state, self.into, 1) @ self.matrices
        moved = product.movedim(0, 1).reshape(len(state), *stay, *come)
        return moved.permute(0, *(1 + axis for axis in self.out_of))

    def back(self, after: Tensor) -> Tensor:
        """Return P times what lies behind, over the state before, shape (n, *before)."""
        stay, go, _ = self.sizes
        product = self._behind(after) @ self.matrices.transpose(1, 2)
        moved = product.movedim(0, 1).reshape(len(after), *stay, *go)
        return moved.permute(0, *(1 + axis for axis in np.argsort(self.into)))

    def counts(self, state: Tensor, behind: Tensor) -> Tensor:
        """Return Σ state · behindᵀ, shape (n_stay, n_go, n_come)."""
        return self._batched(state, self.into, 1).transpose(1, 2) @ self._behind(behind)

    def _batched(self, state: Tensor, order: tuple[int, ...], first: int) -> Tensor:
        ordered = state.permute(0, *(first + axis for axis in order))
        n_stay = self.matrices.shape[0]
        return ordered.reshape(len(state), n_stay, -1).movedim(0, 1)

    def _behind(self, after: Tensor) -> Tensor:
        return self._batched(after, tuple(int(axis) for axis in np.argsort(self.out_of)), 1)


def transition(graph: FactorGraph, before: tuple[str, ...], step: Step) -> Transition | None:
    """Lay a position out as matrices; None where its token depends on what is summed out."""
    parts = before, step.factors, step.emission, step.carry
    move: Move = lay_out(*parts, graph.sizes)
    joint = joint_of(*parts)
    if not move.is_late or not set(joint) - set(step.carry) <= set(before):
        return None
    stay = [name for name in step.carry if name in before]
    go = [name for name in before if name not in step.carry]
    come = [name for name in step.carry if name not in before]
    sizes = tuple(tuple(graph.sizes[name] for name in names) for names in (stay, go, come))
    axes = tuple(joint.index(name) for name in (*stay, *go, *come))
    whole = move.table.expand(1, *(graph.sizes[name] for name in joint))
    counts = [int(np.prod(size)) for size in sizes]
    return Transition(
        log_table=whole,
        matrices=whole.detach()[0].permute(axes).reshape(counts).exp(),
        into=tuple(before.index(name) for name in (*stay, *go)),
        out_of=tuple((*stay, *come).index(name) for name in step.carry),
        axes=axes,
        sizes=sizes,
        token=move.token,
        token_sizes=move.token_sizes,
    )


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

    def contexts_at_once(self, longest: int) -> int:
        """Return how many contexts' states are kept at once, for the way back."""
        widest = max(move.matrices[:, 0].numel() for move in self.transitions)
        return max(1, CELLS_AT_ONCE // (widest * longest))


def _with_unknown(tokens: TokenTable) -> Tensor:
    """Return p(token | parents), a last row of ones for a token that was not observed."""
    rows = tokens.rows.detach().exp()
    return torch.cat([rows, torch.ones_like(rows[:1])])


def _has_tiny(table: Tensor) -> bool:
    return bool(((table > 0) & (table < SMALLEST_ENTRY)).any())


@dataclass
class Passed:
    """What a forward pass leaves for the way back."""

    states: list[Tensor] = field(default_factory=list)
    scales: list[Tensor] = field(default_factory=list)
    ends: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)


def forward_pass(
    ready: ChainPass, contexts: Contexts, last: Tensor | None
) -> tuple[Tensor, Passed, NDArray[np.bool_]]:
    """Return log p(x) of each context, what a way back needs, and which contexts need log-space.

    Parameters
    ----------
    ready
        The graph.
    contexts
        Longest first, each with a token.
    last
        log p(next tokens | reported concepts), shape (n, *reported), if any was observed.
    """
    n, start = len(contexts), ready.chain.start.table.detach().exp()
    columns = torch.from_numpy(np.ascontiguousarray(contexts.padded().T))
    state, passed = start.expand(n, *start.shape[1:]), Passed()
    total = torch.zeros(n, dtype=torch.float64)
    lengths = contexts.lengths
    for t, (step, move) in enumerate(zip(ready.chain.steps, ready.transitions, strict=False)):
        active = int((lengths > t).sum())
        if not active:
            break
        seen = move.ahead(state[:active]) * token_of(ready, step, move, columns[t, :active])
        scale = seen.reshape(active, -1).sum(1)
        safe = torch.where(scale > 0, scale, 1.0)
        state = seen / safe.reshape(-1, *[1] * (seen.dim() - 1))
        total[:active] += scale.log()
        passed.states.append(state)
        passed.scales.append(safe)
        following = int((lengths > t + 1).sum())
        if following < active and last is not None:
            own = _over_state(step, last[following:active])
            value = (state[following:] * own).reshape(active - following, -1).sum(1)
            total[following:active] += value.log()
            passed.ends[t] = own, value
    doubtful = torch.isneginf(total)
    for one in passed.states:
        tiny = ((one > 0) & (one < SMALLEST_STATE)).reshape(len(one), -1).any(1)
        doubtful[: len(one)] |= tiny
    return total, passed, doubtful.numpy()


def token_of(ready: ChainPass, step: Step, move: Transition, tokens: Tensor) -> Tensor:
    """Return p(token | state) at one position, laid out over the state."""
    rows = ready.probabilities[id(step.emission.tokens)]
    index = torch.where(tokens == UNOBSERVED, len(rows) - 1, tokens)
    picked = rows.index_select(0, index)
    return move.token.put(picked.reshape(len(picked), *move.token_sizes))


def _over_state(step: Step, last: Tensor) -> Tensor:
    return align(step.present, last.detach().exp(), step.carry, batched=True)


def backward_pass(
    ready: ChainPass,
    contexts: Contexts,
    passed: Passed,
    weights: Tensor,
) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
    """Return expected counts of log-tables, and of the reported concepts at the ends.

    Parameters
    ----------
    ready, contexts
        As in :func:`forward_pass`, which left ``passed``.
    weights
        How often each context counts, shape (n,).

    Returns
    -------
    counts
        Pairs of a differentiable log-table and the expected count of each of its cells.
    ends
        Weighted log p(concepts at the last position | x) as probabilities, shape (n, *reported).
    """
    columns = contexts.padded().T
    start = ready.chain.start
    moves: dict[int, tuple[Transition, Tensor]] = {}
    seen: dict[int, list[tuple[NDArray[np.int64], Tensor]]] = {}
    ends: list[Tensor] = []
    behind: Tensor | None = None
    for t in range(len(passed.states) - 1, -1, -1):
        step, move, state = ready.chain.steps[t], ready.transitions[t], passed.states[t]
        n, shape = len(state), [1] * (state.dim() - 1)
        weight = weights[:n].reshape(-1, *shape)
        done = 0 if behind is None else len(behind)
        last = torch.ones_like(state[done:])
        if t in passed.ends:
            own, value = passed.ends[t]
            last = own / value.where(value > 0, torch.ones_like(value)).reshape(-1, *shape)
            last = last.expand_as(state[done:])
        after = last if behind is None else torch.cat([behind, last])
        here = state * after * weight
        if n > done:
            end = Leaf(step.carry, here[done:].log(), batched=True)
            ends.append(combine([end], step.present).table.exp())
        seen.setdefault(id(step.emission.tokens), []).append((columns[t, :n], _parents(step, here)))
        token = token_of(ready, step, move, torch.from_numpy(np.ascontiguousarray(columns[t, :n])))
        after = token * after / passed.scales[t].reshape(-1, *shape)
        before = passed.states[t - 1][:n] if t else start.table.detach().exp()
        found = move.counts(before.expand(n, *before.shape[1:]), after * weight)
        known = moves.get(id(move))
        moves[id(move)] = move, found if known is None else known[1] + found
        behind = move.back(after)
    counts = [(move.log_table, _over_joint(move, found)) for move, found in moves.values()]
    if behind is not None:
        weight = weights.reshape(-1, *[1] * (behind.dim() - 1))
        own = start.table.detach().exp() * (behind * weight).sum(0, keepdim=True)
        counts.append((start.table, own))
    tokens = {id(step.emission.tokens): step.emission.tokens for step in ready.chain.steps}
    counts += [(tokens[key].rows, sum_by_token(tokens[key], found)) for key, found in seen.items()]
    return counts, torch.cat(ends) if ends else torch.zeros(0)


def _over_joint(move: Transition, found: Tensor) -> Tensor:
    """Return counts of transitions as counts of the cells of the move's table."""
    sizes = [size for part in move.sizes for size in part]
    counts = (found * move.matrices).reshape(sizes)
    return counts.permute(*(int(axis) for axis in np.argsort(move.axes))).unsqueeze(0)


def _parents(step: Step, here: Tensor) -> Tensor:
    """Return the probabilities of what a position's token depends on, shape (n, Π parents)."""
    drop = [1 + axis for axis, name in enumerate(step.carry) if name not in step.emission.scope]
    own = here.sum(drop) if drop else here
    kept = [name for name in step.carry if name in step.emission.scope]
    order = [1 + kept.index(name) for name in step.emission.scope]
    return own.permute(0, *order).reshape(len(here), -1)


def sum_by_token(tokens: TokenTable, found: Sequence[tuple[NDArray[np.int64], Tensor]]) -> Tensor:
    """Add up what was found at each token, shape (vocabulary, Π parents)."""
    index = np.concatenate([each for each, _ in found])
    values = torch.cat([each for _, each in found])
    is_seen = index != UNOBSERVED
    if not is_seen.all():
        index, values = index[is_seen], values[torch.from_numpy(is_seen)]
    n_tokens = tokens.rows.shape[0]
    if values.device.type != "cpu":
        total = torch.zeros(n_tokens, values.shape[1], dtype=values.dtype, device=values.device)
        return total.index_add_(0, torch.from_numpy(index).to(values.device), values)
    # A product with a sparse matrix: torch's own index_add_ takes ten times as long on the CPU.
    order = np.argsort(index, kind="stable")
    ends = np.concatenate([[0], np.bincount(index, minlength=n_tokens).cumsum()])
    one_each = csr_matrix((np.ones(len(index)), order, ends), shape=(n_tokens, len(index)))
    return torch.from_numpy(one_each @ values.numpy())
