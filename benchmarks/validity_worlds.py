"""Samples whose truth is known: the grid on which tests and intervals are put to the proof.

    F = A Z + b + s(Z) ε,     A (d, q) of known rank, Cov(F | Z) scaled to a known R²(F | Z)

Contrasts are Gaussian or heavy-tailed (Student's t with 5 degrees of freedom), errors homoscedastic
or growing with the first contrast, rows independent or in clusters that share a part of contrasts
and errors. Second moments are known in closed form, so that the truth behind an estimate, also of a
map that was fitted to a sample, is computed and not simulated. The last coordinate of F is noise.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

Q, D = 3, 5
SHARED = 0.3
"""Share of the variance of contrasts and errors that the rows of a cluster have in common."""
DEGREES_OF_FREEDOM = 5


@dataclass(frozen=True)
class Cell:
    """One place on the grid.

    Attributes
    ----------
    heavy, heteroscedastic
        Tails of the contrasts, variance of the errors.
    n
        Rows.
    lost
        By how much the rank of A falls short of q.
    r2
        R² of the d − 1 coordinates of F that depend on Z.
    n_clusters
        0 for independent rows.
    """

    heavy: bool
    heteroscedastic: bool
    n: int
    lost: int
    r2: float
    n_clusters: int

    def __str__(self) -> str:
        tails = "heavy" if self.heavy else "gaussian"
        noise = "hetero" if self.heteroscedastic else "homo"
        return f"{tails}/{noise}/n{self.n}/rank{Q - self.lost}/r2={self.r2}/g{self.n_clusters}"


def grid() -> Iterator[Cell]:
    """Every cell."""
    axes = product(
        (False, True), (False, True), (50, 200, 1000), (0, 1, 2), (0.5, 0.95, 0.99), (0, 10, 50)
    )
    return (Cell(*values) for values in axes)


@dataclass(frozen=True)
class Population:
    """What is true in a cell.

    Attributes
    ----------
    A
        (d, q) map; the last ``lost`` columns and the last row are zero.
    covariance
        (d + q, d + q) of (F, Z); both have mean zero.
    """

    A: Array
    covariance: Array


@dataclass(frozen=True)
class Sample:
    """States F (n, d), contrasts Z (n, q), clusters (n,) or None, and the truth behind them."""

    F: Array
    Z: Array
    clusters: npt.NDArray[np.int64] | None
    truth: Population


def population(cell: Cell, rng: np.random.Generator) -> Population:
    """Draw a map with the cell's rank and R²; contrasts have variance 1 and correlation 0.3."""
    kept = Q - cell.lost
    A = np.zeros((D, Q))
    A[:-1, :kept] = np.linalg.qr(rng.normal(size=(D - 1, kept)))[0] * rng.uniform(0.7, 1.5, kept)
    of_Z = 0.7 * np.eye(Q) + 0.3
    signal = A @ of_Z @ A.T
    noise = np.eye(D) * np.trace(signal) / (D - 1) * (1 / cell.r2 - 1)
    noise[-1, -1] = 1.0
    cross = A @ of_Z
    return Population(A, np.block([[signal + noise, cross], [cross.T, of_Z]]))


def draw(cell: Cell, seed: int) -> Sample:
    """Draw one sample; its map is drawn with it."""
    rng = np.random.default_rng(seed)
    truth = population(cell, rng)
    of_Z = truth.covariance[D:, D:]
    clusters = None
    if cell.n_clusters:
        clusters = rng.permutation(np.arange(cell.n) % cell.n_clusters)
    Z = _mixed(cell, rng, clusters, Q, heavy=cell.heavy) @ np.linalg.cholesky(of_Z).T
    noise = truth.covariance[:D, :D] - truth.A @ of_Z @ truth.A.T
    errors = _mixed(cell, rng, clusters, D, heavy=False) * np.sqrt(np.diag(noise))
    if cell.heteroscedastic:
        errors *= np.sqrt(0.25 + 0.75 * Z[:, :1] ** 2)
    return Sample(Z @ truth.A.T + errors, Z, clusters, truth)


def _mixed(
    cell: Cell,
    rng: np.random.Generator,
    clusters: npt.NDArray[np.int64] | None,
    width: int,
    *,
    heavy: bool,
) -> Array:
    """Noise (n, width) of variance 1, a part of which the rows of a cluster share."""

    def noise(rows: int) -> Array:
        if not heavy:
            return rng.normal(size=(rows, width))
        scale = math.sqrt(1 - 2 / DEGREES_OF_FREEDOM)
        return scale * rng.standard_t(DEGREES_OF_FREEDOM, size=(rows, width))

    own = noise(cell.n)
    if clusters is None:
        return own
    return math.sqrt(SHARED) * noise(cell.n_clusters)[clusters] + math.sqrt(1 - SHARED) * own
