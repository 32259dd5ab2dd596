"""Leave-one-out, WAIC and the information criteria: against ArviZ, statsmodels and exact refits."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats

from concept_ppl.analyses import (
    held_out_accuracy,
    information_criterion,
    leave_one_out,
    rank_models,
    waic,
)
from concept_ppl.analyses.fits.convergence import effective_draws, r_hat, relative_efficiency
from concept_ppl.arviz_import import arviz
from concept_ppl.errors import InputError


def normal_model(seed=0, n=40, n_draws=1000, shift=0.0):
    """Contexts y ~ N(μ, 1) with a flat prior: log p(y_i | μ_s), shape (4, n_draws / 4, n)."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=n)
    mu = rng.normal(y.mean() + shift, 1 / math.sqrt(n), size=(4, n_draws // 4))
    return y, mu, stats.norm.logpdf(y, mu[..., None])


def inference_data(mu, log_likelihood):
    return arviz().from_dict(posterior={"mu": mu}, log_likelihood={"y": log_likelihood})


def test_leave_one_out_is_that_of_arviz():
    _, mu, log_likelihood = normal_model()
    expected = arviz().loo(inference_data(mu, log_likelihood), pointwise=True)
    found = leave_one_out(log_likelihood, relative_efficiency=relative_efficiency({"mu": mu}))
    np.testing.assert_allclose(found.pointwise, expected.loo_i, rtol=1e-12)
    np.testing.assert_allclose(found.pareto_k, expected.pareto_k, rtol=1e-12)
    assert found.elpd.estimate == pytest.approx(expected.elpd_loo, rel=1e-12)
    assert found.p_effective == pytest.approx(expected.p_loo, rel=1e-10)
    # ArviZ divides by n, we by n − 1.
    assert found.elpd.std_error == pytest.approx(expected.se * math.sqrt(40 / 39), rel=1e-10)


def test_leave_one_out_is_what_leaving_one_out_gives():
    y, _, log_likelihood = normal_model(n_draws=40_000)
    others = (y.sum() - y) / (len(y) - 1)
    exact = stats.norm.logpdf(y, others, math.sqrt(1 + 1 / (len(y) - 1)))
    found = leave_one_out(log_likelihood)
    np.testing.assert_allclose(found.pointwise, exact, atol=0.02)
    seen = stats.norm.logpdf(y, y.mean(), math.sqrt(1 + 1 / len(y)))
    assert found.p_effective == pytest.approx((seen - exact).sum(), abs=0.05)
    assert found.n_untrusted == 0


def test_waic_is_that_of_arviz():
    _, mu, log_likelihood = normal_model()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = arviz().waic(inference_data(mu, log_likelihood))
    found = waic(log_likelihood)
    assert found.elpd.estimate == pytest.approx(expected.elpd_waic, rel=1e-12)
    assert found.p_effective == pytest.approx(expected.p_waic, rel=1e-12)


def test_information_criteria_are_those_of_statsmodels():
    import statsmodels.api as sm

    y = np.random.default_rng(0).poisson(3, size=40)
    fitted = sm.GLM(y, np.ones((40, 1)), family=sm.families.Poisson()).fit()
    log_likelihood = stats.poisson.logpmf(y, y.mean())
    aic = information_criterion(log_likelihood, 1)
    bic = information_criterion(log_likelihood, 1, criterion="bic")
    assert -2 * aic.elpd.estimate == pytest.approx(fitted.aic, rel=1e-12)
    assert -2 * bic.elpd.estimate == pytest.approx(fitted.bic_llf, rel=1e-12)


def test_a_weight_is_a_repetition():
    y, _, log_likelihood = normal_model(n=10)
    weights = np.array([3, 1, 1, 2, 1, 1, 1, 4, 0, 1])
    repeated = np.repeat(log_likelihood, weights, axis=2)
    for measure in (leave_one_out, waic, held_out_accuracy):
        whole, weighted = measure(repeated), measure(log_likelihood, weights=weights)
        assert weighted.elpd.estimate == pytest.approx(whole.elpd.estimate, rel=1e-12)
        assert weighted.elpd.std_error == pytest.approx(whole.elpd.std_error, rel=1e-12)
    one = stats.norm.logpdf(y, 0.1)
    bic = information_criterion(one, 2, criterion="bic", weights=weights)
    expected = information_criterion(np.repeat(one, weights), 2, criterion="bic")
    assert bic.elpd.estimate == pytest.approx(expected.elpd.estimate, rel=1e-12)


def test_ranking_is_that_of_arviz():
    data, accuracies = {}, {}
    for name, shift in (("far", 0.4), ("near", 0.0), ("further", 0.8)):
        _, mu, log_likelihood = normal_model(shift=shift)
        data[name] = inference_data(mu, log_likelihood)
        efficiency = relative_efficiency({"mu": mu})
        accuracies[name] = leave_one_out(log_likelihood, relative_efficiency=efficiency)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what pandas will take away from ArviZ
        expected = arviz().compare(data, ic="loo", method="stacking")
    found = rank_models(accuracies)
    assert list(found.differences) == list(expected.index)
    assert found.best == "near"
    for name, value in found.differences.items():
        assert -value.estimate == pytest.approx(expected.loc[name, "elpd_diff"], rel=1e-10)
        expected_error = expected.loc[name, "dse"] * math.sqrt(40 / 39)
        assert value.std_error == pytest.approx(expected_error, rel=1e-10)
    table = found.tidy()
    differences = table[table["quantity"] == "elpd_difference"]
    assert set(differences["control"]) == {"near"}
    assert (differences["estimate"] < 0).all()
    assert "near" in found.summary()
    assert r"\toprule" in found.to_latex()
    assert len(found.plot().axes[0].get_yticks()) == 3


def test_paired_differences_are_surer_than_the_sums():
    _, _, one = normal_model()
    _, _, two = normal_model(shift=0.05)
    ranking = rank_models({"one": leave_one_out(one), "two": leave_one_out(two)})
    own = min(accuracy.elpd.std_error for accuracy in ranking.accuracies.values())
    assert ranking.differences["two"].std_error < own / 4
    assert "say little" in ranking.summary()


def test_what_cannot_be_compared_is_refused():
    _, _, table = normal_model()
    loo = leave_one_out(table)
    with pytest.raises(InputError, match="different criteria, loo and waic"):
        rank_models({"a": loo, "b": waic(table)})
    with pytest.raises(InputError, match="different contexts or weights"):
        rank_models({"a": loo, "b": leave_one_out(table[:, :, 1:])})
    with pytest.raises(InputError, match="two or more"):
        rank_models({"a": loo})
    with pytest.raises(InputError, match="at least 100 draws, not 1"):
        leave_one_out(table[:1, 0])
    broken = table.copy()
    broken[1, 3, 7] = np.nan
    with pytest.raises(InputError, match="of context 7 is nan at draw 253"):
        waic(broken)


def test_an_influential_context_is_said_to_be_one():
    rng = np.random.default_rng(0)
    mu = rng.standard_t(2, size=(1000, 1))
    found = leave_one_out(stats.norm.logpdf(np.array([0.0, 60.0]), mu, 3.0))
    assert found.pareto_k[1] > found.highest_k
    assert "too optimistic" in found.summary()


def test_chains_that_disagree_have_a_large_r_hat():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4, 250, 2, 3))
    assert (r_hat(draws) < 1.02).all()
    assert (effective_draws(draws) > 700).all()
    draws[0] += 2
    assert (r_hat(draws) > 1.1).all()
    draws[..., 0, 0] = 1.0
    assert np.isnan(r_hat(draws)[0, 0])
    assert np.isnan(effective_draws(draws)[0, 0])
    assert relative_efficiency({"a": draws[:1]}) == 1
    drifting = np.linspace(0, 3, 200)[None, :, None] + rng.normal(size=(1, 200, 1))
    assert (r_hat(drifting) > 1.1).all()
