"""Features are judged on contexts that did not choose them, beside what the states tell."""

import numpy as np
import pytest
from scipy import sparse, special

from concept_ppl.analyses import goodness_of_fit
from concept_ppl.analyses.features import judge_features
from concept_ppl.errors import InputError

N = 800


def world(seed=0, n=N, concepts=2):
    """Log-posteriors of binary concepts with evidence of a few nats, and states of them."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(scale=2.5, size=(n, concepts))
    log_p = {
        f"c{j}": np.stack([special.log_expit(-z), special.log_expit(z)], 1)
        for j, z in enumerate(odds.T)
    }
    return rng, odds, log_p


def test_features_that_are_the_log_odds_reach_the_whole_bound():
    rng, odds, log_p = world()
    features = np.hstack([rng.normal(size=(N, 30)), odds])
    states = odds @ rng.normal(size=(2, 12)) + 0.5 * rng.normal(size=(N, 12))
    found = judge_features(features, log_p, odds)
    for j, one in enumerate(found.contrasts):
        assert one.feature == 30 + j
        assert one.best.estimate == pytest.approx(1.0, abs=1e-9)
        assert one.share.estimate == pytest.approx(1.0, abs=1e-6)
        assert one.alpha.ci_low <= 0.02
        assert one.alpha.ci_high < 0.5
    beyond = judge_features(features, log_p, states)
    assert beyond.share.ci_low > 1.0  # an oracle tells more than noisy states do


def test_features_that_are_posteriors_are_told_from_those_that_are_logarithms():
    rng, odds, log_p = world(1)
    noise = rng.normal(size=(N, 10))
    found = judge_features(np.hstack([noise, special.expit(odds)]), log_p)
    for one in found.contrasts:
        assert one.of_posterior.estimate > 0.999
        assert one.alpha.ci_low > 0.8
        assert one.best.estimate < 0.95
        assert one.bound is None


def test_the_best_of_many_features_of_noise_scores_nothing():
    rng, _, log_p = world(2, n=400)
    found = judge_features(rng.normal(size=(400, 3000)).astype(np.float32), log_p)
    for one in found.contrasts:
        assert one.best.ci_low < 0.0
        assert one.best.estimate < 0.02
        assert one.several[10].estimate < 0.02


def test_labels_are_detected_by_a_feature_that_does_not_carry_the_log_posterior():
    rng, odds, log_p = world(3)
    found = judge_features(np.hstack([rng.normal(size=(N, 5)), odds > 0]), log_p)
    for one in found.contrasts:
        assert one.of_label.estimate == pytest.approx(1.0, abs=1e-9)
        assert one.best.ci_high < 0.8


def test_several_features_together_tell_what_none_tells_alone():
    rng, odds, log_p = world(4, concepts=1)
    parts = rng.normal(size=(N, 4))
    parts[:, 3] = odds[:, 0] - parts[:, :3].sum(axis=1)
    features = np.hstack([rng.normal(size=(N, 40)), parts])
    [one] = judge_features(features, log_p, at_once=(1, 4)).contrasts
    assert one.best.estimate < 0.9
    assert one.several[4].estimate > 0.999


def test_the_bound_is_that_of_goodness_of_fit_on_the_same_folds():
    rng, odds, log_p = world(5, concepts=1)
    states = odds @ rng.normal(size=(1, 8)) + rng.normal(size=(N, 8))
    [one] = judge_features(states, log_p, states, seed=3).contrasts
    fit = goodness_of_fit(states, odds / odds.std(), seed=3).backward
    assert one.bound.estimate == pytest.approx(fit.estimate, abs=1e-12)
    assert one.share.estimate == pytest.approx(one.best.estimate / fit.estimate, rel=1e-12)
    assert one.share.ci_low < one.share.estimate < one.share.ci_high < 1.0


@pytest.mark.parametrize("kind", ["sparse", "float16", "memory map"])
def test_how_features_are_stored_changes_nothing(kind, tmp_path):
    rng, odds, log_p = world(6)
    dense = np.hstack([odds, rng.normal(size=(N, 20))]).astype(np.float16)
    dense[rng.random(dense.shape) < 0.5] = 0
    stored = {"sparse": sparse.csr_array(dense.astype(np.float64)), "float16": dense}.get(kind)
    if kind == "memory map":
        np.save(tmp_path / "features.npy", dense)
        stored = np.load(tmp_path / "features.npy", mmap_mode="r")
    plain = judge_features(dense.astype(np.float64), log_p).tidy()
    other = judge_features(stored, log_p).tidy()
    np.testing.assert_allclose(other["estimate"], plain["estimate"], atol=1e-10)


def test_a_feature_that_never_varies_is_counted_and_chosen_by_no_one():
    _, odds, log_p = world(7)
    found = judge_features(np.hstack([np.zeros((N, 3)), np.full((N, 1), 1e6), odds]), log_p)
    assert (found.n_features, found.n_constant) == (6, 4)
    assert [one.feature for one in found.contrasts] == [4, 5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, p: (f[:-1], p), "799 rows"),
        (lambda f, p: (np.where(np.arange(N)[:, None] == 5, np.nan, f), p), "row 5, feature 0"),
        (lambda f, p: (np.zeros_like(f), p), "None of the 4 features varies"),
        (lambda f, p: (f, {}), "no concept"),
        (lambda f, p: (f[:, 0], p), "must be a table"),
    ],
)
def test_bad_input_is_named(change, message):
    rng, _, log_p = world(8)
    with pytest.raises(InputError, match=message):
        judge_features(*change(rng.normal(size=(N, 4)), log_p))
