"""Means and cross-products of the training rows, whichever folds are held out, from one pass.

Each fold is centred by its own mean, and folds are put together as by Chan, Golub and LeVeque
(1983, https://doi.org/10.2307/2683386): nothing cancels, and nothing of a held-out fold enters.
"""

from dataclasses import dataclass

import numpy as np

from .arrays import FloatArray, IntArray
from .design import Design
from .ridge.lower_matrices import is_narrow
from .ridge.one_thread_each import each
from .ridge.state_rows import StateRows

HeldOut = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingMoments:
    """Weighted moments of the rows of each fold.

    Attributes
    ----------
    masses
        (K,) sums of the weights.
    means_a, means_b
        (K, s) and (K, t) means of A and of B.
    crosses
        (K, s, t) sums of their products, both centred by the means of the fold.
    """

    masses: FloatArray
    means_a: FloatArray
    means_b: FloatArray
    crosses: FloatArray

    def without(self, held_out: HeldOut) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Means of A (s,) and of B (t,), and their centred cross-product (s, t), of other folds."""
        kept = [k for k in range(len(self.masses)) if k not in held_out]
        share = self.masses[kept] / self.masses[kept].sum()
        a, b = share @ self.means_a[kept], share @ self.means_b[kept]
        between = ((self.means_a[kept] - a) * self.masses[kept, None]).T @ (self.means_b[kept] - b)
        return a, b, self.crosses[kept].sum(axis=0) + between


def training_moments(A: StateRows, B: FloatArray, design: Design) -> TrainingMoments:
    """Sum up A (n, s) and B (n, t) fold by fold."""

    def of_fold(rows: IntArray) -> tuple[float, FloatArray, FloatArray, FloatArray]:
        weights = design.weights[rows]
        mass = float(weights.sum())
        b = weights @ B[rows] / mass
        deviations = (B[rows] - b) * weights[:, None]
        a, cross = np.zeros(A.width), np.zeros((A.width, B.shape[1]))
        for place, block in A.blocks(rows):
            a += weights[place] @ block / mass
            cross += block.T @ deviations[place]
        return mass, a, b, cross - np.outer(a, deviations.sum(axis=0))

    folds = each(of_fold, design.members, beside=not is_narrow(A.width))
    return TrainingMoments(*map(np.array, zip(*folds, strict=True)))
