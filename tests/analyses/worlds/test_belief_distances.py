"""The exact posterior is at distance zero and calibrated; tempered beliefs say by how much."""

import math

import numpy as np
import pytest
from scipy import optimize, special, stats

from concept_ppl.analyses import beliefs
from concept_ppl.analyses.designs.design import make_design
from concept_ppl.analyses.worlds.recalibration import recalibration
from concept_ppl.errors import InputError

N = 400
RNG = np.random.default_rng(0)
POSTERIOR = RNG.dirichlet([1.0, 1.0, 2.0], N)
WEIGHTS = RNG.uniform(0.5, 2.0, N)


def logs(p):
    with np.errstate(divide="ignore"):
        return np.log(p)


def tempered(p, power, shift=0.0):
    return special.softmax(power * np.log(p) + np.asarray(shift), axis=1)


def test_the_exact_posterior_is_its_own_best_belief():
    found = beliefs(logs(POSTERIOR), logs(POSTERIOR), WEIGHTS)
    for distance in (found.kl, found.reverse_kl, found.jensen_shannon):
        assert distance.estimate == pytest.approx(0, abs=1e-15)
    assert found.agreement.estimate == 1
    assert 0.98 < found.agreement.ci_low < 1
    assert found.slope.estimate == pytest.approx(1)
    assert found.slope.p_value == 1
    assert found.calibration_error == pytest.approx(0, abs=1e-15)
    mean = np.average(POSTERIOR, axis=0, weights=WEIGHTS)
    expected = np.average((POSTERIOR * np.log(POSTERIOR / mean)).sum(axis=1), weights=WEIGHTS)
    assert found.prior_kl.estimate == pytest.approx(expected)


def test_distances_are_means_over_contexts_by_their_weight():
    own = tempered(POSTERIOR, 0.5)
    found = beliefs(logs(own), logs(POSTERIOR), WEIGHTS)
    for distance, each in (
        (found.kl, [stats.entropy(p, w) for p, w in zip(POSTERIOR, own, strict=True)]),
        (found.reverse_kl, [stats.entropy(w, p) for p, w in zip(POSTERIOR, own, strict=True)]),
    ):
        assert distance.estimate == pytest.approx(np.average(each, weights=WEIGHTS))
        assert distance.ci_low < distance.estimate < distance.ci_high


@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
def test_the_slope_is_the_power_that_would_make_beliefs_calibrated(power):
    """Beliefs that are the posterior to a power, with values favoured, are recalibrated exactly."""
    own = tempered(POSTERIOR, power, (0.0, 0.7, -0.4))
    found = beliefs(logs(own), logs(POSTERIOR))
    assert found.slope.estimate == pytest.approx(1 / power, abs=1e-8)


def test_the_slope_is_a_logistic_regression_of_drawn_truths_in_the_limit():
    rng = np.random.default_rng(1)
    own = tempered(POSTERIOR, 1.5) * rng.uniform(0.3, 1, POSTERIOR.shape)
    own /= own.sum(axis=1, keepdims=True)
    found = beliefs(logs(own), logs(POSTERIOR), WEIGHTS)

    def loss(theta):
        logits = np.append(0.0, theta[:2]) + theta[2] * np.log(own)
        return -WEIGHTS @ (POSTERIOR * special.log_softmax(logits, axis=1)).sum(axis=1)

    best = optimize.minimize(loss, [0.0, 0.0, 1.0], tol=1e-10)
    assert found.slope.estimate == pytest.approx(best.x[2], abs=1e-4)
    assert found.slope.p_value < 1e-4  # beliefs are surer than the posterior


def test_the_interval_of_the_slope_covers_where_contexts_are_drawn_in_clusters():
    """Each cluster shares its misbelief, so that rows taken alone would be far too sure."""
    rng = np.random.default_rng(2)
    log_w, p, _ = _clustered(rng, 40_000)
    slope = recalibration(log_w, p, make_design(len(p)), 0.95).estimate
    hits = {60: 0, 300: 0}
    for _ in range(500):
        log_w, p, clusters = _clustered(rng, 60)
        for design in (make_design(300, clusters=clusters), make_design(300)):
            found = recalibration(log_w, p, design, 0.95)
            hits[design.n_clusters] += found.ci_low <= slope <= found.ci_high
    assert 0.92 <= hits[60] / 500 <= 0.98
    assert hits[300] / 500 < 0.85


def _clustered(rng, n_clusters, each=5):
    logits = np.repeat(rng.normal(size=(n_clusters, 3)), each, axis=0)
    logits += 0.2 * rng.normal(size=logits.shape)
    belief = np.repeat(rng.normal(size=(n_clusters, 3)), each, axis=0)
    clusters = np.repeat(np.arange(n_clusters), each)
    return (
        special.log_softmax(logits + belief, axis=1),
        special.softmax(logits, axis=1),
        clusters,
    )


