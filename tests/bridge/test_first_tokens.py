"""The next word's first token has one probability in the world and one in the model."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from concept_ppl.analyses import implied_posterior
from concept_ppl.bridge import (
    LanguageModel,
    extract,
    first_token_emission,
    first_token_log_predictive,
    logits_from_final_norm,
    wrap_language_model,
)
from concept_ppl.bridge.anatomy import first_tokens
from concept_ppl.errors import InputError

from .conftest import TEXTS, small_model
from .test_positions import letter_tokenizer


@pytest.fixture
def letters() -> LanguageModel:
    return wrap_language_model(small_model("llama", tied=False), letter_tokenizer(), name="letters")


def log(p: list[list[float]]) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(np.array(p))


def test_words_that_begin_alike_are_one_event(letters: LanguageModel) -> None:
    words = ["cat", "bad", "cab", "dab", "e"]
    p = [[0.1, 0.2, 0.3, 0.4, 0.0], [0.5, 0.0, 0.0, 0.5, 0.0]]
    found = first_token_emission(letters, words, log(p), leading_space=False)
    tokens = letters.tokenizer.convert_ids_to_tokens(found.token_ids.tolist())
    by_token = dict(zip(tokens, np.exp(found.log_emission).T.tolist(), strict=True))
    assert set(by_token) == {"b", "c", "d"}  # no value emits "e"
    assert_allclose(by_token["c"], [0.4, 0.5])
    assert_allclose(by_token["b"], [0.2, 0.0])
    assert_allclose(by_token["d"], [0.4, 0.5])
    assert found.of_word[4] == -1
    assert [tokens[i] for i in found.of_word[:4]] == ["c", "b", "c", "d"]


def test_the_predictive_is_the_models_own_softmax_over_its_whole_vocabulary(
    language_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = extract(language_model, TEXTS, sites="final_norm")["final_norm"]
    ids = [5, 3, 11]
    expected = logits_from_final_norm(language_model, states).detach().double().log_softmax(1)
    monkeypatch.setattr(first_tokens, "CELLS", 50)  # two rows at a time
    found = first_token_log_predictive(language_model, states, ids)
    assert_allclose(found, expected[:, ids].numpy(), atol=1e-6)


def test_it_is_what_the_model_itself_says_of_the_next_token(llama: LanguageModel) -> None:
    text = "the cat sat on"
    states = extract(llama, [text], sites="final_norm")["final_norm"]
    ids = [llama.prefix, *llama.tokenizer(text)["input_ids"]]
    with torch.inference_mode():
        expected = llama.model(torch.tensor([ids])).logits[0, -1].double().log_softmax(0)
    found = first_token_log_predictive(llama, torch.tensor(states), np.arange(24))
    assert_allclose(found[0], expected.numpy(), atol=1e-5)
    assert np.exp(found).sum() == pytest.approx(1)


def test_both_together_imply_a_posterior(llama: LanguageModel) -> None:
    words = ["the", "cat", "le", "chat", "est"]
    p = [[0.5, 0.5, 0.0, 0.0, 0.0], [0.0, 0.1, 0.4, 0.3, 0.2]]
    emission = first_token_emission(llama, words, log(p))
    states = extract(llama, TEXTS, sites="final_norm")["final_norm"]
    log_predictive = first_token_log_predictive(llama, states, emission.token_ids)
    found = implied_posterior(log_predictive, emission.log_emission, values=["en", "fr"])
    assert_allclose(found.mass_of_each, np.exp(log_predictive).sum(axis=1))
    assert 0 < found.mass.estimate < 1
    # "the" is English alone and "cat" tells the two apart by .5 to .1: the weight in closed form.
    q = np.exp(log_predictive) / found.mass_of_each[:, None]
    assert emission.token_ids[emission.of_word].tolist() == llama.tokenizer.convert_tokens_to_ids(
        words
    )
    the, cat = q[:, emission.of_word[0]], q[:, emission.of_word[1]]
    w = np.exp(found.log_weights[:, 0])
    slope = the / w + cat * 0.4 / (0.1 + 0.4 * w) - (1 - the - cat) / (1 - w)
    assert_allclose(slope, 0, atol=1e-7)


def test_a_word_that_cannot_be_written_is_refused_by_name(llama: LanguageModel) -> None:
    for words in (["the", "hypotenuse"], ["the", ""]):
        with pytest.raises(InputError, match=f"no tokens for the word '{words[1]}'"):
            first_token_emission(llama, words, log([[0.5, 0.5]]))
    never = first_token_emission(llama, ["the", "hypotenuse"], log([[1.0, 0.0]]))
    assert_array_equal(never.of_word, [0, -1])


def test_bad_input_is_refused(llama: LanguageModel) -> None:
    with pytest.raises(InputError, match=r"log_frequencies has shape \(1, 2\)"):
        first_token_emission(llama, ["the"], log([[0.5, 0.5]]))
    with pytest.raises(InputError, match="Row 0 of log_frequencies sums to 0"):
        first_token_emission(llama, ["the", "cat"], log([[0.4, 0.5]]))
    with pytest.raises(
        InputError, match=r"states have shape \(2, 3\); they must be \(contexts, 16"
    ):
        first_token_log_predictive(llama, np.zeros((2, 3)), [1])
    with pytest.raises(InputError, match="Token 99 is not among the model's 24"):
        first_token_log_predictive(llama, np.zeros((2, 16)), [99])
