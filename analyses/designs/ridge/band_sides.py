"""The ridge problem of one training set by a band: for wide states, from whichever side is smaller.

Both kinds answer what a `Spectrum` answers. `GramBand` reduces the (d, d) Gram matrix. With fewer
rows than coordinates `KernelBand` reduces the (m, m) inner products of the rows: the same minimiser
is X'√w (√w XX'√w + λ)⁻¹ √w y (Saunders et al. 1998, ICML).
"""

from dataclasses import dataclass

import numpy as np

from concept_ppl.analyses.designs.arrays import FloatArray

from .band_matrix import BandMatrix, reduce_to_band
from .lower_matrices import LowerMatrix
from .spectrum import NULL_EIGENVALUE, VARYING, Regressands, Spectrum, TrainingRows


@dataclass(frozen=True, slots=True, eq=False)
class GramBand:
    """The centred Gram matrix of a training set as a band.

    Attributes
    ----------
    matrix
        (d, d).
    mean
        (d,) weighted mean of the training rows.
    top
        Largest eigenvalue; 1 where the training rows do not vary, so that λ stays positive.
    """

    matrix: BandMatrix
    mean: FloatArray
    top: float

    @property
    def n_varying(self) -> int:
        """In how many directions the training rows vary, rounding aside."""
        return self.full().n_varying

    def scores(self, targets: Regressands) -> FloatArray:
        """Cross-product (d, t) of the band's coordinates with the targets."""
        return self.matrix.to_band(targets.cross)

    def slopes(self, scores: FloatArray, penalties: FloatArray) -> FloatArray:
        """Ridge coefficients (d, L, t) under each of L penalties, from `scores`."""
        solved = self.matrix.solve(scores, penalties)
        return self.matrix.from_band(solved.reshape(len(solved), -1)).reshape(solved.shape)

    def solve(self, direction: FloatArray, penalty: float) -> FloatArray:
        """Solution (d, s) of (X'WX + λ)u = v, v (d, s)."""
        return self.slopes(self.matrix.to_band(direction), np.array([penalty]))[:, 0]

    def leading(self, count: int) -> tuple[FloatArray, FloatArray]:
        """Largest eigenvalues (count,), ascending, and their eigenvectors (d, count)."""
        values, vectors = self.matrix.leading(count)
        return values, self.matrix.from_band(vectors)

    def largest(self, count: int) -> FloatArray:
        """Largest eigenvalues (count,), ascending."""
        return self.matrix.leading(count)[0]

    def full(self) -> Spectrum:
        """All eigenvectors, at the cost that the band was there to save."""
        return Spectrum(*self.matrix.eigenvectors(), self.mean)


@dataclass(frozen=True, slots=True, eq=False)
class KernelBand:
    """The inner products √w xx'√w of centred training rows as a band.

    Attributes
    ----------
    matrix
        (m, m).
    rows
        The training rows.
    top
        Largest eigenvalue, as of a `GramBand`.
    """

    matrix: BandMatrix
    rows: TrainingRows
    top: float

    @property
    def mean(self) -> FloatArray:
        """Weighted mean (d,) of the training rows."""
        return self.rows.mean

    @property
    def n_varying(self) -> int:
        """In how many directions the training rows vary, rounding aside."""
        return self.full().n_varying

    def scores(self, targets: Regressands) -> FloatArray:
        """Targets (m, t), scaled, in the band's coordinates of the rows."""
        return self.matrix.to_band(self._roots * targets.residuals)

    def slopes(self, scores: FloatArray, penalties: FloatArray) -> FloatArray:
        """Ridge coefficients (d, L, t) under each of L penalties, from `scores`."""
        solved = self.matrix.solve(scores, penalties)
        dual = self._roots * self.matrix.from_band(solved.reshape(len(solved), -1))
        return self.rows.transposed_times(dual).reshape(-1, *solved.shape[1:])

    def smooth(self, product: FloatArray, penalty: float) -> FloatArray:
        """Turn Xv (m, s) of directions v into X(X'WX + λ)⁻¹v, from the side of the rows."""
        scores = self.matrix.to_band(self._roots * product)
        solved = self.matrix.solve(scores, np.array([penalty]))[:, 0]
        return np.asarray(self.matrix.from_band(solved) / self._roots)

    def leading(self, count: int) -> tuple[FloatArray, FloatArray]:
        """Largest eigenvalues (≤ count,), ascending, and their eigenvectors (d, ≤ count)."""
        values, vectors = self.matrix.leading(min(count, len(self.rows.members)))
        return self._in_states(values, self.matrix.from_band(vectors))

    def largest(self, count: int) -> FloatArray:
        """Largest eigenvalues (≤ count,), ascending."""
        return self.matrix.leading(min(count, len(self.rows.members)))[0]

    def full(self) -> Spectrum:
        """All eigenvectors, at the cost that the band was there to save."""
        return Spectrum(*self._in_states(*self.matrix.eigenvectors()), self.mean)

    @property
    def _roots(self) -> FloatArray:
        return np.sqrt(self.rows.weights)[:, None]

    def _in_states(self, values: FloatArray, left: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Eigenvalues that are not null, and what their eigenvectors are among the states."""
        kept = values > NULL_EIGENVALUE * max(values[-1], 0.0)
        vectors = self.rows.transposed_times(self._roots * left[:, kept])
        return values[kept], vectors / np.sqrt(values[kept])


Side = Spectrum | GramBand | KernelBand
"""The training side of a ridge problem, by whichever means."""


def before_rows(side: Side, direction: FloatArray, penalty: float) -> FloatArray:
    """Return what of directions v (d, s) to multiply centred rows X with for X(X'WX + λ)⁻¹v."""
    return direction if isinstance(side, KernelBand) else side.solve(direction, penalty)


def after_rows(side: Side, product: FloatArray, penalty: float) -> FloatArray:
    """Return X(X'WX + λ)⁻¹v, how training rows pull along v, from that product (m, s)."""
    return side.smooth(product, penalty) if isinstance(side, KernelBand) else product


def varies_in(side: Side, count: int) -> bool:
    """Whether the training rows vary in so many directions, rounding aside."""
    values = side.largest(count)
    return int(np.sum(values > VARYING * side.top)) >= count


def gram_band(gram: LowerMatrix, mean: FloatArray) -> GramBand:
    """Reduce the centred Gram matrix of a training set with this mean (d,), using it up."""
    matrix = reduce_to_band(gram)
    return GramBand(matrix, mean, _top(matrix))


def kernel_band(kernel: LowerMatrix, rows: TrainingRows) -> KernelBand:
    """Reduce the inner products of training rows, using them up."""
    matrix = reduce_to_band(kernel)
    return KernelBand(matrix, rows, _top(matrix))


def _top(matrix: BandMatrix) -> float:
    top = float(matrix.leading(1)[0][-1]) if matrix.band.any() else 0.0
    return top if top > 0 else 1.0
