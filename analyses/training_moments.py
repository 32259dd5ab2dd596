"""Means and cross-products of the training rows, whichever folds are held out, from one pass."""

from dataclasses import dataclass

import numpy as np

from .designs import Design, FloatArray

HeldOut = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingMoments:
    """Weighted sums over the rows of each fold.

    Attributes
    ----------
    masses
        (K,) sums of the weights.
    sums_a, sums_b
        (K, s) and (K, t) of A and of B.
    crosses
        (K, s, t) of their products, both centred by their overall means ``centre_a``, ``centre_b``.
    """

    masses: FloatArray
    sums_a: FloatArray
    sums_b: FloatArray
    crosses: FloatArray
    centre_a: FloatArray
    centre_b: FloatArray

    def without(self, held_out: HeldOut) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Means of A (s,) and of B (t,), and their centred cross-product (s, t), of other folds."""
        kept = [k for k in range(len(self.masses)) if k not in held_out]
        mass = self.masses[kept].sum()
        a, b = self.sums_a[kept].sum(axis=0) / mass, self.sums_b[kept].sum(axis=0) / mass
        cross = self.crosses[kept].sum(axis=0) - mass * np.outer(a, b)
        return self.centre_a + a, self.centre_b + b, cross


def training_moments(A: FloatArray, B: FloatArray, design: Design) -> TrainingMoments:
    """Sum up A (n, s) and B (n, t) fold by fold."""
    centres = [design.weights @ X / design.weights.sum() for X in (A, B)]
    masses, sums_a, sums_b, crosses = [], [], [], []
    for rows in design.members:
        weights = design.weights[rows]
        a, b = A[rows] - centres[0], B[rows] - centres[1]
        weighted = b * weights[:, None]
        masses.append(weights.sum())
        sums_a.append(weights @ a)
        sums_b.append(weighted.sum(axis=0))
        crosses.append(a.T @ weighted)
    return TrainingMoments(*map(np.array, (masses, sums_a, sums_b, crosses)), *centres)
