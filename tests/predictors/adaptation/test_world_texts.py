"""A step has texts of its own, the same ones again after a kill; exchanged ones tell nothing."""

import numpy as np

from concept_ppl.contexts.tokens import Contexts
from concept_ppl.predictors.adaptation import Texts, exchanged, held_out_texts, training_texts
from concept_ppl.predictors.adaptation.world_texts import AT_ONCE, _block


def rows(texts):
    ends = np.cumsum(texts.contexts.lengths)
    return [tuple(part) for part in np.split(texts.contexts.tokens, ends)[:-1]]


def test_steps_have_their_own_texts_and_the_same_ones_again(words):
    first = training_texts(words.model, 0, 50, seed=1)
    steps = AT_ONCE // 50
    later = [training_texts(words.model, step, 50, seed=1) for step in (1, steps - 1, steps)]
    assert all(len(texts) == 50 for texts in later)
    assert len({tuple(rows(texts)) for texts in [first, *later]}) == 4
    _block.cache_clear()
    again = training_texts(words.model, 0, 50, seed=1)
    assert rows(again) == rows(first)
    assert np.array_equal(again.following, first.following)


def test_no_other_purpose_or_seed_draws_the_same_texts(words):
    texts = [
        training_texts(words.model, 0, 200, seed=0),
        training_texts(words.model, 0, 200, seed=1),
        held_out_texts(words.model, 200, seed=0),
        held_out_texts(words.model, 200, seed=1),
    ]
    assert len({tuple(rows(one)) for one in texts}) == 4


def told(words, texts):
    """How often the most probable next word is the one that follows."""
    return float((words.log_predictive(texts.contexts).argmax(1) == texts.following).mean())


def test_exchanged_texts_have_the_same_words_at_each_place_and_tell_nothing(words):
    texts = training_texts(words.model, 0, 4000, seed=0)
    mixed = training_texts(words.model, 0, 4000, seed=0, kind="exchanged")
    assert np.array_equal(mixed.contexts.lengths, texts.contexts.lengths)
    whole = _block(words.model, 0, 0, "world"), _block(words.model, 0, 0, "exchanged")
    for length in (3, 6):
        own, other = (
            t.contexts.tokens[
                t.contexts.token_positions(np.flatnonzero(t.contexts.lengths == length))
            ]
            for t in whole
        )
        for place in range(length):
            assert sorted(own[place::length]) == sorted(other[place::length])
    assert told(words, texts) > 0.75
    assert abs(told(words, mixed) - 0.5) < 4 * 0.5 / np.sqrt(4000)


def test_a_lone_text_of_its_length_stays_as_it_is():
    one = Texts(Contexts.from_lists([[0, 1, 2], [3, 4]]), np.array([0, 1]))
    assert rows(exchanged(one, seed=0)) == rows(one)
