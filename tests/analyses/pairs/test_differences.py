"""Two matrices of the same words are compared pair by pair, so what they share does not blur it."""

import numpy as np
import pytest

from concept_ppl.analyses.pairs.counterfactual_matrices import counterfactual_matrix
from concept_ppl.analyses.pairs.differences import diagonal_difference
from concept_ppl.errors import InputError

from .planted_pairs import noise_words, planted_words


def matrices(words, *states):
    return [counterfactual_matrix(F, words.design(), n_flips=999) for F in states]


def test_a_matrix_does_not_differ_from_itself():
    words = planted_words(0)
    one, again = matrices(words, words.F, words.F)
    assert diagonal_difference(one, again).mean.estimate == 0.0


def test_states_with_the_offset_exceed_noise_and_the_other_way_round():
    words = planted_words(1)
    model, control = matrices(words, words.F, noise_words(1).F)
    found = diagonal_difference(model, control, first="model", second="noise", layer="x")
    other = diagonal_difference(control, model)
    assert found.mean.ci_low > 0.3
    assert other.mean.ci_high < -0.3
    assert found.mean_order.ci_low > 0.2
    table = found.tidy()
    assert set(table["control"]) == {"noise"}
    assert len(table) == 2 + 3
    assert "minus noise" in found.summary()


def test_a_paired_difference_is_surer_than_its_parts():
    words = planted_words(2, strength=0.5)
    near = words.F + 0.02 * np.random.default_rng(0).normal(size=words.F.shape)
    a, b = matrices(words, words.F, near)
    found = diagonal_difference(a, b)
    assert found.mean.std_error < 0.5 * a.mean_diagonal.std_error


def test_other_pairs_are_refused():
    one = matrices(planted_words(0), planted_words(0).F)[0]
    words = planted_words(0, n=31)
    with pytest.raises(InputError, match="same pairs"):
        diagonal_difference(one, matrices(words, words.F)[0])
