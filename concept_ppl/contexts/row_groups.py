"""A table that is too long for memory, written to Parquet a row group at a time as it is made."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from concept_ppl.outputs import require_room

GROUP_BYTES = 2**26
"""Of a row group in memory. What the writer keeps of each one would pin the memory between them."""
SMALLER = "make fewer rows, or name a file on another disk"


def write_row_groups(
    path: Path,
    blocks: Iterable[pd.DataFrame | pa.Table],
    n_rows: int,
    *,
    shown: str | Path,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> None:
    """Write tables of consecutive rows to one file, some at a time as a row group.

    Parameters
    ----------
    path
        The file; it is replaced.
    blocks
        At least one; the first says what the columns hold.
    n_rows
        Of all of them together.
    shown
        What a message calls the file.
    progress
        Called with (rows written, rows in all).

    Raises
    ------
    InputError
        If the disk has less room than all rows will take, by the size of the first block; only
        that one has been made then, and nothing was written.
    """
    tables = (
        block if isinstance(block, pa.Table) else pa.Table.from_pandas(block) for block in blocks
    )
    first = next(tables)
    require_room(shown, _size_of(first) * n_rows // max(first.num_rows, 1), SMALLER)
    done = 0
    with pq.ParquetWriter(path, first.schema) as writer:
        for group in _grouped(chain([first], tables), first.schema):
            writer.write_table(group, row_group_size=group.num_rows)
            done += group.num_rows
            progress(done, n_rows)


def _grouped(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """Put consecutive tables together to row groups of :data:`GROUP_BYTES`."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table.cast(schema))
        if sum(part.nbytes for part in waiting) >= GROUP_BYTES:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _size_of(table: pa.Table) -> int:
    file = pa.BufferOutputStream()
    pq.write_table(table, file)
    return int(file.tell())
