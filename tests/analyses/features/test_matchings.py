"""Features matched one to one to contrasts, and how concentrated both are on each other."""

import numpy as np
import pytest
from scipy import special

from concept_ppl.analyses.features import dci, match_features, rank_proxies, reconstruction
from concept_ppl.analyses.features.dci_scores import completeness, disentanglement
from concept_ppl.analyses.features.matchings import assign
from concept_ppl.errors import InputError

N = 600


def world(seed=0, concepts=3, n=N):
    rng = np.random.default_rng(seed)
    odds = rng.normal(scale=2.0, size=(n, concepts))
    pairs = [np.stack([special.log_expit(-z), special.log_expit(z)], axis=1) for z in odds.T]
    return rng, odds, {f"c{j}": pair for j, pair in enumerate(pairs)}


def test_an_oracle_in_any_order_and_sign_is_matched_whole():
    rng, odds, log_p = world()
    features = np.hstack([rng.normal(size=(N, 7)), -3.0 * odds[:, [2, 0, 1]]])
    found = match_features(features, log_p, n_shuffles=19)
    assert found.features == (8, 9, 7)
    assert found.mean.estimate == pytest.approx(1.0, abs=1e-12)
    assert found.mean.p_value == pytest.approx(1 / 20)
    assert found.null < 0.3


def test_features_of_noise_lie_at_the_null():
    rng, _, log_p = world(1)
    found = match_features(rng.normal(size=(N, 500)), log_p, n_shuffles=99)
    assert found.mean.p_value > 0.02
    assert found.mean.ci_low < 0.0 < found.mean.ci_high


def test_two_contrasts_never_share_a_feature():
    strength = np.array([[0.9, 0.8], [0.5, 0.1], [0.0, 0.4]])
    np.testing.assert_array_equal(assign(strength, (1, 1), None), [1, 0])


def test_groups_are_matched_to_concepts_as_wholes():
    rng = np.random.default_rng(2)
    tables = [rng.normal(scale=2.0, size=(N, k)) for k in (3, 2)]
    log_p = {f"c{j}": t - special.logsumexp(t, axis=1, keepdims=True) for j, t in enumerate(tables)}
    shift = rng.normal(size=(N, 1))  # a group is known up to what all its members share
    features = np.hstack([log_p["c1"][:, ::-1], log_p["c0"][:, [1, 2, 0]] + shift])
    found = match_features(features, log_p, groups=[0, 0, 1, 1, 1], n_shuffles=19)
    assert found.names == ("c0: 0", "c0: 1", "c0: 2", "c1: 0", "c1: 1")
    assert found.features == (4, 2, 3, 1, 0)
    assert found.mean.estimate == pytest.approx(1.0, abs=1e-12)
    with pytest.raises(InputError, match="groups that are as large"):
        match_features(features, log_p, groups=[0, 0, 1, 1, 2])


def test_fewer_features_than_contrasts_are_refused():
    rng, _, log_p = world(3)
    with pytest.raises(InputError, match="2 columns for 3 contrasts"):
        match_features(rng.normal(size=(N, 2)), log_p)


def test_importances_on_the_diagonal_are_disentangled_and_complete_and_even_ones_neither():
    assert disentanglement(np.eye(4)) == 1.0
    np.testing.assert_array_equal(completeness(np.eye(4)), 1.0)
    assert disentanglement(np.ones((4, 4))) == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(completeness(np.ones((4, 4))), 0.0, atol=1e-12)
    # Two features for each of two contrasts: each feature speaks of one, no contrast through one.
    R = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert disentanglement(R) == 1.0
    np.testing.assert_allclose(completeness(R), 0.5)


def test_dci_tells_turned_features_from_straight_ones():
    rng, odds, log_p = world(4)
    straight = dci(odds + 0.01 * rng.normal(size=odds.shape), log_p)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turned = dci(odds @ turn + 0.01 * rng.normal(size=odds.shape), log_p)
    assert straight.disentanglement.estimate > 0.9
    assert turned.disentanglement.estimate < 0.6
    for found in (straight, turned):
        assert found.informativeness.ci_low > 0.99


def test_a_reconstruction_is_measured_in_variance_counts_and_dead_features():
    rng = np.random.default_rng(5)
    F = rng.normal(size=(N, 6)) + 10.0
    features = np.maximum(rng.normal(size=(N, 8)), 0.0)
    features[:, 6:] = 0.0
    made = F + 0.5 * rng.normal(size=F.shape)
    found = reconstruction(F, made, features)
    assert found.explained.ci_low < 0.75 < found.explained.ci_high
    assert found.active.estimate == pytest.approx((features > 0).sum() / N)
    assert found.dead.estimate == 0.25
    assert reconstruction(F, F, features).explained.estimate == 1.0
    with pytest.raises(InputError, match="shape"):
        reconstruction(F, made[:, :3], features)


def test_a_proxy_that_orders_as_the_truth_has_tau_one_and_one_that_does_not_has_none():
    rng = np.random.default_rng(6)
    worlds, seeds = np.repeat(np.arange(8), 12), np.tile(np.repeat([0, 1, 2], 4), 8)
    truth = rng.normal(size=96)
    found = rank_proxies(
        truth, {"same": np.exp(truth), "none": rng.normal(size=96)}, worlds, seeds, n_replicates=400
    )
    assert found.proxies["same"].estimate == pytest.approx(1.0, abs=1e-12)
    assert found.proxies["none"].ci_low < 0.0 < found.proxies["none"].ci_high
    with pytest.raises(InputError, match="fewer than 4"):
        rank_proxies(truth[:3], {"same": truth[:3]}, [0, 0, 0])
