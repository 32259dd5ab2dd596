"""States row by row: centred and in float64 where they are used, whatever they are stored in.

States of a wide language model are the largest thing there is, often half-precision numbers on the
disk. Nothing here needs them whole: sums over rows are taken in blocks, and a block alone is
expanded.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from concept_ppl.analyses.designs.arrays import FloatArray, IntArray, as_matrix, on_cpu
from concept_ppl.errors import InputError

KEPT_AS_THEY_ARE = 1 << 24
"""Numbers: states of more are not copied, but read block by block from where they are."""

BLOCK = 1 << 22
"""Numbers of a block, 32 MB of them."""

HASHED = 1 << 17
"""Numbers that are hashed at once: they stay in the processor's cache."""


@dataclass(frozen=True, slots=True, eq=False)
class StateRows:
    """States (n, d) less a fixed state, in float64 wherever rows are taken.

    Attributes
    ----------
    source
        (n, d) as they are stored: real numbers of any precision, in memory or on the disk.
    centre
        (d,) what is subtracted from each row.
    """

    source: npt.NDArray[np.floating]
    centre: FloatArray

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.source)

    @property
    def width(self) -> int:
        """Number of coordinates d."""
        return int(self.source.shape[1])

    def take(self, rows: IntArray | slice) -> FloatArray:
        """Return some rows (m, d) as a new array."""
        own = isinstance(rows, slice)  # a view, which is not to be written into
        taken = np.asarray(self.source[rows]).astype(np.float64, copy=own)
        if self.centre.any():
            taken -= self.centre
        return taken

    def blocks(
        self, rows: IntArray | None = None, *, columns: int = 0
    ) -> Iterator[tuple[slice, FloatArray]]:
        """Go through rows, all by default: where a block lies among them, and its states (m, d).

        Where more ``columns`` are made of a block than it has, it is so much smaller.
        """
        count = len(self) if rows is None else len(rows)
        step = max(1, BLOCK // max(self.width, columns))
        for start in range(0, count, step):
            place = slice(start, min(start + step, count))
            yield place, self.take(place if rows is None else rows[place])

    def times(self, slopes: FloatArray, rows: IntArray | None = None) -> FloatArray:
        """Product (m, s) of rows with slopes (d, s)."""
        found = np.empty((len(self) if rows is None else len(rows), slopes.shape[1]))
        for place, block in self.blocks(rows):
            found[place] = block @ slopes
        return found

    def transposed_times(self, values: FloatArray, rows: IntArray | None = None) -> FloatArray:
        """Cross-product (d, s) of rows with values (m, s)."""
        found = np.zeros((self.width, values.shape[1]))
        for place, block in self.blocks(rows):
            found += block.T @ values[place]
        return found

    def whole(self) -> FloatArray:
        """All rows (n, d) as one float64 array; not copied where they are stored as one."""
        if self.source.dtype == np.float64 and not self.centre.any():
            return np.asarray(self.source)
        return self.take(slice(None))

    def hashes(self, seed: int = 0) -> IntArray:
        """Return a number for each row (n,), the same where rows are: a random sum of its bits."""
        factors = np.random.default_rng(seed).integers(1, 2**63, self.width, dtype=np.int64)
        odd = factors.astype(np.uint64) * np.uint64(2) + np.uint64(1)
        found = np.empty(len(self), np.uint64)
        for place, block in self.blocks(columns=self.width * BLOCK // HASHED):
            bits = (block + 0.0).view(np.uint64)  # −0 is 0
            mixed = (bits ^ (bits >> np.uint64(29))) * odd
            found[place] = (mixed ^ (mixed >> np.uint64(32))).sum(axis=1, dtype=np.uint64)
        return found.view(np.int64)


def checked_rows(F: npt.ArrayLike, name: str = "F", n: int | None = None) -> StateRows:
    """Return states as rows, not yet centred, or say what is wrong with them.

    Raises
    ------
    InputError
        As `check_states`, if every row is the same, or if there are not the ``n`` rows of F1.
    """
    array = on_cpu(F)
    if _is_large(array):
        rows = StateRows(array, np.zeros(array.shape[1]))
    else:
        rows = rows_of(as_matrix(array, name))
    if n is not None and len(rows) != n:
        raise InputError(f"{name} has {len(rows)} rows, F1 has {n}; give the same contexts.")
    return _read_through(rows, name)


def _is_large(array: object) -> bool:
    """Whether an array is left where it is: a large one of a precision that numpy computes in."""
    if not isinstance(array, np.ndarray) or array.dtype not in (np.float16, np.float32, np.float64):
        return False
    return array.ndim == 2 and array.size > KEPT_AS_THEY_ARE


def rows_of(matrix: FloatArray) -> StateRows:
    """Take a float64 matrix (n, d) as rows, not centred."""
    return StateRows(matrix, np.zeros(matrix.shape[1]))


def centred_rows(rows: StateRows, weights: FloatArray) -> StateRows:
    """Centre rows by their weighted mean: small ones at once, large ones wherever they are used."""
    total = np.zeros(rows.width)
    for place, block in rows.blocks():
        total += weights[place] @ block
    mean = total / weights.sum()
    if rows.source.size > KEPT_AS_THEY_ARE:
        return StateRows(rows.source, rows.centre + mean)
    return rows_of(rows.take(slice(None)) - mean)


def _read_through(rows: StateRows, name: str) -> StateRows:
    """Refuse rows that hold NaN or infinity, or that are all the same state."""
    first, varies = rows.take(slice(0, 1)), False
    for place, block in rows.blocks():
        if not np.isfinite(block).all():
            raise _not_finite(rows, name, place.start)
        varies = varies or bool(np.any(block != first))
    if not varies:
        raise InputError(f"{name} does not vary: every row is the same state.")
    return rows


def _not_finite(rows: StateRows, name: str, start: int) -> InputError:
    """Name the first entry that is not finite, and count all of them from row ``start`` on."""
    where, count = None, 0
    for place, block in rows.blocks(np.arange(start, len(rows))):
        bad = np.argwhere(~np.isfinite(block))
        if where is None and len(bad):
            row, column = bad[0]
            where = f"{block[row, column]} at row {start + place.start + row}, column {column}"
        count += len(bad)
    return InputError(
        f"{name} holds {where} ({count} such entries); leave out or repair these rows."
    )
