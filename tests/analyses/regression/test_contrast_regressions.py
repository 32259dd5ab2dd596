"""Tables are statsmodels' own, on directions that never saw the row's fold."""

import numpy as np
import pytest
import statsmodels.api as sm
from matplotlib.figure import Figure

from concept_ppl.analyses import RESULT_COLUMNS, contrast_tables, decompose_states
from concept_ppl.analyses.agreement.canonical import decoded_directions
from concept_ppl.errors import InputError


def planted(n, seed=0):
    rng = np.random.default_rng(seed)
    Z = rng.standard_t(5, size=(n, 2))
    F = Z @ rng.normal(size=(2, 6)) + rng.normal(size=(n, 6)) * (1 + Z[:, :1] ** 2)
    return F, Z


def assert_equal_to(table, direct):
    numbers = [
        (value.estimate, value.std_error, value.ci_low, value.ci_high, value.p_value)
        for _, value in table.coefficients
    ]
    ends = np.asarray(direct.conf_int())
    expected = np.column_stack([direct.params, direct.bse, ends, direct.pvalues])
    np.testing.assert_allclose(numbers, expected, rtol=1e-9, atol=1e-300)
    # The joint test by hand: b'V⁻¹b / q on the slopes.
    slopes = np.asarray(direct.params)[1:]
    covariance = np.asarray(direct.cov_params())[1:, 1:]
    statistic = slopes @ np.linalg.solve(covariance, slopes) / len(slopes)
    assert table.wald.statistic == pytest.approx(statistic, rel=1e-8)


def test_each_table_is_an_ols_with_hc3():
    F, Z = planted(80)
    states = decompose_states(F)
    X = sm.add_constant(decoded_directions(states, Z))
    tables = contrast_tables(states, Z)
    assert tables.covariance == "HC3"
    for i, table in enumerate(tables.tables):
        assert_equal_to(table, sm.OLS(Z[:, i], X).fit(cov_type="HC3", use_t=True))


def test_repeated_contexts_enter_once_with_their_count():
    F, Z = planted(50, seed=1)
    context = np.repeat(np.arange(50), np.arange(50) % 3 + 1)
    states = decompose_states(F[context], clusters=context)
    X = decoded_directions(states, Z[context])
    first = np.searchsorted(context, np.arange(50))
    direct = sm.WLS(Z[:, 0], sm.add_constant(X[first]), weights=np.bincount(context))
    table = contrast_tables(states, Z[context]).tables[0]
    assert_equal_to(table, direct.fit(cov_type="HC3", use_t=True))


def test_clusters_whose_rows_differ_get_a_cluster_covariance():
    F, Z = planted(90, seed=2)
    clusters = np.arange(90) // 3
    states = decompose_states(F, clusters=clusters)
    X = sm.add_constant(decoded_directions(states, Z))
    direct = sm.OLS(Z[:, 1], X).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    tables = contrast_tables(states, Z)
    assert tables.covariance == "cluster"
    assert_equal_to(tables.tables[1], direct)


def test_directions_are_predicted_without_the_rows_fold():
    _, Z = planted(60, seed=3)
    noise = np.random.default_rng(0).normal(size=(60, 40))
    in_sample = sm.OLS(Z, sm.add_constant(noise)).fit()
    assert 1 - (in_sample.resid**2).sum() / (Z**2).sum() > 0.5
    assert max(table.r_squared for table in contrast_tables(noise, Z).tables) < 0.3


def test_tidy_summary_and_plot():
    F, Z = planted(50)
    tables = contrast_tables(F, Z, names=["fr", "de"], n_directions=1)
    table = tables.tidy()
    assert tuple(table.columns) == RESULT_COLUMNS
    assert list(table["term"])[:3] == [
        "log_odds:fr:const",
        "log_odds:fr:direction_1",
        "log_odds:fr",
    ]
    assert "WLS Regression Results" in tables.summary()
    assert "Joint test: F(1, 48)" in tables.summary()
    assert isinstance(tables.plot(), Figure)


def test_bad_arguments_are_refused():
    F, Z = planted(50)
    with pytest.raises(InputError, match="n_directions is 3"):
        contrast_tables(F, Z, n_directions=3)
    with pytest.raises(InputError, match="3 clusters are too few for 3 coefficients"):
        contrast_tables(F, Z, clusters=np.arange(50) % 3, n_folds=3)
