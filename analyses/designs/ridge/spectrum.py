"""The ridge problem of one training set by eigenvectors: the quickest where states are narrow."""

from dataclasses import dataclass

import numpy as np

from concept_ppl.analyses.designs.arrays import FloatArray, IntArray

from .lower_matrices import LowerMatrix
from .state_rows import StateRows

NULL_EIGENVALUE = 1e-13

VARYING = 1e-12
"""Least variance of a direction, in units of the largest, that is no rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class Regressands:
    """Targets of one training set, as the Gram side needs them and as the side of the rows does.

    Attributes
    ----------
    cross
        (d, t) weighted cross-product of centred states and targets.
    targets, members
        (n, t) targets of all rows, and the (m,) numbers of those that train.
    mean
        (t,) weighted mean of the targets of the training rows.
    """

    cross: FloatArray
    targets: FloatArray
    members: IntArray
    mean: FloatArray

    @property
    def residuals(self) -> FloatArray:
        """Targets (m, t) of the training rows, less their mean."""
        return np.asarray(self.targets[self.members] - self.mean)


@dataclass(frozen=True, slots=True, eq=False)
class TrainingRows:
    """Which rows train, with their weights and their weighted mean (d,).

    Attributes
    ----------
    states
        Of all rows.
    members, weights
        (m,) numbers of the rows, ascending, and their weights.
    mean
        (d,) weighted mean of their states.
    """

    states: StateRows
    members: IntArray
    weights: FloatArray
    mean: FloatArray

    def times(self, slopes: FloatArray) -> FloatArray:
        """Product (m, s) of the centred rows with slopes (d, s)."""
        return self.states.times(slopes, self.members) - self.mean @ slopes

    def transposed_times(self, values: FloatArray) -> FloatArray:
        """Cross-product (d, s) of the centred rows with values (m, s)."""
        crossed = self.states.transposed_times(values, self.members)
        return crossed - np.outer(self.mean, values.sum(axis=0))


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """Eigendecomposition of the weighted, centred Gram matrix of one training set.

    Attributes
    ----------
    values
        (r,) eigenvalues, ascending; in the dual only those that are not null.
    vectors
        (d, r) orthonormal eigenvectors in the space of the states.
    mean
        (d,) weighted mean of the training rows.
    """

    values: FloatArray
    vectors: FloatArray
    mean: FloatArray

    @property
    def top(self) -> float:
        """Largest eigenvalue; 1 where the training rows do not vary, so that λ stays positive."""
        return float(self.values[-1]) if len(self.values) and self.values[-1] > 0 else 1.0

    @property
    def n_varying(self) -> int:
        """In how many directions the training rows vary, rounding aside."""
        return int(np.sum(self.values > VARYING * self.top))

    def scores(self, targets: Regressands) -> FloatArray:
        """Cross-product (r, t) of the eigen-coordinates with the targets."""
        return np.asarray(self.vectors.T @ targets.cross)

    def slopes(self, scores: FloatArray, penalties: FloatArray) -> FloatArray:
        """Ridge coefficients (d, L, t) under each of L penalties, from `scores`."""
        shrink = 1.0 / (self.values[:, None] + penalties)
        shrunk = shrink[:, :, None] * scores[:, None, :]
        shrunk = shrunk.reshape(len(scores), len(penalties) * scores.shape[1])  # also without a row
        lifted = self.vectors @ shrunk
        return lifted.reshape(len(lifted), len(penalties), scores.shape[1])

    def solve(self, direction: FloatArray, penalty: float) -> FloatArray:
        """Solution (d, s) of (X'WX + λ)u = v, v (d, s) of the rows' span."""
        return self.slopes(self.vectors.T @ direction, np.array([penalty]))[:, 0]

    def leading(self, count: int) -> tuple[FloatArray, FloatArray]:
        """Largest eigenvalues (≤ count,), ascending, and their eigenvectors (d, ≤ count)."""
        return self.values[-count:], self.vectors[:, -count:]

    def largest(self, count: int) -> FloatArray:
        """Largest eigenvalues (≤ count,), ascending."""
        return self.values[-count:]

    def in_its_own_coordinates(self) -> "Spectrum":
        """Return the spectrum of the eigen-coordinates (m, r), whose eigenvectors are axes."""
        r = len(self.values)
        return Spectrum(self.values, np.eye(r), np.zeros(r))

    def full(self) -> "Spectrum":
        """Return itself, as other decompositions return all eigenvectors."""
        return self


def primal_spectrum(gram: LowerMatrix, mean: FloatArray) -> Spectrum:
    """Eigendecompose the centred Gram matrix of a training set with this mean (d,)."""
    values, vectors = np.linalg.eigh(gram.dense())
    return Spectrum(np.maximum(values, 0.0), vectors, mean)


def dual_spectrum(rows: TrainingRows) -> Spectrum:
    """Eigendecompose from the side of the rows, where they are fewer than the coordinates."""
    X = rows.states.take(rows.members) - rows.mean
    X *= np.sqrt(rows.weights)[:, None]
    values, left = np.linalg.eigh(X @ X.T)
    kept = values > NULL_EIGENVALUE * max(values[-1], 0.0)
    return Spectrum(values[kept], X.T @ (left[:, kept] / np.sqrt(values[kept])), rows.mean)
