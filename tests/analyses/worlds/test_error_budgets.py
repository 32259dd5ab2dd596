"""The three errors are told apart, and each is zero exactly where its cause is absent."""

import math

import numpy as np
import pytest
from scipy import special

from concept_ppl.analyses import Estimate, error_budget, population_fit
from concept_ppl.errors import InputError

C, N_TOKENS, LENGTH = 4, 6, 3
RNG = np.random.default_rng(11)
EMISSION = np.log(RNG.dirichlet(np.ones(N_TOKENS), C))
PRIOR = np.log([0.4, 0.3, 0.2, 0.1])


def enumerated():
    """All contexts of three exchangeable tokens: p(x) and log p(c|x)."""
    tokens = np.indices((N_TOKENS,) * LENGTH).reshape(LENGTH, -1).T
    joint = PRIOR + EMISSION[:, tokens].sum(axis=2).T
    log_x = special.logsumexp(joint, axis=1)
    return np.exp(log_x), joint - log_x[:, None]


WEIGHTS, LOG_P = enumerated()


def copy(determinism):
    with np.errstate(divide="ignore"):
        return np.log(determinism * np.eye(C) + (1 - determinism) / C)


def bayes(likelihood):
    return special.logsumexp(LOG_P[:, :, None] + likelihood, axis=1)


def test_where_y_is_the_concept_nothing_is_approximate():
    budget = error_budget(LOG_P, copy(1.0), WEIGHTS)
    for gap in (budget.approximation, budget.remainder):
        assert gap.squared < 1e-9
        assert gap.share < 1e-9
    assert math.isnan(budget.predictor_kl)
    assert budget.predictor is None
    assert budget.sampling == 0


def test_noise_in_y_opens_a_gap_that_grows_with_it():
    gaps = [error_budget(LOG_P, copy(d), WEIGHTS).approximation.share for d in (1, 0.9, 0.6, 0.3)]
    assert gaps == sorted(gaps)
    assert gaps[1] > 0.01


def test_the_argument_of_the_paper_is_an_identity_with_its_remainder():
    """log-ratio = slopes · log p(c|x) + constant − (h_j − h_0), token by token."""
    likelihood = np.log(RNG.dirichlet(np.ones(5), C))
    budget = error_budget(LOG_P, likelihood, WEIGHTS)
    prior = WEIGHTS @ np.exp(LOG_P)
    given_y = prior[:, None] * np.exp(likelihood)
    given_y /= given_y.sum(axis=0)
    named = LOG_P @ given_y  # Σ_c p(c|y) log p(c|x)
    ratios = bayes(likelihood)
    difference = (named[:, 1:] - named[:, :1]) - (ratios[:, 1:] - ratios[:, :1])
    variance = WEIGHTS @ np.square(difference - WEIGHTS @ difference).mean(axis=1)
    np.testing.assert_allclose(budget.remainder.squared, variance, rtol=1e-9)


def test_the_best_slopes_never_do_worse_than_those_of_the_argument():
    for seed in range(5):
        rows = np.random.default_rng(seed).dirichlet(np.full(6, 0.5), C)
        budget = error_budget(LOG_P, np.log(rows), WEIGHTS)
        assert budget.approximation.squared <= budget.remainder.squared + 1e-12


def test_the_gap_is_one_minus_the_population_r2_of_the_log_ratios():
    ratios = bayes(copy(0.7))
    fit = population_fit(LOG_P[:, 1:] - LOG_P[:, :1], ratios[:, 1:] - ratios[:, :1], WEIGHTS)
    budget = error_budget(LOG_P, copy(0.7), WEIGHTS)
    np.testing.assert_allclose(budget.approximation.share, 1 - fit.backward, rtol=1e-8)
    unweighted = error_budget(LOG_P, copy(0.7)).approximation.share
    assert abs(unweighted - budget.approximation.share) > 1e-4


