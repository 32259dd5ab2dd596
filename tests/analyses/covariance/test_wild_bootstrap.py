"""The wild cluster bootstrap from cluster sums equals one that refits every drawn sample."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from concept_ppl.analyses import linear_map
from concept_ppl.analyses.covariance.wild_bootstrap import draw_multipliers
from concept_ppl.errors import InputError

N_DRAWS = 199


def clustered(n_clusters=14, size=5, d=3, seed=0, slope=0.3):
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(n_clusters), size)
    Z = rng.normal(size=(n_clusters, 2))[clusters] + rng.normal(size=(len(clusters), 2))
    shared = rng.normal(size=(n_clusters, d))[clusters]
    F = slope * Z[:, :1] + shared + rng.normal(size=(len(clusters), d)) * (1 + np.abs(Z[:, :1]))
    return F, Z, clusters


def t_statistic(y, X, clusters, a, null):
    fit = sm.OLS(y, X).fit(
        cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": False}
    )
    return (fit.params[a] - null) / fit.bse[a]


def refitted_p_value(y, X, clusters, a, null, V):
    """Cameron, Gelbach and Miller's WCR bootstrap, sample by sample."""
    others = np.delete(X, a, axis=1)
    shifted = y - null * X[:, a]
    restricted = others @ np.linalg.lstsq(others, shifted, rcond=None)[0] + null * X[:, a]
    observed = abs(t_statistic(y, X, clusters, a, null))
    drawn = [
        abs(t_statistic(restricted + v[clusters] * (y - restricted), X, clusters, a, null))
        for v in V
    ]
    return (1 + sum(t >= observed * (1 - 1e-9) for t in drawn)) / (1 + len(V))


@pytest.mark.parametrize("kind", ["rademacher", "webb"])
def test_p_values_are_those_of_refitted_samples(kind):
    F, Z, clusters = clustered()
    result = linear_map(
        F, Z, clusters=clusters, covariance="wild", n_draws=N_DRAWS, multipliers=kind, seed=3
    )
    V = draw_multipliers(14, N_DRAWS, kind, np.random.default_rng(3))
    X = sm.add_constant(Z)
    expected = [
        [refitted_p_value(y, X, clusters, a, 0.0, V) for y in F.T] for a in range(X.shape[1])
    ]
    np.testing.assert_allclose(result.inference.p_values, expected, rtol=1e-12)


def test_intervals_end_where_the_test_begins_to_reject():
    F, Z, clusters = clustered(d=1)
    result = linear_map(F, Z, clusters=clusters, covariance="wild", n_draws=N_DRAWS, level=0.9)
    V = draw_multipliers(14, N_DRAWS, "rademacher", np.random.default_rng(0))
    X = sm.add_constant(Z)
    for end, inwards in ((result.inference.ci_low, 1), (result.inference.ci_high, -1)):
        step = 1e-4 * inwards * result.std_errors[1, 0]
        inside, outside = (
            refitted_p_value(F[:, 0], X, clusters, 1, end[1, 0] + shift, V)
            for shift in (step, -step)
        )
        assert inside > 0.1 >= outside


def test_the_score_test_of_all_slopes_is_that_of_refitted_restricted_samples():
    F, Z, clusters = clustered()
    result = linear_map(F, Z, clusters=clusters, covariance="wild", n_draws=N_DRAWS, seed=3)
    V = draw_multipliers(14, N_DRAWS, "rademacher", np.random.default_rng(3))
    centred = Z - Z.mean(axis=0)
    largest, observed = np.zeros(N_DRAWS), []
    for y, test in zip(F.T, result.per_output, strict=True):
        scores = centred * (y - y.mean())[:, None]
        S = np.array([scores[clusters == g].sum(axis=0) for g in range(14)])
        M = np.linalg.inv(S.T @ S)
        drawn = np.einsum("bs,st,bt->b", V @ S, M, V @ S)
        observed.append(S.sum(axis=0) @ M @ S.sum(axis=0))
        p_value = (1 + np.sum(drawn >= observed[-1])) / (1 + N_DRAWS)
        assert (test.statistic, test.p_value) == pytest.approx((observed[-1], p_value))
        largest = np.maximum(largest, drawn)
    p_value = (1 + np.sum(largest >= max(observed))) / (1 + N_DRAWS)
    assert result.joint.p_value == pytest.approx(p_value)


def test_multipliers_have_mean_zero_and_variance_one():
    for kind, points in (("rademacher", 2), ("webb", 6)):
        V = draw_multipliers(10, 20_000, kind, np.random.default_rng(0))
        assert len(np.unique(V)) == points
        assert abs(V.mean()) < 4 / np.sqrt(V.size)
        assert abs((V**2).mean() - 1) < 4 * (V**2).std() / np.sqrt(V.size) + 1e-12


def test_the_same_seed_gives_the_same_answer_and_outputs_share_their_signs():
    F, Z, clusters = clustered(d=1)
    twice = linear_map(
        np.hstack([F, 5 * F]), Z, clusters=clusters, covariance="wild", n_draws=N_DRAWS
    )
    np.testing.assert_allclose(*twice.inference.p_values.T, rtol=1e-12)
    np.testing.assert_allclose(5 * twice.inference.ci_low[1:, 0], twice.inference.ci_low[1:, 1])
    again = linear_map(F, Z, clusters=clusters, covariance="wild", n_draws=N_DRAWS)
    np.testing.assert_allclose(again.inference.p_values[:, 0], twice.inference.p_values[:, 0])


def test_few_clusters_and_few_draws_are_said():
    F, Z, clusters = clustered(n_clusters=5, size=12)
    with pytest.warns(UserWarning, match="5 clusters are few even for the wild bootstrap"):
        linear_map(F, Z, clusters=clusters, covariance="wild", n_draws=N_DRAWS)
    with pytest.raises(InputError, match="n_draws is 19"):
        linear_map(F, Z, clusters=clusters, covariance="wild", n_draws=19)


def test_with_seven_clusters_it_is_near_its_size_where_cr1_with_normal_quantiles_is_far_from_it():
    # Outputs with independent errors are replications. Measured with 3,000: wild .067, CR1 .21.
    clusters = np.repeat(np.arange(7), 8)
    n_outputs, n_designs = 100, 10
    rejected = {"wild": 0, "score": 0, "normal": 0}
    for seed in range(n_designs):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=7)[clusters] + 0.3 * rng.normal(size=56)
        F = rng.normal(size=(7, n_outputs))[clusters] + rng.normal(size=(56, n_outputs))
        wild = linear_map(F, x, clusters=clusters, covariance="wild", n_draws=399)
        cr1 = linear_map(F, x, clusters=clusters, covariance="CR1")
        rejected["wild"] += (wild.inference.p_values[1] <= 0.05).sum()
        rejected["score"] += sum(test.p_value <= 0.05 for test in wild.per_output)
        studentised = np.abs(cr1.coefficients[1] / cr1.std_errors[1])
        rejected["normal"] += (studentised > stats.norm.ppf(0.975)).sum()
    n = n_outputs * n_designs
    for test in ("wild", "score"):
        assert stats.binom.ppf(1e-4, n, 0.045) <= rejected[test] <= stats.binom.isf(1e-4, n, 0.075)
    assert rejected["normal"] > stats.binom.isf(1e-4, n, 0.12)
