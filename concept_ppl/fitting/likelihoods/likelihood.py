"""Tokens and a program put together: log p(tokens | parameters), and what is checked before."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from concept_ppl.contexts.tokens import UNOBSERVED, Contexts, as_contexts
from concept_ppl.errors import InputError, listed
from concept_ppl.inference.batches import require_tokens
from concept_ppl.inference.impossible_contexts import ImpossibleContextError
from concept_ppl.inference.plans import dense_scope, make_plan
from concept_ppl.programs.graph_assembly import Model

from .dense_evidence import DenseEvidence, dense_evidence
from .device_evidence import DeviceEvidence
from .file_evidence import Evidence, FileEvidence, facts_of, require_fitting_tokens
from .general_evidence import GeneralEvidence
from .program import Piece, Program, Values, learn_structure

Indices = Mapping[str, NDArray[np.int64]]
Batch = Contexts | pd.DataFrame | Tensor | Iterable[Sequence[int]]


@dataclass(frozen=True)
class Likelihood:
    """log p(tokens | parameters) of a program whose concepts are summed out exactly.

    Attributes
    ----------
    program : Program
    evidence : tuple
        The distinct contexts of each piece of the program.
    place : int64 array, shape (n_contexts,)
        Each context's distinct one; the pieces' contexts are numbered through.
    weights : float64 array, shape (n_distinct,)
        Weights of equal contexts, added up.
    own_weights : float64 array, shape (n_contexts,), or None
        As given.
    n_contexts, n_tokens : int
        Contexts, and observed tokens in them.
    """

    program: Program
    evidence: tuple[Evidence | FileEvidence, ...]
    place: NDArray[np.int64]
    weights: NDArray[np.float64]
    own_weights: NDArray[np.float64] | None
    n_contexts: int
    n_tokens: int

    @property
    def weighted_tokens(self) -> float:
        """Observed tokens by their contexts' mean weight: the unit of log-evidence per token."""
        mean = 1.0 if self.own_weights is None else float(self.own_weights.mean())
        return max(self.n_tokens * mean, 1.0)

    @property
    def observed_next(self) -> tuple[str, ...]:
        """The next-token sites that were observed."""
        return tuple(self.evidence[0].next_tokens)

    def _weights(self) -> list[NDArray[np.float64]]:
        ends = np.cumsum([part.n_contexts for part in self.evidence])
        return np.split(self.weights, ends[:-1])

    def part(self, chosen: NDArray[np.int64]) -> "Likelihood":
        """Return the likelihood of some distinct contexts, in rising order, by their weights."""
        ends = np.cumsum([0, *(part.n_contexts for part in self.evidence)])
        own = [
            part.take(chosen[(chosen >= start) & (chosen < start + part.n_contexts)] - start)
            for part, start in zip(self.evidence, ends[:-1], strict=True)
        ]
        weights = self.weights[chosen]
        share = len(chosen) / len(self.weights)
        n_tokens = max(1, round(self.n_tokens * share))
        place = np.arange(len(chosen))
        return Likelihood(self.program, tuple(own), place, weights, weights, len(chosen), n_tokens)

    def log_density(self, values: Values) -> tuple[Tensor, Tensor]:
        """Return Σ weight · log p(x) and the log prior density, differentiable once."""
        tables, log_prior = self.program.evaluate(values)
        parts = [
            part.total(own, weights)
            for part, own, weights in zip(self.evidence, tables, self._weights(), strict=True)
        ]
        return torch.stack(parts).sum(), log_prior

    def by_context(
        self, tables: Sequence[Sequence[Tensor]], rows: NDArray[np.int64] | None = None
    ) -> Tensor:
        """Return log p(x) of some contexts, or of all, in their order; differentiable."""
        if rows is None:
            parts = [e.by_context(own) for e, own in zip(self.evidence, tables, strict=True)]
            whole = parts[0] if len(parts) == 1 else torch.cat(parts)
            is_identity = len(whole) == self.n_contexts and np.array_equal(
                self.place, np.arange(self.n_contexts)
            )
            return whole if is_identity else whole[torch.from_numpy(self.place)]
        wanted = self.place[rows]
        result = torch.zeros(len(rows), dtype=torch.float64)
        start = 0
        for part, own in zip(self.evidence, tables, strict=True):
            is_own = (wanted >= start) & (wanted < start + part.n_contexts)
            if is_own.any():
                found = part.by_context(own, wanted[is_own] - start)
                result = result.index_put((torch.from_numpy(np.flatnonzero(is_own)),), found)
            start += part.n_contexts
        return result

    def each(self, values: Values) -> NDArray[np.float64]:
        """Return log p(x) of every context, unweighted, shape (n_contexts,)."""
        with torch.no_grad():
            tables, _ = self.program.evaluate(values)
        parts = [e.each(own) for e, own in zip(self.evidence, tables, strict=True)]
        return np.concatenate(parts)[self.place]

    def expected_counts(self, values: Values) -> tuple[float, float, list[list[Tensor]]]:
        """Return Σ weight · log p(x), the log prior, and the expected count of every table cell."""
        with torch.no_grad():
            tables, log_prior = self.program.evaluate(values)
        total, counts = 0.0, []
        for part, own, weights in zip(self.evidence, tables, self._weights(), strict=True):
            leaves = [table.detach().requires_grad_() for table in own]
            value = part.total(leaves, weights)
            found = torch.autograd.grad(value, leaves, allow_unused=True)
            counts.append(
                [
                    torch.zeros_like(leaf) if one is None else one
                    for leaf, one in zip(leaves, found, strict=True)
                ]
            )
            total += float(value.detach())
        return total, float(log_prior), counts