def test_the_predictor_gap_is_its_kl_and_zero_for_bayes():
    likelihood = copy(0.7)
    exact = error_budget(LOG_P, likelihood, WEIGHTS, log_predictor=bayes(likelihood))
    assert abs(exact.predictor_kl) < 1e-12
    assert exact.predictor.squared < 1e-20
    uniform = np.full((len(LOG_P), C), -math.log(C))
    p = np.exp(bayes(likelihood))
    budget = error_budget(LOG_P, likelihood, WEIGHTS, log_predictor=uniform)
    w = WEIGHTS / WEIGHTS.sum()
    np.testing.assert_allclose(budget.predictor_kl, w @ (p * np.log(p * C)).sum(axis=1))
    np.testing.assert_allclose(budget.predictor.share, 1.0)  # it explains nothing of the ratios
    assert budget.approximation == exact.approximation


def test_a_predictor_that_is_off_by_a_constant_has_kl_but_no_gap_of_ratios():
    """What an intercept can mend is no misfit of f, though it is one of p(y|x)."""
    shifted = bayes(copy(0.7)) + np.array([0.5, 0, 0, 0])
    shifted -= special.logsumexp(shifted, axis=1, keepdims=True)
    budget = error_budget(LOG_P, copy(0.7), WEIGHTS, log_predictor=shifted)
    assert budget.predictor_kl > 0.01
    assert budget.predictor.squared < 1e-20


def test_where_y_tells_nothing_there_is_no_variance_to_have_a_share_of():
    budget = error_budget(LOG_P, copy(0.0), WEIGHTS)
    assert budget.approximation.squared < 1e-20
    assert math.isnan(budget.approximation.share)
    assert "of no variance" in budget.summary()


def test_a_token_that_nobody_emits_has_no_ratio():
    with np.errstate(divide="ignore"):
        likelihood = np.log(np.hstack([np.zeros((C, 1)), np.exp(copy(0.8))]))
    budget = error_budget(LOG_P, likelihood, WEIGHTS)
    assert (budget.reference, budget.ratios) == (1, C - 1)
    assert budget.approximation == error_budget(LOG_P, copy(0.8), WEIGHTS).approximation


def test_sampling_error_is_the_width_of_the_interval_given():
    sampled = Estimate(0.9, 0.01, 0.88, 0.93, 0.95, 0.0, 100, 100)
    budget = error_budget(LOG_P, copy(0.8), WEIGHTS, sampled=sampled)
    assert budget.sampling == pytest.approx(0.05)
    assert budget.tidy().set_index("quantity").loc["sampling_width", "estimate"] == budget.sampling


def test_the_results_of_an_impossible_prediction_leave_the_infinite_number_out():
    with np.errstate(divide="ignore"):
        impossible = np.log(np.tile([0.0, 0.5, 0.25, 0.25], (len(LOG_P), 1)))
    budget = error_budget(LOG_P, copy(0.8), WEIGHTS, log_predictor=impossible)
    assert budget.predictor_kl == math.inf
    assert not np.isinf(budget.tidy()["estimate"]).any()


def test_zeros_and_what_is_no_distribution_are_refused_by_name():
    zero = LOG_P.copy()
    zero[7] = [0.0, -math.inf, -math.inf, -math.inf]
    with pytest.raises(InputError, match=r"−inf at row 7, value 1 .1 rows"):
        error_budget(zero, copy(1.0), WEIGHTS)
    with pytest.raises(InputError, match="log_likelihood does not sum to one at row 0"):
        error_budget(LOG_P, np.zeros((C, 3)), WEIGHTS)
    with pytest.raises(InputError, match="3 rows, log_posterior 4 columns"):
        error_budget(LOG_P, copy(0.5)[:3], WEIGHTS)
    with pytest.raises(InputError, match="log_predictor has shape"):
        error_budget(LOG_P, copy(0.5), WEIGHTS, log_predictor=bayes(copy(0.5))[:-1])


def test_summary_table_and_figure_say_the_same():
    budget = error_budget(LOG_P, copy(0.7), WEIGHTS, log_predictor=bayes(copy(0.5)))
    rows = budget.tidy().set_index("quantity")["estimate"]
    assert f"{rows['approximation_share']:.3g} of the variance" in budget.summary()
    assert "predictor" in budget.to_latex()
    assert budget.plot().axes
