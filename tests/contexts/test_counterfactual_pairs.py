"""Word pairs are read as they are: split at tabs alone, any line ends, nothing lost unsaid."""

from pathlib import Path

import numpy as np
import pytest

from concept_ppl.contexts.counterfactual_pairs import NOT_TWO_WORDS, REPEATED, SAME_WORD, read_pairs
from concept_ppl.errors import InputError


def write(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return folder


def ends(pairs, concept):
    code = pairs.concepts.index(concept)
    own = pairs.concept == code
    return [
        (pairs.words[a], pairs.words[b])
        for a, b in zip(pairs.first[own], pairs.second[own], strict=True)
    ]


def test_spaces_slashes_line_ends_and_marks_of_order_do_not_matter(tmp_path):
    text = "\ufeffNew York\tin/out\r\nhot dog \t les chiens\r\n\r\nI\tmy"
    folder = write(tmp_path / "pairs", "[thing - other thing].txt", text.encode())
    pairs = read_pairs(folder)
    assert pairs.concepts == ("thing - other thing",)
    expected = [("New York", "in/out"), ("hot dog", "les chiens"), ("I", "my")]
    assert ends(pairs, "thing - other thing") == expected
    assert pairs.skipped == ()


def test_a_word_of_two_lists_is_one_word_and_case_counts(tmp_path):
    folder = write(tmp_path / "pairs", "[a - b].txt", b"go\tgoes\nthe\tThe\n")
    write(folder, "[a - c].txt", b"go\tgone\n")
    pairs = read_pairs(folder)
    assert pairs.words == ("go", "goes", "the", "The", "gone")
    assert pairs.concepts == ("a - b", "a - c")
    np.testing.assert_array_equal(pairs.first, [0, 2, 0])


def test_what_is_skipped_is_listed_with_its_line_and_reason(tmp_path):
    text = b"go\tgoes\ngo\tgoes\nrun\trun\nalone\na\tb\tc\n\tb\nsit\tsits\n"
    pairs = read_pairs(write(tmp_path / "pairs", "[x].txt", text))
    assert [(line.line, line.reason) for line in pairs.skipped] == [
        (2, REPEATED),
        (3, SAME_WORD),
        (4, NOT_TWO_WORDS),
        (5, NOT_TWO_WORDS),
        (6, NOT_TWO_WORDS),
    ]
    assert ends(pairs, "x") == [("go", "goes"), ("sit", "sits")]


def test_a_table_says_the_same_as_a_folder(tmp_path):
    folder = write(tmp_path / "pairs", "[a - b].txt", b"go\tgoes\nnull\tNA\n")
    table = tmp_path / "pairs.csv"
    table.write_text("concept,note,first,second\na - b,x,go,goes\na - b,y,null,NA\n")
    one, other = read_pairs(folder), read_pairs(table)
    assert (one.words, one.concepts) == (other.words, other.concepts)
    np.testing.assert_array_equal(one.second, other.second)


def test_taking_pairs_leaves_out_concepts_and_words_without_any(tmp_path):
    folder = write(tmp_path / "pairs", "[a].txt", b"go\tgoes\nsee\tsees\n")
    write(folder, "[b].txt", b"one\tones\n")
    pairs = read_pairs(folder).take(np.array([False, True, True]))
    assert pairs.concepts == ("a", "b")
    assert pairs.words == ("see", "sees", "one", "ones")
    assert read_pairs(folder).take(np.array([False, False, True])).concepts == ("b",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"go goes\nsee sees\n", "no line with two different words"),
        (b"\n \n", "is empty"),
        (b"go\t\xff\xfe\n", "UTF-8"),
    ],
)
def test_a_list_without_pairs_is_refused_by_name(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read_pairs(write(tmp_path / "pairs", "[a].txt", content))


def test_nothing_to_read_is_said_in_a_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no \.txt file"):
        read_pairs(tmp_path / "empty")
    with pytest.raises(InputError, match="does not exist"):
        read_pairs(tmp_path / "absent")
    table = tmp_path / "pairs.csv"
    table.write_text("concept,first\na,go\n")
    with pytest.raises(InputError, match="no column second"):
        read_pairs(table)
    table.write_text("concept,first,second\n")
    with pytest.raises(InputError, match="no rows"):
        read_pairs(table)