def make_likelihood(
    model: Model,
    tokens: Batch,
    *,
    weights: Sequence[float] | NDArray[np.float64] | None = None,
    given: Mapping[str, Any] | None = None,
    next_tokens: Mapping[str, Any] | None = None,
    values: Mapping[str, Any] | None = None,
    memory: float = 2e9,
    device: torch.device | str = "cpu",
) -> Likelihood:
    """Learn a program's structure and lay the contexts out for it.

    Parameters
    ----------
    model, tokens
        As in :func:`concept_ppl.posterior`. A table's columns ``weight`` and those of next-token
        sites are used where the arguments below are left out.
    weights
        How often each context counts, shape (n_contexts,), at least 0.
    given
        Known values of concepts: name to value indices, shape (n_contexts,), −1 where unknown.
    next_tokens
        Observed next tokens: site to token, shape (n_contexts,), −1 where unknown.
    values
        Parameters that are known and stay as they are.
    memory
        Budget in bytes for the tables of a chunk of contexts.
    device
        Where contexts lie and log p(x) is computed; parameters stay on the CPU.

    Raises
    ------
    InputError, ModelError
        If the tokens or the program cannot be used; the message names row or site.
    ImpossibleContextError
        If a context has probability zero whatever the parameters.
    """
    contexts = as_contexts(tokens)
    n = len(contexts)
    if not n:
        raise InputError("there are no contexts to fit; give at least one.")
    own_weights = _weights(weights if weights is not None else _column(tokens, "weight"), n)
    _require_variety(contexts)
    program = learn_structure(model, contexts.lengths, values=values)
    known = _indices("given", given or {}, n, _concept_sizes(program))
    following = _next_tokens(program, tokens, next_tokens, n)
    evidence, place, n_before = [], np.empty(n, np.int64), 0
    for piece in program.pieces:
        part = contexts.take(piece.rows)
        require_tokens(piece.template, part, piece.rows)
        own, after = _take(known, piece.rows), _take(following, piece.rows)
        first, inverse = _distinct(part, [*own.values(), *after.values()])
        own, after = _take(own, first), _take(after, first)
        found = _evidence(piece, part.take(first), own, after, memory)
        there = torch.device(device)
        evidence.append(found if there.type == "cpu" else DeviceEvidence(found, there))
        place[piece.rows] = n_before + inverse
        n_before += len(first)
    each = np.ones(n) if own_weights is None else own_weights
    merged = np.bincount(place, weights=each, minlength=n_before).astype(np.float64)
    n_tokens = int((contexts.tokens != UNOBSERVED).sum())
    result = Likelihood(program, tuple(evidence), place, merged, own_weights, n, n_tokens)
    _require_possible(result)
    return result


def _evidence(
    piece: Piece, contexts: Contexts, given: Indices, following: Indices, memory: float
) -> DenseEvidence | GeneralEvidence:
    graph = piece.template
    plan = make_plan(graph, contexts, given=tuple(given), memory=memory)
    if plan.engine != "dense":
        chunk = max(1, min(plan.chunk, len(contexts), 4096))
        return GeneralEvidence(piece, contexts, given, following, chunk)
    names = {name for site in following for name in graph.next_tokens[site].scope}
    names |= set(dense_scope(graph, tuple(given)))
    scope = tuple(name for name in graph.concepts if name in names)
    return dense_evidence(piece, scope, contexts, given, following)


