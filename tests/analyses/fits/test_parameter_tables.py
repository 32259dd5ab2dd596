"""Tables of parameters: intervals that cover, and chains that are said to disagree."""

import numpy as np
import pytest

from concept_ppl.analyses import parameter_estimates


def test_a_posterior_is_summarised_by_its_own_quantiles():
    rng = np.random.default_rng(0)
    draws = {
        "table": rng.dirichlet([2.0, 3.0, 5.0], (4, 500, 2)),
        "rate": rng.normal(size=(4, 500)),
    }
    found = parameter_estimates(draws, n=10, level=0.9)
    table = found.tidy()
    assert list(table["index"]) == [f"{i},{j}" for i in range(2) for j in range(3)] + [""]
    own = draws["table"][:, :, 1, 2].ravel()
    row = table.iloc[5]
    assert row["estimate"] == pytest.approx(own.mean())
    assert row["std_error"] == pytest.approx(own.std(ddof=1))
    ends = np.quantile(own, [0.05, 0.95], method="weibull")
    np.testing.assert_allclose(row[["ci_low", "ci_high"]].tolist(), ends)
    assert found.has_converged
    assert "4 chains agree" in found.summary()
    assert len(found.rows()) == 7
    assert found.plot().axes
    assert r"\toprule" in found.to_latex()


def test_intervals_of_few_draws_hold_a_further_draw_as_often_as_they_say():
    """Truth and draws from one distribution, as in simulation-based calibration."""
    draws = np.random.default_rng(1).normal(size=(1, 40, 1500))
    truth = np.random.default_rng(2).normal(size=1500)
    table = parameter_estimates({"rate": draws}, n=10, level=0.9).tidy()
    covered = ((table["ci_low"] <= truth) & (truth <= table["ci_high"])).mean()
    # Binomial(1500, .9); plain quantiles of 40 draws cover in .877.
    assert abs(covered - 0.9) < 0.02


def test_chains_that_disagree_are_said_to():
    draws = np.random.default_rng(0).normal(size=(2, 300, 1)) + np.array([0.0, 3.0])[:, None, None]
    found = parameter_estimates({"rate": draws}, n=10)
    assert not found.has_converged
    assert "do not agree" in found.summary()


def test_intervals_of_probabilities_stay_inside_and_cover():
    rng = np.random.default_rng(0)
    p, n = np.array([0.02, 0.38, 0.6]), 200
    covered = []
    for _ in range(600):
        counts = rng.multinomial(n, p)
        if (counts == 0).any():
            continue
        point = counts / n
        error = np.sqrt(point * (1 - point) / n)
        table = parameter_estimates({"p": point[None, None]}, {"p": error}, n=n).tidy()
        assert table["ci_low"].gt(0).all()
        assert table["ci_high"].lt(1).all()
        covered.append((table["ci_low"] <= p) & (p <= table["ci_high"]))
    assert (np.abs(np.mean(covered, axis=0) - 0.95) < 0.03).all()


def test_a_probability_next_to_zero_has_an_interval_without_a_warning():
    p = np.array([1e-9, 1.0 - 1e-9])
    table = parameter_estimates({"p": p[None, None]}, {"p": np.full(2, 0.01)}, n=200).tidy()
    assert table["ci_low"].between(0, 1).all()
    assert table["ci_high"].between(0, 1).all()


def test_a_point_without_errors_has_no_interval():
    table = parameter_estimates({"a": np.ones((1, 1, 2)) * 3}, n=5).tidy()
    assert table["estimate"].tolist() == [3.0, 3.0]
    assert table[["std_error", "ci_low", "r_hat"]].isna().all(axis=None)
