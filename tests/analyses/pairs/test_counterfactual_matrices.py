"""Weights learned from some words are held against others: nothing from noise, all from a rule."""

from dataclasses import replace

import numpy as np
import pytest

from concept_ppl.analyses.pairs.counterfactual_matrices import counterfactual_matrix, matrix_of
from concept_ppl.analyses.pairs.designs import make_pair_design
from concept_ppl.analyses.pairs.weights import ESTIMATORS
from concept_ppl.errors import InputError

from .planted_pairs import NAMES, noise_words, planted_words

LINEAR = ("mean difference", "whitened", "LDA")


def measured(words, **options):
    options = {"n_flips": 999} | options
    costly = options.get("estimator") == "logistic"
    return counterfactual_matrix(words.F, words.design(n_splits=2 if costly else 10), **options)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_pairs_that_all_differ_alike_have_a_cosine_of_one(estimator):
    words = planted_words(0, noise=0.0)
    matrix = measured(words, estimator="mean difference" if estimator == "LDA" else estimator)
    floor = 0.8 if estimator == "logistic" else 1.0 - 1e-9
    assert min(value.estimate for value in matrix.diagonal) >= floor
    assert [value.estimate for value in matrix.order] == [1.0] * 3


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_noise_has_no_matrix_although_lists_share_their_first_words(estimator):
    # In sample, and in folds that share lexemes, the first two concepts have a cosine of one half.
    tables = [
        matrix_of(measured(noise_words(s, n=40), estimator=estimator).entries, "estimate")
        for s in range(3)
    ]
    assert np.abs(np.mean(tables, axis=0)).max() < 0.08


def test_cosines_of_unrelated_and_related_concepts_are_told_apart():
    words = planted_words(1, n=200)
    table = matrix_of(measured(words, estimator="mean difference").entries, "estimate")
    assert table[0, 1] / table[0, 0] == pytest.approx(0.6, abs=0.1)
    assert np.abs(table[:2, 2]).max() < 0.1


def test_neither_the_scale_of_states_nor_where_they_lie_matters():
    words = planted_words(2)
    one = measured(words, estimator="logistic")
    far = replace(words, F=1000.0 * words.F + 7.0)
    moved = measured(far, estimator="logistic")
    tables = [matrix_of(matrix.entries, "estimate") for matrix in (one, moved)]
    np.testing.assert_allclose(*tables, atol=1e-3)


def test_whitening_finds_an_offset_beside_coordinates_of_large_noise():
    words = planted_words(3, n=80)
    loud = np.hstack([words.F, 10.0 * np.random.default_rng(0).normal(size=(len(words.F), 2))])
    found = {
        estimator: counterfactual_matrix(
            loud, words.design(), estimator=estimator, n_flips=999
        ).mean_diagonal.estimate
        for estimator in ("mean difference", "whitened")
    }
    assert found["whitened"] > 0.4 > found["mean difference"] + 0.2


def test_weights_may_be_made_of_other_vectors_of_the_same_words():
    words = planted_words(4)
    same = counterfactual_matrix(
        words.F, words.design(), estimator="mean difference", F_weights=words.F, n_flips=999
    )
    noise = noise_words(4).F
    other = counterfactual_matrix(
        words.F, words.design(), estimator="mean difference", F_weights=noise, n_flips=999
    )
    assert same.mean_diagonal == measured(words, estimator="mean difference").mean_diagonal
    assert abs(other.mean_diagonal.estimate) < 0.25 < same.mean_diagonal.estimate


def test_a_concept_of_four_pairs_cannot_reject_and_one_of_thirty_can():
    words = planted_words(5, noise=0.05)
    few = np.flatnonzero((words.concept != 2) | (np.arange(len(words.concept)) >= 86))
    design = make_pair_design(words.first[few], words.second[few], words.concept[few], names=NAMES)
    matrix = counterfactual_matrix(words.F, design, n_flips=9_999)
    assert matrix.entries[2][2].p_value == pytest.approx(0.125, abs=0.02)
    assert matrix.entries[0][0].p_value == pytest.approx(1e-4)


