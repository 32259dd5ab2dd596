"""A message is a sentence or two, however much there would be to list."""

import pytest

from concept_ppl.errors import LONGEST_MESSAGE, InputError, MemoryBudgetError, ModelError, listed


def test_a_short_list_is_whole_and_a_long_one_is_counted():
    assert listed(["a", "b", "c"]) == "a, b, c"
    assert listed(range(20)).endswith("18, 19")
    assert listed(range(1000)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 990 more"
    assert listed([]) == ""


def test_a_long_name_is_cut_in_its_middle():
    text = listed(["a" * 500 + "z", "b"])
    assert len(text) < 80
    assert "… " in text
    assert text.endswith("z, b")


@pytest.mark.parametrize("kind", [InputError, ModelError, MemoryBudgetError])
def test_no_message_runs_on_and_its_remedy_stays(kind):
    message = str(kind(f"the table has no column {'x' * 10_000}; name another one."))
    assert len(message) <= LONGEST_MESSAGE
    assert message.startswith("the table has no column x")
    assert message.endswith("; name another one.")
    assert str(kind("all is short.")) == "all is short."
