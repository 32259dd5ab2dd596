"""A symmetric matrix as a band: what serves every penalty at a fraction of its eigenvectors' cost.

Householder reflections turn A into Q B Q' with B banded (the first stage of Bischof, Lang and Sun
2000, https://doi.org/10.1145/365723.365735). Nearly all of the (4/3) d³ operations are matrix
products, so that at d = 4,096 they take a seventh of the time of eigenvectors, and the reflections
are d²/2 numbers. (A + λ)⁻¹x is then one banded Cholesky solution for each λ. Its error is that of
eigenvectors: nothing but orthogonal transformations touches A.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg
from scipy.linalg import blas

from concept_ppl.analyses.designs.arrays import FloatArray

from .lower_matrices import LowerMatrix

if TYPE_CHECKING:
    from torch import Tensor

HALF_WIDTH = 64
"""Diagonals of B below the main one: enough for matrix products to run at full speed."""

KRYLOV_WIDTH = 40
"""Vectors that a search for eigenvectors keeps beside those that are wanted."""


@dataclass(frozen=True, slots=True, eq=False)
class Reflection:
    """The orthogonal I − V T V' of the last rows of a vector, V (m, b) and T (b, b)."""

    V: "Tensor"
    T: "Tensor"

    def apply(self, x: "Tensor", *, transposed: bool) -> None:
        """Replace the last m rows of x (d, s) by their product."""
        T = self.T.T if transposed else self.T
        tail = x[-len(self.V) :]
        tail.addmm_(self.V, T @ (self.V.T @ tail), alpha=-1.0)


@dataclass(frozen=True, slots=True, eq=False)
class BandMatrix:
    """A = Q B Q', symmetric and positive semidefinite, with Q = H_1 H_2 … of reflections.

    Attributes
    ----------
    band
        (b + 1, d) diagonals of B, the main one first, each from its first column on.
    reflections
        H_1, H_2, …
    """

    band: FloatArray
    reflections: tuple[Reflection, ...]

    def to_band(self, x: FloatArray) -> FloatArray:
        """Product Q'x, x (d, s)."""
        return _reflected(x, self.reflections, transposed=True)

    def from_band(self, x: FloatArray) -> FloatArray:
        """Product Qx, x (d, s)."""
        return _reflected(x, reversed(self.reflections), transposed=False)

    def solve(self, x: FloatArray, penalties: FloatArray) -> FloatArray:
        """Solutions (d, L, s) of (B + λ)y = x, x (d, s), for each of L penalties above 0."""
        found = np.empty((len(x), len(penalties), x.shape[1]))
        for i, penalty in enumerate(penalties):
            shifted = self.band.copy()
            shifted[0] += penalty
            found[:, i] = linalg.solveh_banded(
                shifted, x, lower=True, overwrite_ab=True, check_finite=False
            )
        return found

    def leading(self, count: int) -> tuple[FloatArray, FloatArray]:
        """Largest eigenvalues (count,) of A, ascending, and eigenvectors (d, count) of *B*."""
        from scipy.sparse.linalg import LinearOperator, eigsh

        d, half_width = self.band.shape[1], len(self.band) - 1
        if 2 * count >= d or not self.band.any():
            values, vectors = np.linalg.eigh(self._dense())
            return np.maximum(values[-count:], 0.0), vectors[:, -count:]
        operator = LinearOperator(
            (d, d),
            matvec=lambda x: blas.dsbmv(half_width, 1.0, self.band, x, lower=1),
            dtype=np.float64,
        )
        start = np.random.default_rng(0).normal(size=d)
        kept = min(d, 2 * count + KRYLOV_WIDTH)
        values, vectors = eigsh(operator, count, ncv=kept, v0=start, maxiter=100 * d)  # type: ignore[call-overload]
        order = np.argsort(values)
        return np.maximum(values[order], 0.0), vectors[:, order]

    def eigenvectors(self) -> tuple[FloatArray, FloatArray]:
        """All eigenvalues (d,) of A, ascending, and eigenvectors (d, d), at full cost."""
        values, vectors = np.linalg.eigh(self._dense())
        return np.maximum(values, 0.0), self.from_band(vectors)

    def _dense(self) -> FloatArray:
        """Lower triangle of B (d, d)."""
        d = self.band.shape[1]
        lower = np.zeros((d, d))
        for offset, diagonal in enumerate(self.band[:d]):
            lower[np.arange(offset, d), np.arange(d - offset)] = diagonal[: d - offset]
        return lower


