"""The log posterior density and its gradient without automatic differentiation, for tables of rows.

Where every table is looked up in rows of Dirichlet and Beta sites, the density in softmax
coordinates (each row's logits against its last value) has a gradient in closed form:

    ∂/∂ logit_k = n_k + α_k − p_k Σ_j (n_j + α_j),     n = expected counts of the row

(α − 1 of the prior, and 1 of the change of coordinates). A gradient of a small program then takes
a tenth of the time, most of which was overhead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concept_ppl.fitting.likelihoods.dense_evidence import DenseEvidence, chunks_of, posterior_of
from concept_ppl.fitting.likelihoods.likelihood import Likelihood
from concept_ppl.fitting.likelihoods.ties import View
from concept_ppl.inference.exact.contraction import align

from .expectation_maximisation import pseudo_counts

Array = NDArray[np.float64]
Index = NDArray[np.int64]
FEW = 2**14
"""Cells of a matrix of counts whose product costs less than the call of a sparse one."""


@dataclass(frozen=True)
class _Block:
    """The rows of one view: where its cells and coordinates start, and its α."""

    view: View
    cells: slice
    coordinates: slice
    alpha: Array


@dataclass(frozen=True)
class _Part:
    """One piece's contexts: which cell stands in each place of its rows and of its prior."""

    evidence: DenseEvidence
    weights: Array
    rows: Index
    prior: Index
    few: Array | None
    """The counts as a plain matrix, where they are few and no row holds a zero probability."""


@dataclass(frozen=True)
class FlatDensity:
    """log p(tokens, θ) in softmax coordinates.

    Attributes
    ----------
    blocks : tuple
    parts : tuple
    constants : float64 array
        Log-probabilities that no parameter touches; they follow the cells of the blocks.
    n_free : int
    """

    blocks: tuple[_Block, ...]
    parts: tuple[_Part, ...]
    constants: Array
    n_free: int

    def log_rows(self, free: Array) -> list[Array]:
        """Return the log-probabilities of each block's own rows."""
        found = []
        for block in self.blocks:
            view = block.view
            logits = np.zeros((view.n_own, view.width))
            logits[:, :-1] = free[block.coordinates].reshape(view.n_own, view.width - 1)
            logits -= logits.max(1, keepdims=True)
            logits -= np.log(np.exp(logits).sum(1, keepdims=True))
            found.append(logits)
        return found

    def values(self, free: Array) -> dict[str, Array]:
        """Return each parameter's rows as an array; binary ones as their second probability."""
        rows = zip(self.blocks, self.log_rows(free), strict=True)
        return {
            block.view.name: np.exp(logs[:, 0] if block.view.is_binary else logs)
            for block, logs in rows
        }

    def prior_and_volume(self, logs: Sequence[Array]) -> float:
        """Return log prior + log |∂ θ / ∂ coordinates|, up to a constant."""
        pairs = zip(self.blocks, logs, strict=True)
        return float(sum((block.alpha * own).sum() for block, own in pairs))

    def __call__(self, free: Array) -> tuple[float, Array]:
        """Return log-evidence + log prior + log volume, and its gradient."""
        logs = self.log_rows(free)
        cells = np.concatenate([*(_cells(b, own) for b, own in self._zip(logs)), self.constants])
        counts, log_evidence = np.zeros(len(cells)), 0.0
        for part in self.parts:
            log_evidence += _add_counts(part, cells, counts)
        gradient = np.empty(self.n_free)
        for block, own in self._zip(logs):
            view = block.view
            found = counts[block.cells].reshape(-1, view.width)
            if view.is_binary:  # stacked as (1 − p, p), then (p, 1 − p): the last is p here
                found = found[: view.n_own, ::-1] + found[view.n_own :]
            n = found + block.alpha
            slope = n - np.exp(own) * n.sum(1, keepdims=True)
            gradient[block.coordinates] = slope[:, :-1].reshape(-1)
        return log_evidence + self.prior_and_volume(logs), gradient

    def _zip(self, logs: Sequence[Array]) -> Any:
        return zip(self.blocks, logs, strict=True)

    def start(self, values: dict[str, Tensor]) -> Array:
        """Return the coordinates of parameters inside of their ranges."""
        free = np.empty(self.n_free)
        for block in self.blocks:
            value = values[block.view.name].numpy()
            rows = (
                np.stack([value.reshape(-1), 1 - value.reshape(-1)], 1)
                if block.view.is_binary
                else value.reshape(block.view.n_own, block.view.width)
            )
            logs = np.log(np.maximum(rows, 1e-12))
            free[block.coordinates] = (logs[:, :-1] - logs[:, -1:]).reshape(-1)
        return free


def _cells(block: _Block, logs: Array) -> Array:
    """Return a view's stacked log-rows, flat; a binary row is (p, 1 − p) in our coordinates."""
    if not block.view.is_binary:
        return logs.reshape(-1)
    return np.concatenate([logs[:, ::-1], logs]).reshape(-1)


