"""Words are read as within running text, and what has no state is listed, not dropped."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from concept_ppl.bridge import (
    LanguageModel,
    extract,
    input_embedding_rows,
    read_words,
    token_ids_of,
    unembedding_rows,
    wrap_language_model,
)
from concept_ppl.errors import InputError

from .conftest import small_model
from .test_positions import letter_tokenizer


@pytest.fixture
def letters() -> LanguageModel:
    return wrap_language_model(small_model("llama", tied=False), letter_tokenizer(), name="letters")


def test_a_words_state_is_that_of_a_context_with_this_word_alone(llama: LanguageModel) -> None:
    words = ["cat", "hund", "sat"]
    read = read_words(llama, words, sites="resid.1,final_norm")
    states = extract(llama, words, sites="resid.1,final_norm")
    for site in states.sites:
        assert_array_equal(read[site], states[site])


def test_words_that_cannot_be_read_are_listed_with_the_reason(letters: LanguageModel) -> None:
    letters.tokenizer.add_tokens(["zzz"])
    letters.model.resize_token_embeddings(23)
    words = ["cat", "", "b", "zzz"]
    read = read_words(letters, words, sites="embedding", leading_space=False)
    assert read.words == ("cat", "b")
    assert read.kept.tolist() == [0, 2]
    assert read.n_tokens.tolist() == [3, 1]
    assert read.skipped == {"": "no token", "zzz": "a token without an embedding"}
    single = read_words(
        letters, words[:3], sites="embedding", leading_space=False, one_token_only=True
    )
    assert single.words == ("b",)
    assert single.skipped == {"": "no token", "cat": "3 tokens where one was asked for"}


def test_the_space_is_a_token_of_the_word_unless_it_is_left_out(letters: LanguageModel) -> None:
    spaced, bare = (
        read_words(letters, ["ab"], sites="embedding", leading_space=space)
        for space in (True, False)
    )
    assert (spaced.leading_space, bare.leading_space) == (True, False)
    assert (spaced.n_tokens.item(), bare.n_tokens.item()) == (3, 2)
    assert spaced.last_tokens == bare.last_tokens == letters.tokenizer.convert_tokens_to_ids("b")


def test_without_a_prefix_the_first_token_is_a_sink_and_is_marked(letters: LanguageModel) -> None:
    words = ["a", "bc", "de", "fg", "hi"]
    read = read_words(letters, words, sites="embedding", leading_space=False, bos=False)
    assert not read.sinks("embedding").any()
    read.states.arrays["embedding"][0] *= 100  # as trained models do at position 0
    assert read.sinks("embedding").tolist() == [True, False, False, False, False]
    assert read.sinks("embedding", factor=1e4).sum() == 0


def test_nothing_to_read_is_one_sentence(letters: LanguageModel) -> None:
    with pytest.raises(InputError, match=r"None of 2 words .* letters; the first, 'ab', has 2 tok"):
        read_words(
            letters, ["ab", "cd"], sites="embedding", leading_space=False, one_token_only=True
        )
    with pytest.raises(InputError, match="Row 1"):
        read_words(letters, ["ab", 3], sites="embedding")  # type: ignore[list-item]


def test_rows_of_both_embeddings_are_those_of_the_tokens(letters: LanguageModel) -> None:
    tokens = token_ids_of(letters, ["b", "cat", "a"], leading_space=False)
    assert tokens.tolist() == [*letters.tokenizer.convert_tokens_to_ids(["b"]), -1, 2]
    model = letters.model
    kept = tokens[tokens >= 0]
    for rows, weight in [
        (unembedding_rows(letters, kept), model.get_output_embeddings().weight),
        (input_embedding_rows(letters, kept), model.get_input_embeddings().weight),
    ]:
        assert rows.dtype == np.float32
        assert_array_equal(rows, weight.detach().numpy()[kept])
    with pytest.raises(InputError, match="Token -1 is not among"):
        unembedding_rows(letters, tokens)
    with pytest.raises(InputError, match="Token 24 is not among"):
        input_embedding_rows(letters, [24])
