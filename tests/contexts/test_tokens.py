"""Contexts of differing lengths are lists of lists, only faster; files are read or refused."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from concept_ppl.contexts.tokens import Contexts, as_contexts, read_tokens
from concept_ppl.errors import InputError

ROWS = st.lists(st.lists(st.integers(-1, 3), max_size=5), max_size=8)


def as_lists(contexts: Contexts) -> list[list[int]]:
    ends = np.cumsum(contexts.lengths)
    return [
        contexts.tokens[end - n : end].tolist()
        for end, n in zip(ends, contexts.lengths, strict=True)
    ]


@settings(max_examples=60)
@given(rows=ROWS, data=st.data())
def test_every_operation_is_that_of_lists(rows, data):
    contexts = Contexts.from_lists(rows)
    assert as_lists(contexts) == rows
    assert len(contexts) == len(rows)
    assert contexts.longest == max(map(len, rows), default=0)
    assert as_lists(contexts.prefixes()) == [r[:k] for r in rows for k in range(len(r) + 1)]
    places = data.draw(st.lists(st.integers(0, max(len(rows) - 1, 0)), max_size=6)) if rows else []
    assert as_lists(contexts.take(np.array(places, np.int64))) == [rows[i] for i in places]
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    assert as_lists(contexts.slice(start, stop)) == rows[start:stop]
    assert contexts.padded(6).tolist() == [row + [-1] * (6 - len(row)) for row in rows]
    both = Contexts.concatenate([contexts, contexts.slice(start, stop)])
    assert as_lists(both) == rows + rows[start:stop]


@settings(max_examples=60)
@given(rows=ROWS, equal_lengths=st.booleans())
def test_distinct_contexts_come_in_order_and_repeat_to_the_whole(rows, equal_lengths):
    if equal_lengths:
        rows = [(row + [0] * 5)[:5] for row in rows]
    distinct, inverse = Contexts.from_lists(rows).unique()
    kept = as_lists(distinct)
    assert kept == [list(row) for row in dict.fromkeys(map(tuple, rows))]
    assert [kept[i] for i in inverse] == rows


def test_contexts_that_differ_only_in_order_or_padding_are_distinct():
    rows = [[1, 2], [2, 1], [1, 2, -1], [-1, 1, 2], [], [-1], [0], [0, 0], [1, 2]]
    distinct, inverse = Contexts.from_lists(rows).unique()
    assert len(distinct) == 8
    assert inverse.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0]


def test_contexts_that_share_a_hash_stay_apart(monkeypatch):
    monkeypatch.setattr(Contexts, "_hashes", lambda self: np.zeros(len(self), np.uint64))
    rows = [[0, 1], [1, 0], [0, 1]]
    distinct, inverse = Contexts.from_lists(rows).unique()
    assert [as_lists(distinct)[i] for i in inverse] == rows


def test_what_users_have_is_accepted():
    expected = [[0, 1], [2, 0]]
    table = pd.DataFrame({"x": expected})
    for given_as in (expected, torch.tensor(expected), table, Contexts.from_lists(expected)):
        assert as_lists(as_contexts(given_as)) == expected
    assert as_lists(as_contexts([[0, None]])) == [[0, -1]]
    with pytest.raises(InputError, match="contexts must have two dimensions, not 1"):
        as_contexts(torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("contexts", "match"),
    [
        ([[0], [0.5]], r"row 1: tokens must be whole numbers .* not 0\.5"),
        ([[0, float("nan")]], "row 0: tokens must be whole numbers"),
        ([["a"]], "row 0: tokens must be whole numbers .* not a"),
        ([[0], [2**63]], "row 1: .* below 2\\^63 .* not 9223372036854775808"),
        ([[2**70]], "row 0: .* below 2\\^63"),
        (
            [np.array([0, 2**64 - 1], np.uint64)],
            "row 0: .* below 2\\^63 .* not 18446744073709551615",
        ),
        ([0, 1], "row 0 is no list of token indices"),
        ([[[0, 1], [2]]], "row 0 is no list of token indices"),
        (torch.tensor([[0.7]]), "contexts: tokens must be whole numbers"),
        (np.array([[2**63]], np.uint64), "row 0: .* below 2\\^63"),
        (pd.DataFrame({"z": [1]}), "no column x .* it has: z"),
    ],
)
def test_what_is_no_token_is_neither_rounded_nor_wrapped_around(contexts, match):
    with pytest.raises(InputError, match=match):
        as_contexts(contexts)


def test_tokens_of_any_integer_type_are_the_same_tokens():
    for kind in (np.uint8, np.int16, np.uint64, np.int64):
        assert as_lists(as_contexts([np.array([3, 0], kind), np.array([], kind)])) == [[3, 0], []]
        assert as_lists(Contexts.from_padded(np.array([[3, 0]], kind))) == [[3, 0]]


def write(path, x, **columns):
    pq.write_table(pa.table({"x": x, **columns}), path)
    return path


def test_a_tokens_file_is_read_with_its_other_columns(tmp_path):
    path = write(tmp_path / "t.parquet", [[0, None], [], [2]], y=[1, 0, 2])
    table, contexts = read_tokens(path)
    assert as_lists(contexts) == [[0, -1], [], [2]]
    assert table["y"].tolist() == [1, 0, 2]
    assert "x" not in table
    large = pa.array([[1], [0, 1]], pa.large_list(pa.int32()))
    assert as_lists(read_tokens(write(tmp_path / "l.parquet", large))[1]) == [[1], [0, 1]]
    empty = write(tmp_path / "e.parquet", pa.array([[], []], pa.list_(pa.null())))
    assert as_lists(read_tokens(empty)[1]) == [[], []]


def test_a_bad_tokens_file_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "t.parquet"

    def refused(match):
        with pytest.raises(InputError, match=match):
            read_tokens(path)

    refused("does not exist")
    path.write_text("x\n1\n")
    refused("is not a readable Parquet file")
    pq.write_table(pa.table({"tokens": [[0]], "y": [1]}), path)
    refused(r"has no column x .* it has: tokens, y")
    write(path, pa.array([], pa.list_(pa.int64())))
    refused("holds no rows")
    write(path, [1, 2])
    refused("column x must hold lists of integers, not int64")
    write(path, [["a"]])
    refused("column x must hold lists of integers, not list")
    write(path, [[0.5]])
    refused("column x must hold lists of integers, not list")
    write(path, [[0], None, [1]])
    refused("row 1: x is null; write an empty list")
    write(path, [[0], [], [1, -1]])
    refused("row 2: token -1 is negative; use null for unobserved")
    beyond = pa.array([[], [0, None], [1, 2**63 + 5]], pa.list_(pa.uint64()))
    write(path, beyond)
    refused(r"row 2: token 9223372036854775813 is 2\^63 or more")
    write(path, pa.array([[0, None], [2**63 - 1]], pa.list_(pa.uint64())))
    assert as_lists(read_tokens(path)[1]) == [[0, -1], [2**63 - 1]]
    path.unlink()
    path.mkdir()
    refused(r"t\.parquet is a folder; name a Parquet file")
