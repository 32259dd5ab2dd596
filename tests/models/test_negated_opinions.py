"""Negated words: the posterior from the words alone, and what no sum over tokens can tell."""

import itertools
from collections import Counter

import numpy as np
import pytest

from concept_ppl import load_model, posterior, predictive, simulate
from concept_ppl.errors import ModelError
from concept_ppl.models.negated_opinions import lexicon


def by_hand(text: str, negation: float, strength: float) -> np.ndarray:
    """p(words | opinion), good first, from the words of a text and nothing of the program."""
    words, tilts = lexicon()
    exponents = np.array([0.5, -0.5])[:, None] * strength * tilts.numpy()
    p = np.exp(exponents) / np.exp(exponents).sum(1, keepdims=True)
    likelihood, is_negated = np.ones(2), False
    for word in text.removeprefix("The film was").removesuffix("and").split():
        if word == "not":
            likelihood, is_negated = likelihood * negation, True
            continue
        own = p[:, words.index(word.removesuffix(","))]
        likelihood *= own[::-1] if is_negated else own * (1 - negation)
        is_negated = False
    return likelihood


@pytest.mark.parametrize(("negation", "strength"), [(0.4, 1.0), (0.7, 0.5)])
def test_the_posterior_is_that_of_the_words_with_the_negated_ones_turned_round(negation, strength):
    model = load_model("negated_opinions", negation=negation, strength=strength)
    contexts = simulate(model, 300, seed=3)
    answer = posterior(model, contexts)
    for row, text in enumerate(contexts["text"]):
        likelihood = by_hand(text, negation, strength)
        exact = np.log(likelihood / likelihood.sum())
        np.testing.assert_allclose(answer.log_marginals["opinion"][row], exact, rtol=0, atol=1e-10)


def test_texts_of_one_length_have_probabilities_that_sum_to_one():
    model = load_model("negated_opinions")
    n_words = len(lexicon()[0])
    opening, word_or_not, closing = n_words, [*range(n_words), n_words + 1], n_words + 2
    contexts = [[opening, a, b, closing] for a, b in itertools.product(word_or_not, repeat=2)]
    answer = posterior(model, contexts, impossible="mark")
    assert float(answer.log_evidence.exp().sum()) == pytest.approx(1, abs=1e-12)
    possible = ~answer.log_evidence.isneginf().numpy()
    ends_in_not = np.array([context[2] == n_words + 1 for context in contexts])
    assert (possible == ~ends_in_not).all()


def test_not_stands_before_its_share_of_the_words_and_never_before_not_or_the_end():
    model = load_model("negated_opinions", negation=0.3)
    texts = simulate(model, 2000, lengths=40)["text"].str.split()
    pairs = Counter(pair for words in texts for pair in itertools.pairwise(words))
    assert pairs["not", "not"] == pairs["not", "and"] == 0
    n_not = sum(words.count("not") for words in texts)
    n_words = sum(len(words) - 4 for words in texts) - n_not
    assert n_not / n_words == pytest.approx(0.3, abs=0.012)


def test_the_sum_of_the_tilts_is_all_without_not_and_nothing_where_half_is_negated():
    def share(negation):
        model = load_model("negated_opinions", negation=negation)
        contexts = simulate(model, 1000, lengths=20)
        tilts = np.append(lexicon()[1], [0, 0, 0])
        sums = [tilts[tokens].sum() for tokens in contexts["x"]]
        odds = posterior(model, contexts).log_odds()["opinion.bad:good"]
        return np.corrcoef(sums, odds)[0, 1] ** 2

    assert share(0.0) == pytest.approx(1, abs=1e-9)
    assert share(0.5) < 0.02


def test_the_next_word_is_of_the_opinions_own_lexicon():
    model = load_model("negated_opinions")
    contexts = simulate(model, 50, seed=1)
    words, tilts = lexicon()
    p = np.exp(np.array([0.5, -0.5])[:, None] * tilts.numpy())
    p /= p.sum(1, keepdims=True)
    exact = posterior(model, contexts).log_marginals["opinion"].exp().numpy() @ p
    np.testing.assert_allclose(predictive(model, contexts).exp(), exact, atol=1e-12)
    assert model.labels["y"] == words


def test_the_table_is_graded_and_balanced():
    words, tilts = lexicon()
    strong = tilts.abs() >= 0.5
    assert len(set(words)) == len(words)
    assert (tilts.abs() <= 1.5).all()
    assert (tilts[~strong].abs() <= 0.1).all()
    assert (tilts > 0.4).sum() == (tilts < -0.4).sum()
    assert all("," not in word and " " not in word for word in words)


@pytest.mark.parametrize("knobs", [{"negation": 1.0}, {"negation": -0.1}, {"strength": -1.0}])
def test_parameters_out_of_range_are_refused(knobs):
    with pytest.raises(ModelError, match="negation must lie from 0"):
        load_model("negated_opinions", **knobs)
