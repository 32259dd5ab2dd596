"""Planted powers of the posterior are found, with intervals that cover, or nothing is claimed."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import special

from concept_ppl.analyses import RESULT_COLUMNS, decompose_states, posterior_form
from concept_ppl.analyses.claim.power_path import best_powers, contrasts, power_contrasts
from concept_ppl.analyses.designs.cross_fits import cross_fit, whitener
from concept_ppl.analyses.designs.design import make_design
from concept_ppl.analyses.designs.held_out import squared_errors
from concept_ppl.analyses.designs.shares import explained_share
from concept_ppl.errors import InputError

COARSE = (-0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)


def world(alpha, seed, n=250, d=6, n_values=3, signal=1.5):
    """States that are affine in contrasts of p^α up to noise; noise alone if α is None."""
    rng = np.random.default_rng(seed)
    log_p = special.log_softmax(2.0 * rng.normal(size=(n, n_values)), axis=1)
    F = rng.normal(size=(n, d))
    if alpha is not None:
        Z = power_contrasts(log_p, alpha)
        F += signal * Z / Z.std(axis=0) @ rng.normal(size=(n_values - 1, d))
    return F, log_p


def ask(F, log_p, **options):
    return posterior_form(F, log_p, **{"powers": COARSE, "n_folds": 3, **options})


@pytest.mark.parametrize(
    ("alpha", "verdict"),
    [(0.0, "log-posterior"), (0.5, "between"), (1.0, "posterior"), (None, "flat")],
)
def test_a_planted_power_gets_its_verdict(alpha, verdict):
    # At a rate of .95, fewer than 16 of 20 happen with probability .003; at .5, .99.
    results = [ask(*world(alpha, seed)) for seed in range(20)]
    verdicts = Counter(result.verdict.split(":")[0] for result in results)
    assert verdicts[verdict] >= 16, verdicts
    if alpha is not None:
        covered = sum(r.alpha.ci_low <= alpha <= r.alpha.ci_high for r in results)
        assert covered >= 16, covered


def test_the_wrong_end_fits_worse_and_the_difference_says_so():
    result = ask(*world(0.0, 1))
    fits = dict(result.profile)
    assert result.difference.ci_low > 0
    assert result.difference.estimate == pytest.approx(
        fits[0.0].estimate - fits[1.0].estimate, abs=1e-12
    )
    assert ask(*world(1.0, 1)).difference.ci_high < 0


def test_a_binary_concept_that_is_never_sure_leaves_the_question_open():
    rng = np.random.default_rng(0)
    log_p = special.log_softmax(0.2 * rng.normal(size=(250, 2)), axis=1)
    F = power_contrasts(log_p, 0.0) / 0.2 + rng.normal(size=(250, 3))
    assert ask(F, log_p).verdict == "flat: the data cannot tell"


def test_the_path_runs_from_log_odds_to_differences_of_probabilities():
    log_p = world(0.0, 2)[1]
    log_odds, plain = log_p[:, 1:] - log_p[:, :1], np.exp(log_p[:, 1:]) - np.exp(log_p[:, :1])
    np.testing.assert_allclose(power_contrasts(log_p, 0.0), log_odds, atol=1e-15)
    np.testing.assert_allclose(power_contrasts(log_p, 1.0), plain, atol=1e-14)
    np.testing.assert_allclose(power_contrasts(log_p, 1e-9), log_odds, rtol=1e-6, atol=1e-6)


def test_the_maximum_is_found_far_below_the_spacing_of_the_grid():
    F, log_p = world(0.3, 3, d=2)
    exact = power_contrasts(log_p, 0.3)
    design = make_design(len(F))
    [best] = best_powers(exact, [log_p], design, np.ones((1, len(F))), np.array(COARSE))
    assert best == pytest.approx(0.3, abs=1e-4)


def test_the_fit_at_one_power_is_that_of_whitened_contrasts():
    F, log_p = world(0.0, 4)
    states = decompose_states(F, n_folds=3)
    design, Z = states.design, contrasts([log_p], 0.5)
    fit = cross_fit(states, Z, whiten=True)
    sse = sst = 0.0
    for k in range(3):
        W, rows = whitener(Z, design, (k,)), design.folds == k
        sse += np.square((Z[rows] - fit.predicted[rows]) @ W).sum()
        sst += np.square((Z[rows] - fit.baseline[rows]) @ W).sum()
    value = dict(ask(F, log_p).profile)[0.5]
    assert value.estimate == pytest.approx(1.0 - sse / sst, rel=1e-10)


def test_for_a_binary_concept_the_fit_and_its_interval_are_the_plain_ones():
    # One contrast, standardised: R² does not depend on its scale, up to folds' own scales.
    F, log_p = world(0.0, 5, n_values=2)
    states = decompose_states(F, n_folds=3)
    Z = contrasts([log_p], 0.0)
    plain = explained_share(squared_errors(cross_fit(states, Z)), 0.95)
    value = dict(ask(F, log_p).profile)[0.0]
    np.testing.assert_allclose(
        [value.estimate, value.std_error], [plain.estimate, plain.std_error], rtol=0.05
    )


def numbers(result):
    return result.tidy()[["estimate", "ci_low", "ci_high"]].to_numpy()


def test_coordinates_of_the_states_and_the_reference_value_do_not_matter():
    F, log_p = world(0.5, 6)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    expected = numbers(ask(F, log_p))
    turned = numbers(ask(5.0 * F @ rotation + 2.0, log_p))
    np.testing.assert_allclose(turned[1:], expected[1:], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(turned[0], expected[0], atol=1e-3)  # α is read off a fine grid
    other = numbers(ask(F, log_p[:, ::-1]))
    np.testing.assert_allclose(other[1:], expected[1:], rtol=1e-8, atol=1e-8)


def test_rows_of_a_cluster_are_drawn_together():
    F, log_p = world(0.5, 7, signal=0.5)
    context = np.repeat(np.arange(len(F)), 4)
    once = ask(F, log_p).alpha
    repeated = ask(F[context], log_p[context], clusters=context).alpha
    naive = ask(F[context], log_p[context]).alpha
    assert repeated.std_error == pytest.approx(once.std_error, rel=0.3)
    assert naive.std_error < 0.7 * once.std_error


def test_two_concepts_are_asked_together():
    F, log_p = world(1.0, 8)
    G, other = world(1.0, 9)
    assert ask(F + G, [log_p, other]).verdict == "posterior"


def test_tidy_summary_latex_and_plot():
    result = ask(*world(0.0, 3), target="mood", layer="resid.3")
    table = result.tidy()
    assert tuple(table.columns) == RESULT_COLUMNS
    assert len(table) == 3 + len(COARSE)
    assert "log-posterior" in result.summary()
    assert "toprule" in result.to_latex()
    assert isinstance(result.plot(), Figure)


def with_a_zero(log_p):
    log_p = log_p.copy()
    log_p[9] = [-np.inf, np.log(0.5), np.log(0.5)]
    return log_p


F0, LOG_P0 = world(0.0, 0)
REFUSALS = {
    "zero": (with_a_zero(LOG_P0), {}, r"−inf at row 9, value 0 \(1 rows.*Leave these rows out"),
    "unnormalised": (LOG_P0 + 0.1, {}, "does not sum to one at row 0"),
    "shape": (LOG_P0[:, 0], {}, r"shape \(250,\)"),
    "grid": (LOG_P0, {"powers": (0.0, 0.5, 1.0)}, "at least four"),
    "ends": (LOG_P0, {"powers": (0.0, 0.25, 0.5, 0.75)}, "lack 1"),
    "replicates": (LOG_P0, {"n_replicates": 10}, "n_replicates is 10"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_bad_input_is_refused_with_what_where_and_the_remedy(case):
    log_p, options, message = REFUSALS[case]
    with pytest.raises(InputError, match=message):
        ask(F0, log_p, **options)


def test_powers_below_zero_that_a_sharp_posterior_does_not_allow_are_left_out():
    rng = np.random.default_rng(0)
    log_p = special.log_softmax(300.0 * rng.normal(size=(250, 3)), axis=1)
    F = log_p[:, 1:] - log_p[:, :1] + rng.normal(size=(250, 2))
    result = ask(F, log_p)
    assert min(power for power, _ in result.profile) == 0.0


def test_a_model_that_is_no_nearer_the_logarithm_than_its_control_is_not_called_so():
    F, log_p = world(0.0, 10)
    twin, _ = world(0.0, 10, signal=3.0)
    alone = ask(F, log_p)
    beside = ask(
        F, log_p, controls={"twin": twin, "noise": np.random.default_rng(0).normal(size=(250, 3))}
    )
    assert alone.verdict == "log-posterior"
    assert alone.gap is None
    assert set(beside.best) == {"twin"}
    assert beside.verdict.startswith("as its controls")
    own = beside.tidy().query("control == ''").reset_index(drop=True)
    pd.testing.assert_frame_equal(own, alone.tidy())


def test_a_model_that_is_nearer_the_logarithm_than_its_control_is_called_so():
    F, log_p = world(0.0, 11)
    plain = world(1.0, 11)[0]
    result = ask(F, log_p, controls={"plain": plain})
    [control] = result.controls
    assert result.verdict == "log-posterior"
    assert result.gap.ci_low > 0
    assert result.gap.estimate == pytest.approx(
        result.difference.estimate - control.difference.estimate, abs=1e-12
    )
    assert str(control.alpha) == str(ask(plain, log_p).alpha)
    table = result.tidy().query("control == 'plain'")
    assert set(table["quantity"]) == {"alpha", "r2", "r2_log_minus_plain", "log_minus_plain_gap"}


def test_of_equal_forms_the_gap_covers_zero():
    # 40 pairs of independent noise about one posterior; at a rate of .05, 6 or more: .01.
    wrong = 0
    for seed in range(40):
        F, log_p = world(0.5, seed)
        rng = np.random.default_rng(1000 + seed)
        Z = power_contrasts(log_p, 0.5)
        other = rng.normal(size=F.shape) + 1.5 * Z / Z.std(axis=0) @ rng.normal(size=(2, 6))
        gap = posterior_form(
            F,
            log_p,
            controls={"other": other},
            powers=(0.0, 0.5, 1.0, 1.5),
            n_replicates=40,
            n_folds=3,
        ).gap
        wrong += not gap.ci_low <= 0.0 <= gap.ci_high
    assert wrong <= 5, wrong


def test_the_grid_is_widened_until_the_interval_lies_inside_it_or_the_limit_is_reached():
    F, log_p = world(2.0, 1, n=400)
    given = ask(F, log_p)
    wider = posterior_form(F, log_p, n_folds=3)
    assert given.alpha.ci_high == pytest.approx(1.5)
    assert 1.5 < wider.alpha.ci_high < 3.0
    assert wider.alpha.ci_low <= 2.0 <= wider.alpha.ci_high
    assert wider.profile[-1][0] > 1.5


def test_an_end_is_named_where_the_whole_interval_is_near_it():
    log_p = world(0.0, 0, n=3000)[1]
    rng = np.random.default_rng(5)
    Z = power_contrasts(log_p, 0.05)
    F = Z / Z.std(axis=0) @ rng.normal(size=(2, 6)) + 0.2 * rng.normal(size=(3000, 6))
    result = ask(F, log_p)
    assert 0.0 < result.alpha.ci_low < result.alpha.ci_high < 0.1
    assert result.verdict == "log-posterior"