def likelihood_of_file(
    model: Model,
    path: Path,
    *,
    values: Mapping[str, Any] | None = None,
    memory: float = 2e9,
    device: torch.device | str = "cpu",
) -> Likelihood:
    """Learn a program's structure for a token file whose contexts are read again at each pass.

    Parameters
    ----------
    model, values, memory, device
        As in :func:`make_likelihood`.
    path
        Parquet with a column ``x``; no column ``weight`` and none of next tokens is read.

    Raises
    ------
    InputError, ModelError
        As there, and if the program means something else at each length of context.
    """
    facts = facts_of(path)
    program = learn_structure(model, facts.lengths, values=values)
    if len(program.pieces) > 1:
        raise InputError(
            f"model {program.name} means something else at each length of context, so that {path} "
            f"cannot be read in parts; give the contexts themselves."
        )
    (piece,), there = program.pieces, torch.device(device)
    require_fitting_tokens(piece, path, facts)

    def lay_out(contexts: Contexts) -> Evidence:
        found = _evidence(piece, contexts, {}, {}, memory)
        return found if there.type == "cpu" else DeviceEvidence(found, there)

    n, evidence = facts.n_contexts, FileEvidence(piece, path, facts.n_contexts, lay_out)
    likelihood = Likelihood(program, (evidence,), np.arange(n), np.ones(n), None, n, facts.n_tokens)
    _require_possible(likelihood)
    return likelihood


def _column(tokens: Batch, name: str) -> Any:
    return tokens[name] if isinstance(tokens, pd.DataFrame) and name in tokens else None


def _weights(weights: Any, n: int) -> NDArray[np.float64] | None:
    if weights is None:
        return None
    try:
        array = np.asarray(weights, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("weights must be numbers, one for each context.") from error
    if array.shape != (n,):
        raise InputError(f"weights have shape {array.shape}, the contexts are {n}.")
    wrong = ~(np.isfinite(array) & (array >= 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(f"row {row}: weight {array[row]} is no number of at least 0.")
    if not array.any():
        raise InputError("all weights are 0; give at least one context a weight above 0.")
    return array


def _require_variety(contexts: Contexts) -> None:
    seen = contexts.tokens[contexts.tokens != UNOBSERVED]
    if not len(seen):
        raise InputError("no context holds an observed token; there is nothing to learn from.")
    if len(seen) > 1 and (seen == seen[0]).all():
        raise InputError(
            f"all {len(seen):,} tokens are {seen[0]}: they cannot tell concepts apart; check "
            f"column x."
        )


def _concept_sizes(program: Program) -> dict[str, int]:
    return {name: size for piece in program.pieces for name, size in piece.template.sizes.items()}


def _next_tokens(
    program: Program, tokens: Batch, next_tokens: Mapping[str, Any] | None, n: int
) -> Indices:
    sizes = {
        name: factor.table.shape[-1]
        for piece in program.pieces
        for name, factor in piece.template.next_tokens.items()
    }
    found = next_tokens
    if found is None:
        columns = {name: _column(tokens, name) for name in sizes}
        found = {
            name: np.where(pd.isna(column), UNOBSERVED, column)
            for name, column in columns.items()
            if column is not None
        }
    return _indices("next_tokens", found, n, sizes)


def _indices(
    argument: str, found: Mapping[str, Any], n: int, sizes: Mapping[str, int]
) -> dict[str, NDArray[np.int64]]:
    checked = {}
    for name, values in found.items():
        if name not in sizes:
            known = listed(sizes) or "none"
            raise InputError(f"{argument}: the model has no site '{name}'; it has: {known}.")
        try:
            array = np.asarray(values).astype(np.int64)
        except (TypeError, ValueError) as error:
            raise InputError(f"{argument}['{name}'] must hold whole numbers.") from error
        if array.shape != (n,):
            raise InputError(f"{argument}['{name}'] has shape {array.shape}, the contexts are {n}.")
        wrong = (array < UNOBSERVED) | (array >= sizes[name])
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(f"{argument}['{name}'], row {row}: value {array[row]} does not exist.")
        checked[name] = array
    return checked


def _take(found: Indices, rows: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    return {name: values[rows] for name, values in found.items()}


def _distinct(
    contexts: Contexts, extra: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first row of each distinct context and known values, and each row's one."""
    tokens, lengths = contexts.tokens, contexts.lengths
    for values in extra:
        tokens, lengths = np.insert(tokens, np.cumsum(lengths), values), lengths + 1
    distinct, inverse = Contexts(tokens, lengths).unique()
    first = np.full(len(distinct), len(contexts), np.int64)
    np.minimum.at(first, inverse, np.arange(len(contexts)))
    return first, inverse


def _require_possible(likelihood: Likelihood) -> None:
    """Refuse contexts that have probability zero at parameters inside of their ranges."""
    values = likelihood.program.random_values(torch.Generator().manual_seed(2))
    impossible = np.isneginf(likelihood.each(values))
    if likelihood.own_weights is not None:
        impossible &= likelihood.own_weights > 0
    if impossible.any():
        raise ImpossibleContextError(likelihood.program.name, np.flatnonzero(impossible))
