"""Words that languages share: which are kept, and the posterior by brute force."""

import itertools

import numpy as np
import pytest

from concept_ppl import load_model, posterior
from concept_ppl.errors import ModelError
from concept_ppl.models.word_languages import unigrams

SMALL = {"languages": ("en", "fr", "de"), "top": 400}


def small_world(**knobs):
    model = load_model("ambiguous_languages", **SMALL | knobs)
    words = model.labels["x"][:-1]
    every, frequencies = unigrams(*SMALL.values(), 1e-8)
    own = frequencies[:, [every.index(word) for word in words]]
    return model, words, own


def test_every_word_tells_less_than_the_limit_and_none_that_would_is_left_out():
    _, words, own = small_world(limit=1.5)
    assert np.ptp(np.log(own), axis=0).max() < 1.5
    every, frequencies = unigrams(*SMALL.values(), 1e-8)
    kept = {
        word
        for word, column in zip(every, frequencies.T, strict=True)
        if max(column) < np.exp(1.5) * min(column) and len(word) > 2
    }
    assert set(words) == kept
    assert min(len(word) for word in small_world(shortest=5)[1]) == 5


@pytest.mark.parametrize("switch", [0.05, 0.6])
def test_the_posterior_is_that_of_brute_force(switch):
    model, words, own = small_world(switch=switch)
    emission = own / own.sum(1, keepdims=True)
    comma = len(words)
    contexts = [[0, 3, 1, comma], [2, 2, 2, comma], [5, comma]]
    answer = posterior(model, contexts)
    for row, context in enumerate(contexts):
        weights = np.zeros(3)
        for path in itertools.product(range(3), repeat=len(context)):
            moves = [1 - switch if a == b else switch / 2 for a, b in itertools.pairwise(path)]
            told = [
                emission[state, token] for state, token in zip(path, context[:-1], strict=False)
            ]
            weights[path[-1]] += np.prod(moves) * np.prod(told) / 3
        assert float(answer.log_evidence[row]) == pytest.approx(np.log(weights.sum()), abs=1e-10)
        exact = weights / weights.sum()
        np.testing.assert_allclose(
            answer.log_marginals["language"][row].exp(), exact, rtol=0, atol=1e-12
        )


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"limit": 0.0}, "limit must be above 0"),
        ({"shortest": 0}, "shortest at least 1"),
        ({"switch": 2}, "switch must be a probability"),
        ({"top": 12}, "raise top or limit"),
    ],
)
def test_parameters_out_of_range_are_refused(knobs, message):
    with pytest.raises(ModelError, match=message):
        load_model("ambiguous_languages", **SMALL | knobs)