def test_the_standard_error_is_the_spread_over_new_words():
    for estimator in ("mean difference", "whitened"):
        matrices = [
            measured(planted_words(s, strength=0.5), estimator=estimator) for s in range(40)
        ]
        tables = np.array([matrix_of(m.entries, "estimate") for m in matrices])
        errors = np.array([matrix_of(m.entries, "std_error") for m in matrices])
        ratio = tables.std(axis=0, ddof=1) / errors.mean(axis=0)
        assert 0.8 < np.diag(ratio).mean() < 1.2
        assert 0.7 < ratio.mean() < 1.25


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["mean difference", "whitened"])
def test_intervals_cover_the_expected_entry(estimator):
    matrices = [measured(planted_words(s, strength=0.5), estimator=estimator) for s in range(150)]
    low, high, value = (
        np.array([matrix_of(m.entries, name) for m in matrices])
        for name in ("ci_low", "ci_high", "estimate")
    )
    expected = value.mean(axis=0)
    covered = ((low <= expected) & (expected <= high)).mean(axis=0)
    assert covered.min() > 0.87
    assert covered.mean() > 0.92


@pytest.mark.slow
@pytest.mark.parametrize("estimator", LINEAR)
def test_flips_of_whole_units_hold_their_size(estimator):
    p_values = [
        [value.p_value for value in measured(noise_words(s), estimator=estimator).diagonal]
        for s in range(100)
    ]
    rejected = (np.array(p_values) < 0.05).mean()
    assert rejected < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


def test_tables_and_words_say_what_was_found():
    matrix = measured(planted_words(6), layer="resid.3", control="random weights")
    table = matrix.tidy()
    assert (table["quantity"] == "cosine_diagonal").sum() == 3
    assert (table["quantity"] == "cosine_off_diagonal").sum() == 6
    assert set(table["layer"]) == {"resid.3"}
    assert set(table["control"]) == {"random weights"}
    row = table[table["term"] == f"{NAMES[0]} | {NAMES[2]}"].iloc[0]
    assert row["estimate"] == matrix.entries[0][2].estimate
    assert NAMES[1] in matrix.summary()
    assert r"\begin{" in matrix.to_latex()
    assert matrix.plot().axes
    assert np.isfinite(matrix.null).all()


def test_the_same_seed_gives_the_same_bits():
    words = planted_words(7)
    one, again = (measured(words, seed=3) for _ in range(2))
    assert one.entries == again.entries
    np.testing.assert_array_equal(one.null, again.null)


def test_a_word_without_a_difference_tells_nothing_and_breaks_nothing():
    words = planted_words(8)
    F = np.zeros((len(words.F), 1))
    matrix = counterfactual_matrix(F, words.design(), n_flips=999)
    assert matrix.mean_diagonal.estimate == 0.0
    assert matrix.mean_order.estimate == 0.5


@pytest.mark.parametrize("estimator", ["mean difference", "whitened"])
def test_differences_that_cancel_leave_no_direction_rather_than_one_of_rounding(estimator):
    """In one coordinate a cosine is a sign, and integers say whether it is 1, −1 or 0."""
    n, rng = 40, np.random.default_rng(0)
    steps = np.where(np.arange(n) % 2, 1, -1)
    counts = rng.integers(2, 5, size=n)
    F = np.concatenate([counts, counts + steps, counts, counts + rng.integers(0, 2, n)])
    i = np.arange(n)
    first, second = np.concatenate([i, 2 * n + i]), np.concatenate([n + i, 3 * n + i])
    design = make_pair_design(
        first, second, np.repeat([0, 1], n), names=("cancels", "longer"), n_splits=20
    )
    signs, times = np.zeros(n), np.zeros(n)
    for half in design.halves:
        for training in (half[:n], ~half[:n]):
            direction = np.sign(steps[training].sum())
            signs[~training] += direction * steps[~training]
            times[~training] += direction != 0
    matrix = counterfactual_matrix(F[:, None], design, estimator=estimator, n_flips=999)
    assert times.min() < 20
    assert matrix.diagonal[0].estimate == pytest.approx((signs / times).mean(), abs=1e-12)
    assert matrix.mean_diagonal.std_error < 0.1


def test_bad_arguments_are_refused_in_a_sentence():
    words = planted_words(0)
    design = words.design()
    with pytest.raises(InputError, match="unknown"):
        counterfactual_matrix(words.F, design, estimator="best")
    with pytest.raises(InputError, match="n_flips"):
        counterfactual_matrix(words.F, design, n_flips=10)
    with pytest.raises(InputError, match="names row"):
        counterfactual_matrix(words.F[:20], design)
    with pytest.raises(InputError, match="one space"):
        counterfactual_matrix(words.F, design, F_weights=words.F[:, :3])
