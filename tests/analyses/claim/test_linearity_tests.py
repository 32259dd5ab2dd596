"""A straight map passes, a bent one does not, noise is noise; and the test keeps its level."""

from collections import Counter

import numpy as np
import pytest
import statsmodels.api as sm
from matplotlib.figure import Figure
from scipy import stats

from concept_ppl.analyses import RESULT_COLUMNS, Linearity, decompose_states
from concept_ppl.analyses import linearity as ask
from concept_ppl.analyses.agreement.canonical import decoded_directions
from concept_ppl.analyses.claim.linearity_tests import (
    added_term_tests,
    bounded_products,
    diagnose,
    strongest,
)
from concept_ppl.analyses.covariance.sandwich import cluster_members, least_squares
from concept_ppl.analyses.covariance.satterthwaite import hotelling_df
from concept_ppl.analyses.designs.design import make_design
from concept_ppl.errors import InputError


def straight(Z, rng):
    return Z


def bent(Z, rng):
    return Z + 0.5 * np.square(Z)


def noise(Z, rng):
    return rng.normal(size=Z.shape)


def world(shape, seed, n=250, d=6, q=2):
    """States (n, d) that are a noisy linear image of ``shape`` of the contrasts."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, q))
    F = shape(Z, rng) @ rng.normal(size=(q, d)) + 0.5 * rng.normal(size=(n, d))
    return F, Z


def numbers(result: Linearity):
    """What must not change with the coordinates of the states."""
    return result.tidy()[["estimate", "ci_low", "ci_high", "p_value"]].to_numpy()


@pytest.mark.parametrize(
    ("shape", "verdict"), [(straight, "affine"), (bent, "curved"), (noise, "no relation")]
)
def test_a_planted_world_gets_its_verdict(shape, verdict):
    # At a rate of .95, fewer than 6 of 8 happen with probability .006; at .3, .99.
    worlds = (world(shape, seed) for seed in range(8))
    verdicts = Counter(ask(*pair, n_folds=3).verdict.split(":")[0] for pair in worlds)
    assert verdicts[verdict] >= 6, verdicts


def heavy_and_heteroscedastic(seed, n=200):
    rng = np.random.default_rng(seed)
    Z = rng.standard_t(3, size=(n, 2))
    spread = np.exp(0.5 * np.clip(Z[:, :1], -6, 6)) * np.sqrt(1 + Z[:, 1:] ** 2)
    return Z @ rng.normal(size=(2, 6)) + spread * rng.normal(size=(n, 6)), Z


def rejections(test, replications):
    count = 0
    for seed in range(replications):
        F, Z = heavy_and_heteroscedastic(seed)
        states = decompose_states(F, seed=seed)
        count += test(decoded_directions(states, Z), Z, states.design) <= 0.05
    return count


def robust(directions, Z, design):
    return strongest(added_term_tests(directions, Z, design)).p_value


def classical(directions, Z, design):
    """The wrong variant: plain squares, and errors of equal variance."""
    X = sm.add_constant(np.column_stack([Z, np.square(Z), Z[:, 0] * Z[:, 1]]))
    fits = [sm.OLS(column, X).fit() for column in directions.T]
    return 2.0 * min(float(fit.f_test(np.eye(6)[3:]).pvalue) for fit in fits)


def test_added_terms_keep_their_level_where_the_classical_test_does_not():
    # Binomial(150, .05): above 16 with probability .001.
    assert rejections(robust, 150) <= 16
    assert rejections(classical, 60) >= 20


def test_the_wald_statistic_is_that_of_statsmodels():
    rng = np.random.default_rng(2)
    F, Z = world(bent, 2)
    weights = rng.uniform(0.5, 2.0, size=len(Z))
    design = make_design(len(Z), weights=weights)
    own = [np.column_stack([np.ones(len(Z)), Z]) * (design.folds == k)[:, None] for k in range(5)]
    X = np.column_stack([*own, bounded_products(Z, design)])
    fit = sm.WLS(F[:, 0], X, weights=design.weights).fit(cov_type="HC2", use_t=True)
    reference = fit.wald_test(np.eye(18)[15:], use_f=True, scalar=True)
    [test] = added_term_tests(F[:, :1], Z, design)
    fit = least_squares(X, F[:, :1], design.weights, [str(i) for i in range(18)])
    eta = hotelling_df(fit, cluster_members(design.clusters), (1,), 15)[0]
    wald = 3 * float(reference.statistic)
    assert test.statistic == pytest.approx((eta - 2) / (3 * eta) * wald, rel=1e-8)
    assert test.p_value == pytest.approx(stats.f.sf(test.statistic, 3, eta - 2), rel=1e-8)


def test_clusters_keep_the_level_of_the_added_terms():
    rejected = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        clusters = np.arange(240) % 60
        Z = rng.normal(size=(60, 2))[clusters] + rng.normal(size=(240, 2))
        errors = rng.normal(size=(60, 3))[clusters] + rng.normal(size=(240, 3))
        F = np.c_[Z, Z[:, 0]] + np.abs(Z[:, :1]) * errors
        states = decompose_states(F, clusters=clusters, seed=seed)
        rejected += robust(decoded_directions(states, Z), Z, states.design) <= 0.05
    assert rejected <= 9  # Binomial(60, .05): more with probability 8e-4


def test_repeats_of_a_context_are_no_new_evidence():
    F, Z = world(straight, 4)
    context = np.repeat(np.arange(len(Z)), 3)
    [once] = added_term_tests(F[:, :1], Z, make_design(len(Z)))
    design = make_design(3 * len(Z), clusters=context)
    [thrice] = added_term_tests(F[context, :1], Z[context], design)
    assert thrice.statistic == pytest.approx(once.statistic, rel=0.02)
    [naive] = added_term_tests(F[context, :1], Z[context], make_design(3 * len(Z)))
    assert naive.statistic > 2.5 * once.statistic


def test_coordinates_of_the_states_do_not_matter():
    F, Z = world(bent, 5)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    np.testing.assert_allclose(
        numbers(ask(7.0 * F @ rotation - 3.0, Z, n_folds=3)),
        numbers(ask(F, Z, n_folds=3)),
        rtol=1e-6,
        atol=1e-8,
    )


def test_the_added_terms_do_not_depend_on_the_basis_of_the_contrasts():
    F, Z = world(straight, 6)
    design = make_design(len(Z))
    turned = Z @ np.array([[2.0, 1.0], [0.0, -0.5]]) + 4.0
    pairs = zip(added_term_tests(F, Z, design), added_term_tests(F, turned, design), strict=True)
    for test, same in pairs:
        assert same.statistic == pytest.approx(test.statistic, rel=1e-8)


def test_the_order_of_the_rows_does_not_matter():
    F, Z = world(bent, 7)
    names, order = np.arange(len(Z)), np.random.default_rng(1).permutation(len(Z))
    first = ask(F, Z, clusters=names, n_folds=3).tidy().set_index(["quantity", "term"])
    second = (
        ask(F[order], Z[order], clusters=names[order], n_folds=3)
        .tidy()
        .set_index(["quantity", "term"])
    )
    kept = [
        name not in {"diagnostic_rainbow", "diagnostic_harvey_collier"} for name, _ in first.index
    ]
    np.testing.assert_allclose(
        second.loc[kept, ["estimate", "p_value"]],
        first.loc[kept, ["estimate", "p_value"]],
        rtol=1e-6,
        atol=1e-8,
    )


def test_too_few_rows_or_clusters_and_unrelated_states_make_the_test_invalid():
    few = ask(*world(straight, 0, n=60)).added_terms
    assert "60 rows are fewer than 4" in few.invalid_because
    F, Z = world(straight, 0, q=4)
    tests = added_term_tests(F, np.tile(Z, (4, 1))[: len(F)], make_design(len(F)))
    assert tests[0].is_valid
    clusters = np.arange(len(F)) % 8
    tests = added_term_tests(F, Z, make_design(len(F), clusters=clusters))
    assert "8 clusters are too few for 35 coefficients" in tests[0].invalid_because
    assert "depend on each other" in ask(*world(noise, 1)).added_terms.invalid_because


def test_tidy_summary_latex_and_plot():
    result = ask(*world(straight, 3), target="posterior", layer="resid.3")
    table = result.tidy()
    assert tuple(table.columns) == RESULT_COLUMNS
    assert set(table["layer"]) == {"resid.3"}
    assert "diagnostic_reset" in set(table["quantity"])
    assert "heteroscedasticity" in result.summary()
    assert "toprule" in result.to_latex()
    assert isinstance(result.plot(), Figure)


def test_bad_arguments_are_refused():
    F, Z = world(straight, 0)
    with pytest.raises(InputError, match="margin is 0"):
        ask(F, Z, margin=0.0)
    with pytest.raises(InputError, match="2 contrasts, F only 1"):
        ask(F[:, :1], Z)


def test_harvey_collier_sees_a_bend_along_the_order_of_the_rows_and_no_other():
    rng = np.random.default_rng(3)
    Z = np.sort(rng.normal(size=(300, 1)), axis=0)
    noise = 0.1 * rng.normal(size=300)

    def p_value(direction):
        named = {part.name: part.test for part in diagnose(direction, Z)}
        return named["harvey_collier"].p_value

    assert p_value(Z[:, 0] + noise) > 0.01
    assert p_value(Z[:, 0] ** 2 + noise) < 1e-6
