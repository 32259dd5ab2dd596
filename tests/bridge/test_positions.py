"""A state is read at the token that is meant: the last, every one, a word's last, or their mean."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from concept_ppl.bridge import LanguageModel, extract, wrap_language_model
from concept_ppl.bridge.extraction.positions import readings
from concept_ppl.errors import InputError

from .conftest import TEXTS, small_model, word_tokenizer


def letter_tokenizer() -> PreTrainedTokenizerFast:
    """Letters and marked word starts: every word has as many tokens as letters."""
    letters = ["<s>", "Ġ", *"abcdefghijklmnopqrstu"]
    backend = Tokenizer(models.BPE({letter: n for n, letter in enumerate(letters)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>")


def read(tokenizer: Any, texts: list[str], **options: Any) -> list[tuple[int, ...]]:
    options = {"prefix": 0, "leading_space": True} | options
    return [reading.positions for reading in readings(tokenizer, texts, **options)]


def test_all_are_the_contexts_own_tokens_in_order(llama: LanguageModel) -> None:
    every = extract(llama, TEXTS, sites="resid.2", positions="all")
    assert_array_equal(np.diff(every.offsets), every.n_tokens)
    assert len(every) == every.n_tokens.sum()
    for row, text in enumerate(TEXTS):
        words = text.split()
        for end in range(1, len(words) + 1):
            start = extract(llama, [" ".join(words[:end])], sites="resid.2")["resid.2"][0]
            state = every["resid.2"][every.offsets[row] + end - 1]
            assert_allclose(state, start, rtol=1e-4, atol=1e-6)


def test_the_mean_is_over_the_contexts_own_tokens(llama: LanguageModel) -> None:
    texts = [text for text in TEXTS if text]
    every = extract(llama, texts, sites="resid.2", positions="all")
    mean = extract(llama, texts, sites="resid.2,embedding.mean", positions="mean")
    for row, (start, end) in enumerate(zip(every.offsets, every.offsets[1:], strict=False)):
        expected = every["resid.2"][start:end].mean(axis=0)
        assert_allclose(mean["resid.2"][row], expected, rtol=1e-4, atol=1e-6)
    bags = extract(llama, texts, sites="embedding.mean")["embedding.mean"]
    assert_allclose(mean["embedding.mean"], bags, rtol=1e-5, atol=1e-7)


def test_of_no_tokens_the_prefix_is_read_except_where_every_token_is(llama: LanguageModel) -> None:
    last, mean = (extract(llama, [""], sites="resid.1", positions=p) for p in ("last", "mean"))
    assert_array_equal(last["resid.1"], mean["resid.1"])
    every = extract(llama, ["", "cat"], sites="resid.1", positions="all")
    assert every.offsets.tolist() == [0, 0, 1]


def test_a_words_last_token_is_found_by_its_letters() -> None:
    tokenizer = letter_tokenizer()
    texts = ["cat sat", "a cat", "cats cat dogs"]
    # <s> Ġ c a t Ġ s a t: the t of "cat" is number 4.
    assert read(tokenizer, texts, positions="word", words=["cat"] * 3) == [(4,), (6,), (9,)]
    alone = read(tokenizer, texts, positions="word", words=["cat"] * 3, prefix=None)
    assert alone == [(3,), (5,), (8,)]
    unspaced = read(tokenizer, texts[:1], positions="word", words=["cat"], leading_space=False)
    assert unspaced == [(3,)]


def test_a_word_that_stands_twice_is_read_where_it_stands_last() -> None:
    assert read(word_tokenizer(), ["cat le cat le"], positions="word", words=["cat"]) == [(3,)]


def test_a_words_state_does_not_know_what_follows(llama: LanguageModel) -> None:
    sites = "resid.3,embedding.sum"
    within = extract(llama, ["the cat sat"], sites=sites, positions="word", words=["cat"])
    before = extract(llama, ["the cat"], sites=sites)
    for site in within.sites:
        assert_allclose(within[site], before[site], rtol=1e-4, atol=1e-6)


def test_marks_are_read_at_the_tokens_that_hold_their_characters(llama: LanguageModel) -> None:
    texts, marks = ["the cat sat", "a dog", "der hund"], [[2, 6], [], [7]]
    read_at = extract(llama, texts, sites="resid.3", positions="marks", marks=marks)
    assert read_at.offsets.tolist() == [0, 2, 2, 3]
    before = extract(llama, ["the", "the cat", "der hund"], sites="resid.3")
    assert_allclose(read_at["resid.3"], before["resid.3"], rtol=1e-4, atol=1e-6)


def test_a_mark_lies_in_the_token_of_its_letter() -> None:
    # <s> Ġ c a t Ġ s a t
    for space, expected in ((True, [(2, 8)]), (False, [(1, 7)])):
        found = read(
            letter_tokenizer(), ["cat sat"], positions="marks", marks=[[0, 6]], leading_space=space
        )
        assert found == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": "first"}, "'first' are unknown; choose last, all, mean, word"),
        ({"positions": "word"}, "words go with"),
        ({"words": ["cat", "cat"]}, "words go with"),
        ({"positions": "word", "words": ["cat"]}, "1 words for 2 contexts"),
        ({"positions": "word", "words": ["cat", "cat"]}, r"Row 1 .* word 'cat'"),
        ({"positions": "word", "words": ["cat", ""]}, r"Row 1 .* word ''"),
        ({"positions": "all", "sites": "embedding.sum"}, "one state a context"),
        ({"positions": "marks", "sites": "embedding.sum", "marks": [[1], [1]]}, "one state a con"),
        ({"positions": "marks"}, "marks go with"),
        ({"positions": "marks", "marks": [[1]]}, "marks for 1 contexts, not 2"),
        (
            {"positions": "marks", "marks": [[1], [8]]},
            r"Row 1 .* 8 characters; its marks are \[8\]",
        ),
        ({"positions": "marks", "marks": [[1], [3]]}, r"Row 1 .* lie in no token, or two in one"),
        ({"positions": "marks", "marks": [[0, 1], [0]]}, r"Row 0 .* lie in no token, or two"),
    ],
)
def test_positions_that_cannot_be_read_are_named(llama: LanguageModel, options, message) -> None:
    with pytest.raises(InputError, match=message):
        extract(llama, ["the cat", "der hund"], **({"sites": "all"} | options))


def test_a_tokenizer_without_offsets_is_named() -> None:
    class Slow:
        is_fast = False

        def __init__(self) -> None:
            self.fast = word_tokenizer()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.fast, name)

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return self.fast(*args, **kwargs)

    language_model = wrap_language_model(small_model("llama"), Slow())
    with pytest.raises(InputError, match="Slow does not tell which characters"):
        extract(language_model, ["the cat"], sites="all", positions="word", words=["cat"])
