"""Signs are flipped unit by unit, and what is made anew from them is the entry itself."""

import numpy as np
import pytest

from concept_ppl.analyses.pairs import counterfactual_matrices
from concept_ppl.analyses.pairs.counterfactual_matrices import counterfactual_matrix
from concept_ppl.analyses.pairs.sign_flips import flip_signs, smallest_p_value

from .planted_pairs import noise_words, planted_words


def test_without_a_flip_the_sums_are_the_diagonal(monkeypatch):
    seen = []
    original = counterfactual_matrices.flipped_diagonal
    monkeypatch.setattr(
        counterfactual_matrices, "flipped_diagonal", lambda f: seen.append(f) or original(f)
    )
    words = planted_words(0)
    for estimator in ("mean difference", "whitened", "LDA"):
        matrix = counterfactual_matrix(words.F, words.design(), estimator=estimator, n_flips=999)
        observed = seen[-1].observed / len(words.design().halves)
        np.testing.assert_allclose(observed, [v.estimate for v in matrix.diagonal], atol=1e-5)


def test_signs_are_one_or_minus_one_evenly():
    signs = flip_signs(50, 2000, seed=0)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert abs(signs.mean()) < 0.02


def test_the_smallest_p_value_halves_with_each_unit():
    assert smallest_p_value(4) == 0.125
    assert smallest_p_value(11) < 0.05 / 27 < smallest_p_value(10)


def test_a_shared_lexeme_is_flipped_once():
    # Copies of a pair under other words of the same lexeme add pairs, but no evidence.
    words = noise_words(3, n=5)
    matrix = counterfactual_matrix(words.F, words.design(), n_flips=9_999)
    floor = smallest_p_value(5)
    assert min(value.p_value for value in matrix.diagonal) > 0.9 * floor
    assert matrix.entries[0][0].n_clusters == 5
    assert matrix.mean_diagonal.n_clusters == 10


@pytest.mark.parametrize("seed", range(3))
def test_the_null_quantile_of_noise_bounds_its_entries(seed):
    words = noise_words(seed, n=60)
    matrix = counterfactual_matrix(words.F, words.design(), n_flips=999)
    diagonal = np.array([value.estimate for value in matrix.diagonal])
    assert (diagonal < 2.0 * np.diag(matrix.null)).all()
