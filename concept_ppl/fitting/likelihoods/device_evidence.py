"""log p(x) on another device than the parameters': tables go there, numbers come back.

Parameters are few and stay on the CPU, where optimisers and samplers change them; contexts lie on
the device from the start. Where the contexts are laid out for sparse products (`dense_evidence`),
the product is taken as rows looked up and added by context, which every device has.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concept_ppl.logspace import logsumexp

from .dense_evidence import DenseEvidence
from .general_evidence import GeneralEvidence
from .program import Piece
from .total_in_parts import total_in_parts

CELLS_AT_ONCE = 2**24
"""Rows that are looked up at once, 128 MiB."""


@dataclass(frozen=True)
class DeviceEvidence:
    """Evidence that is computed on a device.

    Attributes
    ----------
    evidence : DenseEvidence or GeneralEvidence
    device : torch.device
    """

    evidence: DenseEvidence | GeneralEvidence
    device: torch.device
    _laid_out: dict[tuple[int, int], tuple[Tensor, ...]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def piece(self) -> Piece:
        """The piece of the program."""
        return self.evidence.piece

    @property
    def given(self) -> Any:
        """Concepts some of whose values are known."""
        return self.evidence.given

    @property
    def next_tokens(self) -> Any:
        """Next-token sites that were observed."""
        return self.evidence.next_tokens

    @property
    def n_contexts(self) -> int:
        """Number of contexts."""
        return self.evidence.n_contexts

    def take(self, rows: NDArray[np.int64]) -> "DeviceEvidence":
        """Return the evidence of some contexts."""
        return replace(self, evidence=self.evidence.take(rows), _laid_out={})

    def by_context(self, tables: Sequence[Tensor], rows: NDArray[np.int64] | None = None) -> Tensor:
        """Return log p(x) of all or some contexts, shape (n,), on the CPU; differentiable twice."""
        there = [table.to(self.device) for table in tables]
        if isinstance(self.evidence, GeneralEvidence):
            return self.evidence.by_context(there, rows).cpu()
        own = self if rows is None else self.take(rows)
        parts = [own._log_evidence(there, *span) for span in own._spans()]
        return torch.cat(parts).cpu() if parts else torch.zeros(0, dtype=torch.float64)

    def total(self, tables: Sequence[Tensor], weights: NDArray[np.float64]) -> Tensor:
        """Return Σ weight · log p(x) on the CPU, differentiable once; −inf where p(x) = 0."""
        there = [table.to(self.device) for table in tables]
        if isinstance(self.evidence, GeneralEvidence):
            return self.evidence.total(there, weights).cpu()

        def parts(leaves: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
            for start, stop in self._spans():
                weight = torch.from_numpy(weights[start:stop]).to(self.device)
                found = self._log_evidence(leaves, start, stop)
                part = torch.where(weight > 0, weight * found, 0.0).sum()
                yield part, part

        return total_in_parts(parts, there).cpu()

    def each(self, tables: Sequence[Tensor]) -> NDArray[np.float64]:
        """Return log p(x) of all contexts, without gradients, shape (n_contexts,)."""
        with torch.no_grad():
            if isinstance(self.evidence, GeneralEvidence):
                return self.evidence.each([table.to(self.device) for table in tables])
            return self.by_context(tables).numpy()

    def _spans(self) -> list[tuple[int, int]]:
        """Return the first and the last of the contexts that are answered at once."""
        assert isinstance(self.evidence, DenseEvidence)
        sizes = self.piece.template.sizes
        width = int(np.prod([sizes[name] for name in self.evidence.scope]))
        each = max(1, self.evidence.counts.nnz // max(self.n_contexts, 1)) * width
        step = max(64, CELLS_AT_ONCE // each)
        return [(a, min(a + step, self.n_contexts)) for a in range(0, self.n_contexts, step)]

    def _log_evidence(self, tables: Sequence[Tensor], start: int, stop: int) -> Tensor:
        """Return log p(x) of some contexts on the device."""
        assert isinstance(self.evidence, DenseEvidence)
        rows, prior = self.evidence.rows_and_prior(tables)
        columns, context, counts = self._indices(start, stop)
        seen = counts * rows.index_select(0, columns)
        zeros = rows.new_zeros(stop - start, rows.shape[1])
        return logsumexp(zeros.index_add(0, context, seen) + prior, 1)

    def _indices(self, start: int, stop: int) -> tuple[Tensor, ...]:
        """Return each row's number, its context and how often it is there, on the device."""
        assert isinstance(self.evidence, DenseEvidence)
        if (start, stop) not in self._laid_out:
            own = self.evidence.counts[start:stop]
            context = np.repeat(np.arange(stop - start), np.diff(own.indptr))
            arrays = own.indices.astype(np.int64), context, own.data[:, None]
            self._laid_out[start, stop] = tuple(
                torch.from_numpy(np.ascontiguousarray(array)).to(self.device) for array in arrays
            )
        return self._laid_out[start, stop]
