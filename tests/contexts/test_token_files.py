"""Files that are read some rows at a time hold what they hold when they are read at once."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from concept_ppl.contexts import Contexts, token_files
from concept_ppl.contexts.token_files import n_rows_of, token_blocks
from concept_ppl.contexts.tokens import read_tokens
from concept_ppl.errors import InputError

ROWS = [[1, 2], [], [3, None, 4], [0], [5, 6, 7, 8]]


def written(path, rows, size=2):
    pq.write_table(pa.table({"text": ["a"] * len(rows), "x": rows}), path, row_group_size=size)
    return path


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_blocks_put_together_are_the_file(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(token_files, "ROWS_AT_ONCE", at_once)
    path = written(tmp_path / "t.parquet", ROWS)
    blocks, (_, whole) = list(token_blocks(path)), read_tokens(path)
    together = Contexts.concatenate(blocks)
    np.testing.assert_array_equal(together.tokens, whole.tokens)
    np.testing.assert_array_equal(together.lengths, whole.lengths)
    starts = np.cumsum([0, *(len(block) for block in blocks)])[:-1]
    assert [block.first_row for block in blocks] == starts.tolist()
    assert n_rows_of(path) == len(ROWS)


def test_a_row_is_named_by_its_number_in_the_file(tmp_path):
    path = written(tmp_path / "t.parquet", [[1], [2], [3], [-4]])
    with pytest.raises(InputError, match=r"t\.parquet, row 3: token -4 is negative"):
        list(token_blocks(path))


def test_a_folder_and_a_pattern_name_files(tmp_path):
    two, one = written(tmp_path / "b.parquet", ROWS), written(tmp_path / "a.parquet", ROWS)
    (tmp_path / "notes.txt").write_text("")
    assert token_files.token_files(tmp_path) == [one, two]
    assert token_files.token_files(tmp_path / "b*.parquet") == [two]
    assert token_files.token_files(tmp_path / "none.parquet") == [tmp_path / "none.parquet"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.mkdir(), "a folder without a Parquet file"),
        (lambda path: path.write_text("no"), "not a readable Parquet file"),
        (lambda path: None, "does not exist"),
        (lambda path: pq.write_table(pa.table({"z": [1]}), path), "no column x"),
        (lambda path: pq.write_table(pa.table({"x": pa.array([], pa.list_(pa.int64()))}), path),
         "no rows"),
    ],
)  # fmt: skip
def test_what_is_no_token_file_is_refused(tmp_path, make, message):
    path = tmp_path / "t.parquet"
    make(path)
    with pytest.raises(InputError, match=message):
        [list(token_blocks(file)) for file in token_files.token_files(path)]
