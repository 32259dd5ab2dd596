"""A long table reaches the disk block by block, and not at all where the disk is too small."""

import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from concept_ppl.contexts import row_groups
from concept_ppl.contexts.row_groups import write_row_groups
from concept_ppl.errors import InputError

WORDS = np.array(["left", "right"], dtype=object)


def blocks(n_blocks, size=100):
    for number in range(n_blocks):
        rows = np.arange(number * size, (number + 1) * size)
        tokens = [np.arange(row % 4) for row in rows]
        moods = [WORDS[tokens[row % size] % 2] for row in rows]
        yield pd.DataFrame({"x": tokens, "mood": moods}, index=rows)


@pytest.mark.parametrize(("n_blocks", "ends"), [(1, [100, 200, 300]), (2, [200, 300])])
def test_blocks_make_row_groups_and_all_are_the_table(n_blocks, ends, tmp_path, monkeypatch):
    size = pa.Table.from_pandas(next(blocks(1))).nbytes
    monkeypatch.setattr(row_groups, "GROUP_BYTES", 0.9 * n_blocks * size)
    seen = []
    path = tmp_path / "t.parquet"
    write_row_groups(path, blocks(3), 300, shown="t.parquet", progress=lambda *at: seen.append(at))
    assert pq.ParquetFile(path).num_row_groups == len(ends)
    assert seen == [(end, 300) for end in ends]
    read, whole = pd.read_parquet(path), pd.concat(blocks(3))
    assert read.index.equals(whole.index)
    for column in whole:
        for a, b in zip(read[column], whole[column], strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_block_alone_is_written_as_pandas_writes_it(tmp_path):
    (table,) = blocks(1)
    table.to_parquet(tmp_path / "pandas.parquet")
    write_row_groups(tmp_path / "own.parquet", [table], 100, shown="own.parquet")
    assert (tmp_path / "own.parquet").read_bytes() == (tmp_path / "pandas.parquet").read_bytes()


def test_a_last_block_of_empty_lists_has_the_types_of_the_first(tmp_path):
    empty = pd.DataFrame({"x": [np.arange(0)], "mood": [WORDS[:0]]}, index=[100])
    write_row_groups(tmp_path / "t.parquet", [*blocks(1), empty], 101, shown="t.parquet")
    read = pd.read_parquet(tmp_path / "t.parquet")
    assert [len(read["x"].iloc[-1]), len(read["mood"].iloc[-1])] == [0, 0]


def test_what_the_disk_cannot_hold_is_refused_after_one_block(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    path, made = tmp_path / "t.parquet", []
    counted = (made.append(1) or block for block in blocks(10))
    with pytest.raises(InputError, match=r"t\.parquet would take .* GB, and the disk has 1\.0 MB"):
        write_row_groups(path, counted, 10**9, shown="t.parquet")
    assert len(made) == 1
    assert not path.exists()