def _add_counts(part: _Part, cells: Array, counts: Array) -> float:
    rows, prior = cells[part.rows], cells[part.prior].sum(0)
    total = 0.0
    whole = slice(0, len(part.weights))
    few = part.few
    chunks = chunks_of(part.evidence.counts, prior) if few is None else [(few, whole)]
    for chunk, own in chunks:
        posterior, log_evidence = posterior_of(chunk, rows, prior)
        weights = part.weights[own]
        total += float(weights @ log_evidence)
        posterior *= weights[:, None]
        counts += _scattered(part.rows, chunk.T @ posterior, len(counts))
        mass = np.tile(posterior.sum(0), (len(part.prior), 1))
        counts += _scattered(part.prior, mass, len(counts))
    return total


def _scattered(places: Index, values: Array, n: int) -> Array:
    """Add up values by place (``np.add.at`` of numpy 2.4 misreads values that it broadcasts)."""
    return np.bincount(places.reshape(-1), values.reshape(-1), n)  # type: ignore[return-value]


def flat_density(likelihood: Likelihood) -> FlatDensity | None:
    """Return the density where the program has this form, else None."""
    program = likelihood.program
    if not (
        program.is_looked_up and all(isinstance(e, DenseEvidence) for e in likelihood.evidence)
    ):
        return None
    blocks, start, coordinates = [], 0, 0
    for view in program.views:
        pseudo = pseudo_counts(program.parameters[view.name], view)
        if program.parameters[view.name].prior is None or pseudo is None or view.padding:
            return None
        alpha = pseudo.numpy() + 1
        alpha = alpha[:, ::-1] if view.is_binary else alpha
        n_cells, n_free = view.n_rows * view.width, view.n_own * (view.width - 1)
        own = slice(coordinates, coordinates + n_free)
        blocks.append(_Block(view, slice(start, start + n_cells), own, alpha))
        start, coordinates = start + n_cells, coordinates + n_free
    if {block.view.name for block in blocks} != set(program.parameters):
        return None
    constants: list[Array] = []
    parts = []
    weights = np.split(
        likelihood.weights, np.cumsum([e.n_contexts for e in likelihood.evidence])[:-1]
    )
    for evidence, own_weights in zip(likelihood.evidence, weights, strict=True):
        assert isinstance(evidence, DenseEvidence)
        if any(name not in evidence.scope for name in evidence.piece.template.concepts):
            return None
        tables, start = _numbered(evidence, blocks, constants, start)
        rows, prior, start = _layout(evidence, tables, constants, start)
        parts.append(_Part(evidence, own_weights, rows, prior, _few(evidence, constants)))
    flat = np.concatenate(constants) if constants else np.empty(0)
    return FlatDensity(tuple(blocks), tuple(parts), flat, coordinates)


def _few(evidence: DenseEvidence, constants: Sequence[Array]) -> Array | None:
    """Return the counts as a plain matrix if that is small; 0 · (−inf) must not come up in it."""
    is_finite = all(np.isfinite(own).all() for own in constants)
    if int(np.prod(evidence.counts.shape)) > FEW or not is_finite:
        return None
    plain: Array = evidence.counts.toarray()
    return plain


def _numbered(
    evidence: DenseEvidence, blocks: Sequence[_Block], constants: list[Array], start: int
) -> tuple[list[Tensor], int]:
    """Return each table with, in place of a log-probability, the number of its cell."""
    first: dict[int, list[int]] = {}
    for block in blocks:
        starts = range(block.cells.start, block.cells.stop, block.view.width)
        first.setdefault(block.view.width, []).extend(starts)
    tables = []
    for tie in evidence.piece.ties:
        numbers = torch.empty(len(tie.index), tie.width, dtype=torch.float64)
        tied = tie.index >= 0
        if bool(tied.any()):
            starts_of = torch.tensor(first[tie.width], dtype=torch.float64)
            columns = torch.arange(tie.width, dtype=torch.float64)
            numbers[tied] = starts_of[tie.index[tied]][:, None] + columns
        own = tie.constant[~tied]
        numbers[~tied] = torch.arange(start, start + own.numel(), dtype=torch.float64).reshape(
            own.shape
        )
        constants.append(own.numpy().reshape(-1))
        start += own.numel()
        tables.append(numbers.reshape(tie.shape))
    return tables, start


def _layout(
    evidence: DenseEvidence, tables: Sequence[Tensor], constants: list[Array], start: int
) -> tuple[Index, Index, int]:
    """Lay the numbers out as rows, shape (n_rows, Π scope), and priors, (n_factors, Π scope)."""
    graph = evidence.piece.graph(tables)
    sizes = [graph.sizes[name] for name in evidence.scope]
    blocks = [*evidence.row_blocks(graph)]
    n_given = sum(graph.sizes[name] for name in evidence.given)
    rows = torch.cat(blocks).numpy()
    if n_given:  # zeros and −inf, not numbers of cells
        sure = rows[-n_given:]
        constants.append(sure.reshape(-1).copy())
        rows[-n_given:] = np.arange(start, start + sure.size).reshape(sure.shape)
        start += sure.size
    priors = [
        align(f.scope, f.table, evidence.scope, batched=False).expand(1, *sizes).reshape(-1)
        for f in graph.priors
    ]
    if not priors:
        constants.append(np.zeros(rows.shape[1]))
        priors = [torch.arange(start, start + rows.shape[1], dtype=torch.float64)]
        start += rows.shape[1]
    return rows.astype(np.int64), torch.stack(priors).numpy().astype(np.int64), start
