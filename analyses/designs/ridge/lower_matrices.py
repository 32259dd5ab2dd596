"""Symmetric matrices as the blocks of rows of their lower triangle: half the memory, half the work.

A Gram matrix of 4,096 coordinates is 134 MB, and cross-fitting needs one a fold and one a training
set; numpy has no packed matrices that its matrix product would take.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from concept_ppl.analyses.designs.arrays import FloatArray, IntArray

from .one_thread_each import each
from .state_rows import StateRows

NARROW = 640
"""Matrices of so many rows or fewer are decomposed into eigenvectors; one block holds them."""

BLOCK_ROWS = 512


@dataclass(frozen=True, slots=True, eq=False)
class LowerMatrix:
    """A symmetric matrix (d, d).

    Attributes
    ----------
    blocks
        Rows start … stop with their columns 0 … stop, one block after the other.
    """

    blocks: tuple[FloatArray, ...]

    @property
    def width(self) -> int:
        """Number of rows d."""
        return int(self.blocks[-1].shape[1])

    def placed(self) -> Iterator[tuple[slice, FloatArray]]:
        """Go through the blocks: which rows, and what stands there."""
        start = 0
        for block in self.blocks:
            yield slice(start, block.shape[1]), block
            start = block.shape[1]

    def dense(self) -> FloatArray:
        """Return the whole matrix; that of a single block is not copied."""
        if len(self.blocks) == 1:
            return self.blocks[0]
        found = np.empty((self.width, self.width))
        for rows, block in self.placed():
            found[rows, : rows.stop] = block
            found[: rows.start, rows] = block[:, : rows.start].T
        return found


def is_narrow(width: int) -> bool:
    """Whether a matrix of so many rows is better decomposed into eigenvectors than into a band."""
    return width <= NARROW


def lower_matrix(width: int, block: Callable[[slice], FloatArray]) -> LowerMatrix:
    """Build a matrix (width, width) from what ``block`` gives for rows and the columns up to them.

    All rows are one block where the matrix is narrow.
    """
    starts = range(0, width, width if is_narrow(width) else BLOCK_ROWS)
    rows = (slice(start, min(start + starts.step, width)) for start in starts)
    return LowerMatrix(tuple(map(block, rows)))


def gram_matrix(rows: StateRows, members: IntArray, weights: FloatArray) -> LowerMatrix:
    """Weighted cross-product Σ w x x' of the ``members`` among rows, with their weights (m,)."""
    found = lower_matrix(rows.width, lambda place: np.zeros((place.stop - place.start, place.stop)))
    for part, X in rows.blocks(members):
        scaled = X * np.sqrt(weights[part])[:, None]
        for place, block in found.placed():
            np.add(block, scaled[:, place].T @ scaled[:, : place.stop], out=block)
    return found


def training_gram(grams: Sequence[LowerMatrix], mass: float, mean: FloatArray) -> LowerMatrix:
    """Sum Gram matrices of folds and centre it by the mean (d,) of their rows of total weight."""

    def block(place: slice) -> FloatArray:
        index = int(np.searchsorted(stops, place.stop))
        found = -mass * np.outer(mean[place], mean[: place.stop])
        for gram in grams:
            found += gram.blocks[index]
        return found

    stops = [block.shape[1] for block in grams[0].blocks]
    return lower_matrix(len(mean), block)


def kernel_matrix(rows: StateRows, members: IntArray) -> FloatArray:
    """Inner products (m, m) of the ``members`` among rows, not centred."""
    found = np.empty((len(members), len(members)))

    def fill(start: int) -> None:
        place = slice(start, min(start + BLOCK_ROWS, len(members)))
        X = rows.take(members[place])
        for other, Y in rows.blocks(members[: place.stop]):
            found[place, other] = X @ Y.T
            found[other, place] = found[place, other].T

    each(fill, range(0, len(members), BLOCK_ROWS))
    return found


def training_kernel(kernel: FloatArray, chosen: IntArray, weights: FloatArray) -> LowerMatrix:
    """Inner products of chosen rows, centred by their mean and scaled by roots of weights (m,)."""
    share, root = weights / weights.sum(), np.sqrt(weights)
    own = np.empty(len(chosen))
    for start in range(0, len(chosen), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        own[part] = kernel[chosen[part]][:, chosen] @ share
    offset = own - share @ own / 2.0

    def block(place: slice) -> FloatArray:
        found = kernel[chosen[place]][:, chosen[: place.stop]]
        found -= offset[place, None] + offset[: place.stop]
        found *= root[place, None] * root[: place.stop]
        return found

    return lower_matrix(len(chosen), block)
