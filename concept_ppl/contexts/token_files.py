"""Token files that are too long for memory, or many: read some rows at a time, in order."""

from collections.abc import Iterator
from glob import glob, has_magic
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from concept_ppl.errors import InputError, listed

from .tokens import Contexts, contexts_of

ROWS_AT_ONCE, TOKENS_AT_ONCE = 2**18, 2**23
"""Contexts that are read at once, and their tokens: 64 MiB. A larger row group is read in parts."""


def token_files(path: str | Path) -> list[Path]:
    """Return the Parquet files of a folder, those that a pattern names, or the one file.

    Raises
    ------
    InputError
        If there is none.
    """
    if Path(path).is_dir():
        found = sorted(Path(path).glob("*.parquet"))
        if not found:
            raise InputError(f"{path} is a folder without a Parquet file (*.parquet).")
        return found
    if has_magic(str(path)) and not Path(path).exists():
        found = sorted(Path(name) for name in glob(str(path)))  # noqa: PTH207  (anywhere)
        if not found:
            raise InputError(f"{path} names no file.")
        return found
    return [Path(path)]


def n_rows_of(path: str | Path) -> int:
    """Return how many contexts a token file holds, without reading them.

    Raises
    ------
    InputError
        If it is no Parquet file with rows and a column x.
    """
    return int(_opened(path).metadata.num_rows)


def token_blocks(path: str | Path) -> Iterator[Contexts]:
    """Read the contexts of a file, row group by row group, the numbers of their rows kept.

    Raises
    ------
    InputError
        As :func:`concept_ppl.contexts.tokens.read_tokens`, where the rows are reached.
    """
    file, first = _opened(path), 0
    for group in range(file.metadata.num_row_groups):
        rows = file.metadata.row_group(group)
        own = [rows.column(i) for i in range(rows.num_columns)]
        tokens = next(c.num_values for c in own if c.path_in_schema.split(".")[0] == "x")
        longest = max(1, tokens // max(rows.num_rows, 1))
        at_once = max(1, min(ROWS_AT_ONCE, TOKENS_AT_ONCE // longest))
        for batch in file.iter_batches(at_once, row_groups=[group], columns=["x"]):
            yield contexts_of(pa.chunked_array([batch.column("x")]), path, first)
            first += batch.num_rows


def _opened(path: str | Path) -> pq.ParquetFile:
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist; name a Parquet file.")
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a readable Parquet file.") from error
    if "x" not in file.schema_arrow.names:
        names = listed(file.schema_arrow.names)
        raise InputError(f"{path} has no column x (list of token indices); it has: {names}.")
    if not file.metadata.num_rows:
        raise InputError(f"{path} holds no rows.")
    return file