def reduce_to_band(matrix: LowerMatrix) -> BandMatrix:
    """Turn a symmetric positive semidefinite matrix into a band, using up its blocks."""
    import torch

    d, b = matrix.width, HALF_WIDTH
    rows = [(place, torch.from_numpy(block)) for place, block in matrix.placed()]
    band, reflections = np.zeros((b + 1, d), order="F"), []
    for start in range(0, d, b):
        stop = min(start + b, d)
        rows = [(place, block) for place, block in rows if place.stop > start]
        _store_diagonal(band, _between(rows, start, stop, start, stop).numpy(), start)
        if stop == d:
            break
        reflection, triangle = _annihilate(_between(rows, stop, d, start, stop))
        _store_below(band, triangle.numpy(), start)
        _transform([(p, block) for p, block in rows if p.stop > stop], reflection, stop)
        reflections.append(reflection)
    return BandMatrix(band, tuple(reflections))


def _between(
    rows: Sequence[tuple[slice, "Tensor"]], first: int, last: int, start: int, stop: int
) -> "Tensor":
    """Copy rows first … last, columns start … stop, of a matrix that is given by blocks of rows."""
    import torch

    parts = [
        block[max(first - place.start, 0) : last - place.start, start:stop]
        for place, block in rows
        if place.stop > first and place.start < last
    ]
    return torch.cat(parts)


def _annihilate(panel: "Tensor") -> tuple[Reflection, "Tensor"]:
    """Reflect a panel (m, b) to an upper triangle by Householder's vectors, put together."""
    import torch

    held, scales = torch.geqrf(panel)
    k = len(scales)
    V = torch.tril(held[:, :k], -1)
    V.diagonal().fill_(1.0)
    V[:, scales == 0] = 0.0
    inverse = torch.triu(V.T @ V, 1)
    inverse.diagonal().copy_(torch.where(scales == 0, 1.0, 1.0 / scales))
    eye = torch.eye(k, dtype=panel.dtype, device=panel.device)
    T = torch.linalg.solve_triangular(inverse, eye, upper=True)
    return Reflection(V, T), torch.triu(held)


def _transform(rows: Sequence[tuple[slice, "Tensor"]], reflection: Reflection, start: int) -> None:
    """Replace the symmetric matrix A of the rows and columns from ``start`` on by H'AH.

    With P = AVT it is A − VW' − WV', W = P − V(T'V'P)/2.
    """
    import torch

    V, T = reflection.V, reflection.T
    parts = [
        (
            slice(max(place.start - start, 0), place.stop - start),
            block[max(start - place.start, 0) :, start:],
        )
        for place, block in rows
    ]
    P = torch.zeros_like(V)
    for place, block in parts:
        P[place].addmm_(block, V[: place.stop])
        P[: place.start].addmm_(block[:, : place.start].T, V[place])
    P = P @ T
    W = P - V @ (T.T @ (V.T @ P)) / 2.0
    left, right = torch.hstack([V, W]), torch.hstack([W, V])
    for place, block in parts:
        block.addmm_(left[place], right[: place.stop].T, alpha=-1.0)


def _store_diagonal(band: FloatArray, block: FloatArray, column: int) -> None:
    """Put the lower triangle of a square block on the diagonal, from a column on."""
    for offset in range(len(block)):
        diagonal = np.diagonal(block, -offset)
        band[offset, column : column + len(diagonal)] = diagonal


def _store_below(band: FloatArray, triangle: FloatArray, column: int) -> None:
    """Put an upper triangle (m, b) under a square block of b columns, from a column on."""
    b = triangle.shape[1]
    for offset in range(b):
        diagonal = np.diagonal(triangle, offset)
        band[b - offset, column + offset : column + offset + len(diagonal)] = diagonal


def _reflected(x: FloatArray, reflections: Iterable[Reflection], *, transposed: bool) -> FloatArray:
    import torch

    found = torch.from_numpy(np.array(x, order="C"))
    for reflection in reflections:
        reflection.apply(found, transposed=transposed)
    return found.numpy()
