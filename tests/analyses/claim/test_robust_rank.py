"""Rank tests: linearmodels' numbers, the full covariance by brute force, invariances, size."""

import numpy as np
import pytest
from linearmodels.iv import kleibergen_paap
from matplotlib.figure import Figure

from concept_ppl.analyses import RESULT_COLUMNS, rank_tests
from concept_ppl.analyses.claim.robust_rank import _robin_smith, correlations, rank_test


def planted(seed, n=200, q=3, d=5, rank=2, noise=1.0):
    """States whose map has singular values 1, and errors that grow with the first contrast."""
    rng = np.random.default_rng(seed)
    Z = rng.standard_t(6, size=(n, q))
    bases = [np.linalg.qr(rng.normal(size=(side, side)))[0][:, :rank] for side in (q, d)]
    A = bases[0] @ bases[1].T
    return Z @ A + noise * (0.5 + np.abs(Z[:, :1])) * rng.normal(size=(n, d)), Z


def rk(test, n_clusters):
    """Undo the reference to Hotelling's T²."""
    ratio = test.statistic * test.df_num / test.df_denom
    return n_clusters * ratio / (1 + ratio)


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_last_null_has_the_rk_statistic_of_linearmodels(clustered, weighted):
    F, Z = planted(0)
    n = len(F)
    clusters = np.arange(n) // 4 if clustered else None
    weights = np.random.default_rng(1).uniform(0.5, 2, n) if weighted else np.ones(n)
    root = np.sqrt(weights)[:, None]
    config = {"cov_type": "clustered", "cov_config": {"clusters": clusters}} if clustered else {}
    peer = kleibergen_paap(Z * root, F * root, root, **config)
    test = rank_tests(F, Z, weights=weights, clusters=clusters).tests[-1]
    assert rk(test, n // 4 if clustered else n) == pytest.approx(peer.stat, rel=1e-9)
    assert test.df_num == peer.df == 3


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_lower_ranks_agree_with_the_whole_covariance_of_the_slopes(rank):
    F, Z = planted(2, rank=3)
    n = len(F)
    roots = [np.linalg.inv(np.linalg.cholesky(np.cov(side.T, ddof=0))) for side in (Z, F)]
    z, f = ((side - side.mean(0)) @ root.T for side, root in zip((Z, F), roots, strict=True))
    theta = z.T @ f / n
    whole = np.einsum("ia,ib->iab", z, f).reshape(n, -1)
    covariance = whole.T @ whole / n
    U, _, Vt = np.linalg.svd(theta)
    select = np.kron(U[:, rank:], Vt.T[:, rank:])
    left = select.T @ theta.ravel()
    expected = n * left @ np.linalg.solve(select.T @ covariance @ select, left)
    test = rank_tests(F, Z).tests[rank]
    assert rk(test, n) == pytest.approx(expected, rel=1e-9)
    assert test.df_num == (3 - rank) * (5 - rank)
    assert test.df_denom == n - test.df_num


@pytest.mark.parametrize("method", ["kleibergen_paap", "robin_smith"])
def test_affine_maps_of_either_side_and_the_order_of_rows_change_nothing(method):
    F, Z = planted(3)
    rng = np.random.default_rng(4)
    before = rank_tests(F, Z, method=method)
    order = rng.permutation(len(F))
    moved = 1e3 * (F @ rng.normal(size=(5, 5)) + 7)[order]
    after = rank_tests(moved, (Z @ rng.normal(size=(3, 3)) - 2)[order], method=method)
    np.testing.assert_allclose(
        after.tidy()[["estimate", "p_value"]], before.tidy()[["estimate", "p_value"]], rtol=1e-8
    )


def test_repeated_rows_of_one_cluster_count_once():
    F, Z = planted(5, n=80)
    context = np.repeat(np.arange(80), 3)
    once, repeated = rank_tests(F, Z), rank_tests(F[context], Z[context], clusters=context)
    for a, b in zip(once.tests, repeated.tests, strict=True):
        assert b.statistic == pytest.approx(a.statistic, rel=1e-9)
    assert repeated.n_clusters == 80


@pytest.mark.parametrize("method", ["kleibergen_paap", "robin_smith"])
def test_a_weight_of_three_is_a_context_that_was_seen_three_times(method):
    F, Z = planted(10, n=60)
    counts = np.random.default_rng(0).integers(1, 4, 60)
    context = np.repeat(np.arange(60), counts)
    weighted = rank_tests(F, Z, weights=counts, method=method)
    repeated = rank_tests(F[context], Z[context], clusters=context, method=method)
    for a, b in zip(weighted.tests, repeated.tests, strict=True):
        assert b.statistic == pytest.approx(a.statistic, rel=1e-9)


def test_robin_and_smith_matches_the_weighted_sum_that_it_stands_for():
    F, Z = planted(6, rank=1, noise=2.0)
    found = correlations(F, Z, np.ones(len(F)), np.arange(len(F)))
    products = np.einsum("ia,ib->iab", found.Z @ found.U[:, 1:], found.Y @ found.V[:, 1:])
    weights = np.linalg.eigvalsh(np.cov(products.reshape(len(F), -1).T, ddof=0) * len(F))
    draws = np.random.default_rng(0).chisquare(1, size=(100_000, len(weights))) @ weights
    exact = np.mean(draws >= np.square(found.values[1:]).sum())
    assert 0.01 < exact < 0.99
    assert rank_test(found, 1, "robin_smith").p_value == pytest.approx(exact, abs=0.02)


def test_both_tests_are_one_where_a_single_restriction_is_left():
    F, Z = planted(7, d=3)
    smith = rank_tests(F, Z, method="robin_smith").tests[-1]
    assert smith.df_num == pytest.approx(1.0)
    assert smith.p_value == pytest.approx(rank_tests(F, Z).tests[-1].p_value, rel=1e-9)


def test_few_clusters_do_not_make_the_weighted_sum_timid():
    """Eight clusters, four restrictions: with tr(S²) as it comes, 2% would be rejected."""
    rng = np.random.default_rng(3)
    rejected = 0
    for _ in range(400):
        scores = rng.normal(size=(8, 4)) * [1.0, 1.0, 0.7, 0.5]
        rejected += _robin_smith("", scores).p_value < 0.05
    assert 6 <= rejected <= 36  # Binomial(400, .05): outside with probability 2e-3


def test_a_true_null_is_rejected_as_often_as_it_should_be():
    p_values, statistics = [], []
    for seed in range(300):
        F, Z = planted(seed, n=120)
        test = rank_tests(F, Z).tests[2]
        p_values.append(test.p_value)
        statistics.append(rk(test, 120))
    # Binomial(300, .05): outside 4 … 29 with probability 1e-3. With six degrees of freedom for
    # the three that are left, hardly any would be.
    assert 4 <= np.sum(np.array(p_values) < 0.05) <= 29
    assert np.mean(statistics) == pytest.approx(3.0, abs=0.4)


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
@pytest.mark.parametrize("method", ["kleibergen_paap", "robin_smith"])
def test_the_planted_rank_is_found(rank, method):
    right = [
        rank_tests(*planted(seed, rank=rank, noise=0.4), method=method, level=0.99).estimated_rank
        == rank
        for seed in range(40)
    ]
    assert np.mean(right) >= 0.95


def test_states_of_exactly_lower_rank_are_never_said_to_have_more():
    F, Z = planted(8, noise=0.0)
    found = rank_tests(F, Z)
    assert found.estimated_rank == 2
    assert found.full_rank == 3
    assert found.tests[2].p_value == 1.0
    assert found.tests[1].p_value < 1e-6


def test_too_few_clusters_are_a_reason_and_not_a_number():
    F, Z = planted(9)
    found = rank_tests(F, Z, clusters=np.arange(len(F)) % 10)
    assert "10 clusters leave the covariance of 15 restrictions singular" in str(found.tests[0])
    assert found.estimated_rank == 0
    assert found.tests[2].is_valid
    assert rank_tests(F, Z, clusters=np.arange(len(F)) % 10, method="robin_smith").tests[0].is_valid


def test_results_read_alike():
    found = rank_tests(*planted(0), layer="final_norm")
    table = found.tidy()
    assert tuple(table.columns) == RESULT_COLUMNS
    assert list(table["term"]) == [f"log_odds:rank_at_most_{r}" for r in range(3)]
    assert found.summary().splitlines()[0].endswith("2 of 3")
    assert r"\toprule" in found.to_latex()
    assert isinstance(found.plot(), Figure)
