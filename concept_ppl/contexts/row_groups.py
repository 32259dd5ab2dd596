"""A table that is too long for memory, written to Parquet a row group at a time as it is made."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from concept_ppl.outputs import require_room

SMALLER = "make fewer rows, or name a file on another disk"


def write_row_groups(
    path: Path,
    blocks: Iterable[pd.DataFrame],
    n_rows: int,
    *,
    shown: str | Path,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> None:
    """Write tables of consecutive rows to one file, a row group each.

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
    tables = (pa.Table.from_pandas(block) for block in blocks)
    first = next(tables)
    require_room(shown, _size_of(first) * n_rows // max(first.num_rows, 1), SMALLER)
    done = first.num_rows
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        progress(done, n_rows)
        for table in tables:
            writer.write_table(table.cast(first.schema))
            done += table.num_rows
            progress(done, n_rows)


def _size_of(table: pa.Table) -> int:
    file = pa.BufferOutputStream()
    pq.write_table(table, file)
    return int(file.tell())