def test_reliability_is_the_mean_posterior_where_the_weights_lie():
    own = tempered(POSTERIOR, 2.0)
    found = beliefs(logs(own), logs(POSTERIOR), n_bins=5)
    assert [each.mass for each in found.bins] == pytest.approx([0.2] * 5, abs=0.01)
    order = np.argsort(own.ravel())
    for each, rows in zip(found.bins, np.array_split(order, 5), strict=True):
        assert each.weight == pytest.approx(own.ravel()[rows].mean(), abs=2e-3)
        assert each.posterior.estimate == pytest.approx(POSTERIOR.ravel()[rows].mean(), abs=2e-3)
        assert each.posterior.ci_low < each.posterior.estimate < each.posterior.ci_high
    assert found.bins[0].weight < found.bins[0].posterior.estimate
    assert found.bins[-1].weight > found.bins[-1].posterior.estimate
    gaps = [each.mass * abs(each.weight - each.posterior.estimate) for each in found.bins]
    assert found.calibration_error == pytest.approx(sum(gaps))


def test_a_weight_at_zero_makes_the_distance_infinite_and_is_counted():
    own = POSTERIOR.copy()
    own[:10] = [0.0, 0.5, 0.5]
    found = beliefs(logs(own), logs(POSTERIOR))
    assert math.isinf(found.kl.estimate)
    assert math.isnan(found.kl.ci_low)
    assert found.infinite.estimate == 10 / N
    assert found.finite_kl.estimate == pytest.approx(0, abs=1e-15)
    assert found.finite_kl.n == N - 10
    assert 0 < found.jensen_shannon.estimate < math.log(2)
    assert math.isfinite(found.reverse_kl.estimate)
    assert found.slope.n == N - 10
    assert "infinite in a share of 0.025" in found.summary()
    both = beliefs(logs(own), logs(own))
    assert both.kl.estimate == 0  # zero where both are


def test_beliefs_that_do_not_vary_have_no_slope():
    found = beliefs(logs(np.full((20, 2), 0.5)), logs(RNG.dirichlet([1, 1], 20)))
    assert found.slope is None
    assert len(found.bins) == 1
    assert "slope" not in found.summary()


def test_a_value_that_never_is_takes_no_part_in_the_slope():
    """Neither the contexts in which its weight is zero are lost, nor is its intercept minus ∞."""
    two = POSTERIOR[:, :2] / POSTERIOR[:, :2].sum(axis=1, keepdims=True)
    own = tempered(two, 2.0)
    for extra in (np.zeros(N), np.where(np.arange(N) % 2, 1e-9, 0.0)):
        padded = np.column_stack([own * (1 - extra)[:, None], extra])
        found = beliefs(logs(padded), logs(np.pad(two, ((0, 0), (0, 1)))))
        assert found.slope.estimate == pytest.approx(0.5, abs=1e-6)
        assert found.slope.n == N


def test_weights_that_always_name_what_is_certain_have_no_finite_slope():
    truth = np.eye(3)[np.arange(30) % 3]
    found = beliefs(logs(0.6 * truth + 0.4 / 3), logs(truth))
    assert found.slope is None
    assert found.agreement.estimate == 1
    assert found.kl.estimate == pytest.approx(-math.log(0.6 + 0.4 / 3))


def test_bad_input_is_refused():
    p = logs(POSTERIOR)
    with pytest.raises(InputError, match=r"log_w has shape \(399, 3\), log_p \(400, 3\)"):
        beliefs(p[1:], p)
    with pytest.raises(InputError, match=r"probabilities of log_w sum to 1\.10517 at row 0"):
        beliefs(p + 0.1, p)
    with pytest.raises(InputError, match="probabilities of log_p sum to nan at row 3"):
        beliefs(p, np.where(np.arange(N)[:, None] == 3, np.nan, p))
    with pytest.raises(InputError, match="n_bins is 0"):
        beliefs(p, p, n_bins=0)
    with pytest.raises(InputError, match="C ≥ 2"):
        beliefs(np.zeros((5, 1)), np.zeros((5, 1)))


def test_the_result_speaks_for_itself():
    found = beliefs(logs(tempered(POSTERIOR, 0.5)), logs(POSTERIOR), layer="final")
    table = found.tidy()
    assert {"kl", "agreement", "calibration_slope", "reliability"} <= set(table["quantity"])
    assert set(table["layer"]) == {"final"}
    assert "same first choice" in found.summary()
    assert "exact posterior" in found.to_latex()
    assert found.plot().axes
