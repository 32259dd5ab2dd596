"""What is wrong with word pairs is counted before anything is made of them."""

import pytest

from concept_ppl.analyses.studies.word_pairs.hygiene import examine_pairs
from concept_ppl.contexts.counterfactual_pairs import read_pairs
from concept_ppl.errors import InputError

LISTS = {
    "[verb - Ved].txt": [("walk", "walked"), ("talk", "talked"), ("go", "went"), ("see", "saw")],
    "[thing - color].txt": [(f"thing{i}", "red" if i < 5 else "blue") for i in range(8)],
    "[place - place].txt": [("New York", "in/out")],
}


def tokens_of(pairs):
    """A word of n letters has the token of its last letter at its end, and n // 4 + 1 tokens."""
    return tuple((*range(len(word) // 4), ord(word[-1])) for word in pairs.words)


@pytest.fixture
def examined(tmp_path):
    for name, lines in LISTS.items():
        text = "".join(f"{first}\t{second}\n" for first, second in lines)
        (tmp_path / name).write_text(text)
    with (tmp_path / "[verb - Ved].txt").open("a") as file:
        file.write("go\twent\nrun\trun\nalone\n")
    pairs = read_pairs(tmp_path)
    return examine_pairs(pairs, tokens_of(pairs), 0.95)


def row_of(examined, concept):
    return examined.table.set_index("concept").loc[concept]


def test_repeats_identical_words_and_malformed_lines_are_counted_and_listed(examined):
    row = row_of(examined, "verb - Ved")
    assert (row["pairs"], row["repeated"], row["identical"], row["malformed"]) == (4, 1, 1, 1)
    assert list(examined.skipped["entry"]) == ["go / went", "run / run", "alone"]


def test_four_pairs_are_too_few_for_any_test_and_it_says_so(examined):
    row = row_of(examined, "verb - Ved")
    assert row["smallest p"] == 0.125
    assert "too few units for any test" in row["remarks"]


def test_a_concept_with_two_targets_has_two_units(examined):
    row = row_of(examined, "thing - color")
    assert (row["units"], row["distinct first"], row["distinct second"]) == (2, 8, 2)
    assert "only 2 second words" in row["remarks"]


def test_a_concept_of_one_unit_is_left_out_by_name(examined):
    row = row_of(examined, "place - place")
    assert row["spaces or slashes"] == 1
    assert "left out" in row["remarks"]
    assert examined.pairs.concepts == ("thing - color", "verb - Ved")
    assert "New York" not in examined.pairs.words


def test_pairs_that_end_alike_or_have_as_many_tokens_are_counted(tmp_path):
    (tmp_path / "[a].txt").write_text("abc\txbc\nab\taaaaaab\n")
    pairs = read_pairs(tmp_path)
    table = examine_pairs(pairs, tokens_of(pairs), 0.95).table.iloc[0]
    assert (table["same last token"], table["as many tokens"], table["one token each"]) == (2, 1, 1)


def test_nothing_that_can_be_held_out_is_refused(tmp_path):
    (tmp_path / "[a].txt").write_text("a\tb\nb\tc\n")
    pairs = read_pairs(tmp_path)
    with pytest.raises(InputError, match="none can be held out"):
        examine_pairs(pairs, tokens_of(pairs), 0.95)
