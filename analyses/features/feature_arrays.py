"""Features as they come: dense, memory-mapped or sparse, looked at a block of columns at a time.

A dictionary of 65,536 features over 10,000 contexts fills 5 GB as float64. Nothing here holds more
than a block of it at that precision.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from concept_ppl.analyses.designs.arrays import FloatArray, IntArray
from concept_ppl.analyses.designs.design import Design
from concept_ppl.errors import InputError

COLUMNS_AT_ONCE = 2048
FLOAT64_ROUNDING = 1e-12
"""Least share of a feature's mean square that is spread and not rounding."""

Features = npt.ArrayLike | sparse.spmatrix | sparse.sparray


@dataclass(frozen=True, slots=True, eq=False)
class FeatureArray:
    """A checked table of features (n, m), any of whose columns can be had as float64.

    Attributes
    ----------
    values
        Dense or compressed by columns.
    name
        What messages call it.
    """

    values: npt.NDArray[np.floating] | sparse.csc_array
    name: str

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""
        n, m = self.values.shape
        return int(n), int(m)

    def columns(self, chosen: IntArray | slice) -> FloatArray:
        """Return some features (n, k) as dense float64."""
        values: Any = self.values
        part = values[:, chosen]
        dense = part if isinstance(part, np.ndarray) else part.toarray()
        return np.asarray(dense, np.float64)

    def blocks(self) -> Iterator[tuple[slice, FloatArray]]:
        """Yield all features, a block of columns at a time."""
        for start in range(0, self.shape[1], COLUMNS_AT_ONCE):
            block = slice(start, min(start + COLUMNS_AT_ONCE, self.shape[1]))
            yield block, self.columns(block)


def check_features(
    features: Features, n: int | None = None, name: str = "features"
) -> FeatureArray:
    """Return features as a `FeatureArray`.

    Parameters
    ----------
    features
        (n, m) of floating point, integers or a sparse array of SciPy; memory maps stay on disk.
    n
        How many rows there must be.
    name
        What a message calls them.

    Raises
    ------
    InputError
        If it is no table of real numbers, has another number of rows, or holds an entry that is
        not finite.
    """
    is_sparse = sparse.issparse(features)
    values: Any = features
    if is_sparse:
        values = values.tocsc()
        stored = values.data
    else:
        values = np.asanyarray(values)
        if values.dtype.kind in "biu":
            values = values.astype(np.float32)
        stored = values
    if values.ndim != 2 or values.dtype.kind != "f" or not values.shape[1]:
        raise InputError(
            f"{name} must be a table (contexts, features) of real numbers, not {values.dtype} of "
            f"shape {values.shape}."
        )
    if n is not None and values.shape[0] != n:
        raise InputError(f"{name} has {values.shape[0]} rows, there are {n} contexts.")
    array = FeatureArray(values, name)
    _require_finite(array, stored)
    return array


def _require_finite(array: FeatureArray, stored: npt.NDArray[np.floating]) -> None:
    if stored is not array.values:
        if not np.isfinite(stored).all():
            raise InputError(f"{array.name} holds an entry that is not finite.")
        return
    for block, part in array.blocks():
        bad = np.argwhere(~np.isfinite(part))
        if len(bad):
            row, column = bad[0]
            raise InputError(
                f"{array.name} holds {part[row, column]} at row {row}, feature "
                f"{block.start + column}."
            )


@dataclass(frozen=True, slots=True, eq=False)
class FeatureMoments:
    """Sums over the rows of each fold, from which any training set's correlations follow.

    Attributes
    ----------
    mass
        (K,) weights.
    of_features, squares
        (K, m) weighted sums of features and of their squares.
    of_targets, target_squares
        (K, q).
    products
        (K, m, q).
    """

    mass: FloatArray
    of_features: FloatArray
    squares: FloatArray
    of_targets: FloatArray
    target_squares: FloatArray
    products: FloatArray

    def correlations(self, kept: npt.NDArray[np.bool_] | None = None) -> FloatArray:
        """Correlations (m, q) of features and targets over some folds; 0 where nothing varies."""
        kept = np.ones(len(self.mass), dtype=bool) if kept is None else kept
        mass = self.mass[kept].sum()
        x, z = self.of_features[kept].sum(axis=0) / mass, self.of_targets[kept].sum(axis=0) / mass
        xx = self.squares[kept].sum(axis=0) / mass
        zz = self.target_squares[kept].sum(axis=0) / mass - z**2
        of_x = xx - x**2
        of_x = np.where(of_x > FLOAT64_ROUNDING * xx, of_x, np.inf)
        covariance = self.products[kept].sum(axis=0) / mass - x[:, None] * z
        return np.asarray(covariance / np.sqrt(of_x[:, None] * zz))

    def of(self, targets: slice) -> "FeatureMoments":
        """Keep some targets."""
        return replace(
            self,
            of_targets=self.of_targets[:, targets],
            target_squares=self.target_squares[:, targets],
            products=self.products[:, :, targets],
        )

    def varies(self) -> npt.NDArray[np.bool_]:
        """(m,) whether a feature varies over the contexts at all."""
        mass = self.mass.sum()
        mean, square = self.of_features.sum(axis=0) / mass, self.squares.sum(axis=0) / mass
        return np.asarray(square - mean**2 > FLOAT64_ROUNDING * square)


def feature_moments(features: FeatureArray, Z: FloatArray, design: Design) -> FeatureMoments:
    """Sum features (n, m), their squares and products with targets Z (n, q), fold by fold.

    Targets are centred first, so that little cancels in their correlations.
    """
    n, m = features.shape
    targets = Z - np.average(Z, axis=0, weights=design.weights)
    K, q = design.n_folds, targets.shape[1]
    by_fold = np.zeros((n, K))
    by_fold[np.arange(n), design.folds] = design.weights
    weighted = by_fold[:, :, None] * targets[:, None, :]
    sums, squares, products = np.empty((K, m)), np.empty((K, m)), np.empty((K, m, q))
    for block, part in features.blocks():
        sums[:, block] = by_fold.T @ part
        products[:, block] = (part.T @ weighted.reshape(n, K * q)).reshape(-1, K, q).swapaxes(0, 1)
        squares[:, block] = by_fold.T @ np.square(part)
    return FeatureMoments(
        by_fold.sum(axis=0),
        sums,
        squares,
        weighted.sum(axis=0),
        by_fold.T @ np.square(targets),
        products,
    )
