"""A language model reads a world's texts word by word, and is asked about the word that follows."""

import numpy as np
import pytest
import torch

from concept_ppl import extract, load_model
from concept_ppl.bridge.anatomy.forward_pass import pad_right
from concept_ppl.errors import InputError
from concept_ppl.predictors.adaptation import (
    WorldWords,
    encoding_of,
    held_out_texts,
    word_level_language_model,
    world_words,
)


@pytest.mark.parametrize(
    ("world", "knobs"), [("codebook", {"names": 2}), ("negated_opinions", {"lengths": (5, 9)})]
)
def test_every_word_of_a_world_is_one_token_that_is_known(world, knobs):
    words = world_words(load_model(world, **knobs))
    model = word_level_language_model(words, width=16, blocks=1)
    texts = held_out_texts(words.model, 30, seed=0)
    found = encoding_of(words, model).rows(texts)
    follows = 0 if texts.following is None else 1
    assert [len(row) for row in found] == (texts.contexts.lengths + 1 + follows).tolist()
    names = [model.tokenizer.convert_ids_to_tokens(list(row[1:])) for row in found]
    parts = np.split(texts.contexts.tokens, np.cumsum(texts.contexts.lengths))[:-1]
    spelled = [[words.tokens[token] for token in part] for part in parts]
    if follows:
        for sentence, y in zip(spelled, texts.following, strict=True):
            sentence.append(words.following[y])
    assert names == spelled


def test_predictions_are_the_models_own_at_the_end_of_what_is_read(encoding, words):
    texts = held_out_texts(words.model, 20, seed=1)
    model = encoding.language_model
    read = words.sentences(texts.contexts)
    states = extract(model, read, sites="final_norm")["final_norm"]
    log_p, mass = encoding.log_predictive(states)
    rows = [row[:-1] for row in encoding.rows(texts)]
    ids, mask = pad_right(rows, model.device)
    with torch.inference_mode():
        logits = model.model(input_ids=ids, attention_mask=mask).logits
    last = logits[torch.arange(20), torch.tensor([len(row) - 1 for row in rows])].double()
    q = last.softmax(1)[:, list(encoding.first_ids)].numpy()
    assert np.allclose(mass, q.sum(1), atol=1e-5)
    assert np.allclose(np.exp(log_p), q / q.sum(1, keepdims=True), atol=1e-5)


def test_words_that_begin_alike_are_one_to_the_next_token(words, encoding):
    names = ("red, Anna", "blue,", "red, Ben")
    alike = encoding_of(
        WorldWords(words.model, "colour", words.tokens, names), encoding.language_model
    )
    assert len(alike.first_ids) == 2
    p = np.array([[0.1, 0.6, 0.3], [0.2, 0.5, 0.3]])
    assert np.allclose(np.exp(alike.by_first_token(np.log(p))), [[0.4, 0.6], [0.5, 0.5]])
    same = WorldWords(words.model, "colour", words.tokens, names[::2])
    with pytest.raises(InputError, match="its next token tells nothing"):
        encoding_of(same, encoding.language_model)


def test_the_same_seed_draws_the_same_weights_and_leaves_the_random_state(words):
    before = torch.random.get_rng_state()
    one, two, other = (
        word_level_language_model(words, width=16, blocks=1, seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert one.digest == two.digest != other.digest
