"""Wilks tests of canonical correlations: published numbers, statsmodels, closed forms, refusals."""

import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats
from statsmodels.multivariate.cancorr import CanCorr

from concept_ppl.analyses import RESULT_COLUMNS, canonical_tests

FITNESS = np.array(
    [
        [191, 36, 50, 5, 162, 60],
        [189, 37, 52, 2, 110, 60],
        [193, 38, 58, 12, 101, 101],
        [162, 35, 62, 12, 105, 37],
        [189, 35, 46, 13, 155, 58],
        [182, 36, 56, 4, 101, 42],
        [211, 38, 56, 8, 101, 38],
        [167, 34, 60, 6, 125, 40],
        [176, 31, 74, 15, 200, 40],
        [154, 33, 56, 17, 251, 250],
        [169, 34, 50, 17, 120, 38],
        [166, 33, 52, 13, 210, 115],
        [154, 34, 64, 14, 215, 105],
        [247, 46, 50, 1, 50, 50],
        [193, 36, 46, 6, 70, 31],
        [202, 37, 62, 12, 210, 120],
        [176, 37, 54, 4, 60, 25],
        [157, 32, 52, 11, 230, 80],
        [156, 33, 54, 15, 225, 73],
        [138, 33, 68, 2, 110, 43],
    ],
    dtype=float,
)
"""Linnerud's fitness data, with which the SAS/STAT manual illustrates PROC CANCORR."""


def planted(seed, n=150, d=7, q=3, rank=1):
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, q))
    return Z[:, :rank] @ rng.normal(size=(rank, d)) + rng.normal(size=(n, d)), Z


def test_the_fitness_data_give_the_numbers_of_the_sas_manual():
    found = canonical_tests(FITNESS[:, :3], FITNESS[:, 3:])
    np.testing.assert_allclose(found.correlations, [0.795608, 0.200556, 0.072570], atol=5e-7)
    np.testing.assert_allclose(found.wilks, [0.35039053, 0.95472266, 0.99473355], atol=5e-9)
    np.testing.assert_allclose([t.statistic for t in found.rao], [2.05, 0.18, 0.08], atol=5e-3)
    np.testing.assert_allclose([t.df_num for t in found.rao], [9, 4, 1])
    np.testing.assert_allclose([t.df_denom for t in found.rao], [34.223, 30, 16], atol=5e-4)
    np.testing.assert_allclose([t.p_value for t in found.rao], [0.0635, 0.9491, 0.7748], atol=5e-5)


@pytest.mark.parametrize(("d", "q"), [(7, 3), (3, 7), (4, 1), (2, 2), (5, 2)])
def test_the_first_null_is_the_multivariate_test_of_statsmodels(d, q):
    F, Z = planted(0, d=d, q=q)
    peer = CanCorr(F, Z).corr_test().stats_mv.loc["Wilks' lambda"].astype(float)
    found = canonical_tests(F, Z)
    assert found.wilks[0] == pytest.approx(peer["Value"], rel=1e-10)
    first = found.rao[0]
    ours = [first.statistic, first.df_num, first.df_denom, first.p_value]
    np.testing.assert_allclose(ours, peer[["F Value", "Num DF", "Den DF", "Pr > F"]], rtol=1e-8)


def test_statsmodels_own_sequence_is_wrong_for_unequal_widths_and_ours_is_not_it():
    F, Z = planted(0)
    theirs = CanCorr(F, Z).corr_test().stats["Den DF"].astype(float).to_numpy()
    ours = [test.df_denom for test in canonical_tests(F, Z).rao]
    assert np.all(np.abs(theirs - ours) > 1)


def test_the_last_null_has_the_f_of_one_multiple_correlation():
    F, Z = planted(1)
    found = canonical_tests(F, Z)
    square = found.correlations[-1] ** 2
    df = (7 - 3 + 1, 150 - 7 - 1)
    test = found.rao[-1]
    assert (test.df_num, test.df_denom) == df
    assert test.statistic == pytest.approx(square / (1 - square) * df[1] / df[0], rel=1e-10)


def test_bartlett_has_its_formula():
    F, Z = planted(2)
    found = canonical_tests(F, Z)
    for k, (wilks, test) in enumerate(zip(found.wilks, found.bartlett, strict=True)):
        expected = -(150 - 1 - (7 + 3 + 1) / 2) * np.log(wilks)
        assert test.statistic == pytest.approx(expected, rel=1e-10)
        assert test.p_value == pytest.approx(stats.chi2.sf(expected, (7 - k) * (3 - k)), rel=1e-8)


def test_sequential_nulls_keep_their_size_with_normal_errors():
    rejected = np.array(
        [
            [t.p_value < 0.05 for t in (found.rao[1], found.bartlett[1])]
            for found in (canonical_tests(*planted(seed, n=60)) for seed in range(400))
        ]
    ).sum(axis=0)
    # Binomial(400, .05): outside 6 … 36 with probability 3e-4.
    assert np.all((rejected >= 6) & (rejected <= 36))


def test_affine_maps_of_either_side_and_the_order_of_rows_change_nothing():
    F, Z = planted(3)
    rng = np.random.default_rng(0)
    order = rng.permutation(150)
    before = canonical_tests(F, Z).tidy()
    after = canonical_tests(
        (1e3 * F @ rng.normal(size=(7, 7)) + 5)[order], (Z @ rng.normal(size=(3, 3)))[order]
    ).tidy()
    columns = ["estimate", "p_value"]
    np.testing.assert_allclose(after[columns], before[columns], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("rows", "clusters", "reason"),
    [
        (10, None, "10 rows are no more than the 7 \\+ 3 columns"),
        (29, None, "29 rows are fewer than 3 for each of 7 \\+ 3 columns"),
        (150, np.arange(150) // 2, "150 rows in 75 clusters are not independent"),
    ],
)
def test_where_no_test_is_valid_the_reason_is_given(rows, clusters, reason):
    F, Z = planted(4)
    found = canonical_tests(F[:rows], Z[:rows], clusters=clusters)
    for test in found.rao + found.bartlett:
        assert not test.is_valid
        assert np.isnan(test.p_value)
        assert re.match(reason, test.invalid_because)


def test_results_read_alike():
    found = canonical_tests(*planted(0), layer="final_norm")
    table = found.tidy()
    assert tuple(table.columns) == RESULT_COLUMNS
    assert list(table["quantity"]) == ["wilks_rao_f"] * 3 + ["wilks_bartlett_chi2"] * 3
    assert "Λ" in found.summary()
    assert r"\toprule" in found.to_latex()
    assert isinstance(found.plot(), Figure)
