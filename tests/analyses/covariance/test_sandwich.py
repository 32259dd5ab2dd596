"""One stacked sandwich equals a loop of statsmodels, and the dense formulas of the literature."""

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import linalg

from concept_ppl.analyses import linear_map
from concept_ppl.analyses.covariance.sandwich import cluster_members, least_squares
from concept_ppl.analyses.covariance.satterthwaite import hotelling_df, satterthwaite_df
from concept_ppl.errors import InputError

N, Q, D = 120, 3, 7
RELATIVE = 1e-10


def heteroskedastic(n=N, q=Q, d=D, seed=0):
    rng = np.random.default_rng(seed)
    Z = rng.standard_t(5, size=(n, q))
    F = Z @ rng.normal(size=(q, d)) + rng.normal(size=(n, d)) * (0.5 + Z[:, :1] ** 2) + 3.0
    weights = rng.uniform(0.2, 3.0, n)
    clusters = rng.integers(0, n // 6, n)
    return F, Z, weights / weights.mean(), clusters


def loop(F, Z, weights, **options):
    X = sm.add_constant(Z)
    return [sm.WLS(y, X, weights=weights).fit(use_t=True, **options) for y in F.T]


def assert_equal_to_loop(result, fits):
    expected = {
        "coefficients": [fit.params for fit in fits],
        "std_errors": [fit.bse for fit in fits],
        "ci_low": [fit.conf_int()[:, 0] for fit in fits],
        "ci_high": [fit.conf_int()[:, 1] for fit in fits],
        "p_values": [fit.pvalues for fit in fits],
    }
    for name, values in expected.items():
        holder = result if name == "coefficients" else result.inference
        np.testing.assert_allclose(getattr(holder, name), np.transpose(values), rtol=RELATIVE)
    np.testing.assert_allclose(result.r_squared, [fit.rsquared for fit in fits], rtol=RELATIVE)
    slopes = np.eye(len(fits[0].params))[1:]
    for test, fit in zip(result.per_output, fits, strict=True):
        wald = fit.wald_test(slopes, use_f=True, scalar=True)
        assert test.statistic == pytest.approx(wald.statistic, rel=RELATIVE)
        assert test.p_value == pytest.approx(wald.pvalue, rel=1e-8)
        assert (test.df_num, test.df_denom) == (wald.df_num, wald.df_denom)


@pytest.mark.parametrize("d", [2, D])  # both ways of multiplying: few outputs and many
@pytest.mark.parametrize("weighted", [False, True])
def test_hc3_is_that_of_statsmodels(d, weighted):
    F, Z, weights, _ = heteroskedastic(d=d)
    mass = weights if weighted else np.ones(N)
    result = linear_map(F, Z, weights=mass, covariance="HC3")
    assert_equal_to_loop(result, loop(F, Z, mass, cov_type="HC3"))


def test_the_reference_tells_hc0_and_an_error_one_tenth_too_large_apart():
    F, Z, _, _ = heteroskedastic(n=30)
    result = linear_map(F, Z)
    right, wrong = (loop(F, Z, np.ones(30), cov_type=kind) for kind in ("HC3", "HC0"))
    assert_equal_to_loop(result, right)
    with pytest.raises(AssertionError):
        assert_equal_to_loop(result, wrong)
    inflated = replace(
        result, inference=replace(result.inference, std_errors=1.1 * result.std_errors)
    )
    with pytest.raises(AssertionError):
        assert_equal_to_loop(inflated, right)


@pytest.mark.parametrize("weighted", [False, True])
def test_cr1_is_the_cluster_covariance_of_statsmodels(weighted):
    F, Z, weights, clusters = heteroskedastic()
    mass = weights if weighted else np.ones(N)
    result = linear_map(F, Z, weights=mass, clusters=clusters, covariance="CR1")
    fits = loop(F, Z, mass, cov_type="cluster", cov_kwds={"groups": clusters})
    assert_equal_to_loop(result, fits)


def test_cr2_of_single_rows_is_hc2_of_statsmodels():
    F, Z, weights, _ = heteroskedastic()
    result = linear_map(F, Z, weights=weights, covariance="CR2")
    expected = np.transpose([fit.bse for fit in loop(F, Z, weights, cov_type="HC2")])
    np.testing.assert_allclose(result.std_errors, expected, rtol=RELATIVE)


def test_the_other_direction_regresses_contrasts_on_states():
    F, Z, weights, _ = heteroskedastic()
    result = linear_map(F, Z, weights=weights, direction="backward")
    assert_equal_to_loop(result, loop(Z, F, weights, cov_type="HC3"))
    assert result.regressors == ("const", *(f"f{i + 1}" for i in range(D)))


class DenseCR2:
    """CR2, its degrees of freedom and Hotelling's η from n × n matrices, as in the papers."""

    def __init__(self, Z, weights, clusters):
        root = np.sqrt(weights)[:, None]
        self.X = root * sm.add_constant(Z)
        self.bread = np.linalg.inv(self.X.T @ self.X)
        self.left = np.eye(len(Z)) - self.X @ self.bread @ self.X.T
        self.root = root
        self.groups = [np.flatnonzero(clusters == g) for g in np.unique(clusters)]
        self.adjusted = [
            linalg.inv(linalg.sqrtm(self.left[np.ix_(g, g)])).real @ self.X[g] @ self.bread
            for g in self.groups
        ]

    def covariance(self, y):
        e = self.left @ (self.root[:, 0] * y)
        scores = np.array([G.T @ e[g] for g, G in zip(self.groups, self.adjusted, strict=True)])
        return scores.T @ scores

    def loadings(self, C):
        """p_gs of Pustejovsky and Tipton: (restrictions, clusters, n), standardised."""
        omega = C @ self.bread @ C.T
        half = linalg.inv(linalg.sqrtm(omega)).real @ C
        return np.array(
            [
                [self.left[:, g] @ G @ c for g, G in zip(self.groups, self.adjusted, strict=True)]
                for c in half
            ]
        )

    def df(self, a):
        p = self.loadings(np.eye(len(self.bread))[[a]])[0]
        values = np.linalg.eigvalsh(p @ p.T)
        return values.sum() ** 2 / np.square(values).sum()

    def eta(self, n_outputs, first=1):
        p = self.loadings(np.eye(len(self.bread))[first:])
        q, G, n = p.shape
        # Outputs with independent errors: each restriction once an output, in its own coordinates.
        stacked = np.zeros((q * n_outputs, G, n * n_outputs))
        for j in range(n_outputs):
            stacked[j * q : (j + 1) * q, :, j * n : (j + 1) * n] = p
        total = 0.0
        for s in range(len(stacked)):
            for t in range(len(stacked)):
                P_ss, P_tt = (stacked[i] @ stacked[i].T for i in (s, t))
                P_st = stacked[s] @ stacked[t].T
                total += (P_ss * P_tt).sum() + (P_st * P_st.T).sum()
        return len(stacked) * (len(stacked) + 1) / total


def test_cr2_and_its_degrees_of_freedom_are_those_of_the_dense_formulas():
    F, Z, weights, clusters = heteroskedastic(n=90)
    dense = DenseCR2(Z, weights, clusters)
    result = linear_map(F, Z, weights=weights, clusters=clusters, covariance="CR2")
    expected = np.transpose([np.sqrt(np.diag(dense.covariance(y))) for y in F.T])
    np.testing.assert_allclose(result.std_errors, expected, rtol=1e-9)
    df = [dense.df(a) for a in range(Q + 1)]
    np.testing.assert_allclose(result.inference.df, df, rtol=1e-9)


@pytest.mark.parametrize("own", [False, True])
def test_hotelling_degrees_of_freedom_are_those_of_the_dense_formula(own):
    F, Z, weights, clusters = heteroskedastic(n=40, q=2)
    clusters = np.arange(40) if own else clusters
    X = sm.add_constant(Z)
    fit = least_squares(X, F, weights, ["const", "a", "b"])
    members = cluster_members(np.unique(clusters, return_inverse=True)[1])
    dense = DenseCR2(Z, weights, clusters)
    expected = [dense.eta(d) for d in (1, 3)]
    np.testing.assert_allclose(hotelling_df(fit, members, (1, 3)), expected, rtol=1e-8)
    assert hotelling_df(fit, members, (3,), 2)[0] == pytest.approx(dense.eta(3, 2), rel=1e-8)


def test_one_restriction_has_the_same_degrees_of_freedom_either_way():
    F, Z, weights, clusters = heteroskedastic(q=1)
    fit = least_squares(sm.add_constant(Z), F, weights, ["const", "a"])
    members = cluster_members(clusters)
    assert hotelling_df(fit, members, (1,))[0] == pytest.approx(satterthwaite_df(fit, members)[1])


def test_equal_clusters_of_a_mean_leave_one_degree_less_than_there_are():
    rng = np.random.default_rng(0)
    members = cluster_members(np.repeat(np.arange(9), 4))
    fit = least_squares(np.ones((36, 1)), rng.normal(size=(36, 2)), np.ones(36), ["const"])
    np.testing.assert_allclose(satterthwaite_df(fit, members), 8.0)


def test_cr2_is_unbiased_under_its_working_model():
    # Exactly: a quadratic form's mean is the sum over unit errors, here one an output.
    _, Z, weights, clusters = heteroskedastic(n=90)
    unit_errors = np.diag(1.0 / np.sqrt(weights))
    result = linear_map(unit_errors, Z, weights=weights, clusters=clusters, covariance="CR2")
    X = sm.add_constant(Z)
    truth = np.diag(np.linalg.inv(X.T @ (X * weights[:, None])))
    np.testing.assert_allclose(np.square(result.std_errors).sum(axis=1), truth, rtol=1e-9)


def test_few_degrees_of_freedom_are_a_warning():
    F, Z, _, clusters = heteroskedastic(n=60)
    with pytest.warns(UserWarning, match="Satterthwaite degrees of freedom, fewer than 4"):
        linear_map(F, Z, clusters=clusters, covariance="CR2")


def test_a_row_or_cluster_that_alone_determines_a_coefficient_is_refused_by_name():
    F, Z, _, clusters = heteroskedastic()
    Z[:, 2] = 0.0
    Z[17, 2] = 1.0
    with pytest.raises(InputError, match="Row 17 has leverage 1"):
        linear_map(F, Z)
    Z[:, 2] = clusters == 4
    with pytest.raises(InputError, match=r"Cluster 4 .* alone determines"):
        linear_map(F, Z, clusters=clusters, covariance="CR2")


def test_collinear_regressors_and_few_rows_are_refused_by_name():
    F, Z, _, _ = heteroskedastic()
    F[:, 3] = F[:, 0] - 2 * F[:, 1]
    with pytest.raises(InputError, match="Regressor f4 is a linear combination"):
        linear_map(F, Z, direction="backward")
    with pytest.raises(InputError, match="4 rows are too few for 4 coefficients"):
        linear_map(F[:4], Z[:4])
