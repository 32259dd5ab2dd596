"""An enumerated world is what its program says: p(y|x) from its tables, information from sums."""

import numpy as np
import pytest
from scipy import special

from concept_ppl.analyses import population_fit
from concept_ppl.analyses.studies.laboratory.exact_worlds import exact_world
from concept_ppl.errors import InputError

WORLDS = {
    "topic_mixture": {"topics": 3, "vocabulary": 4, "y_determinism": 0.6},
    "concept_dag": {"cardinalities": [2, 3], "vocabulary": 6, "y_determinism": 0.8},
    "hidden_concepts": {"states": 3, "vocabulary": 4, "y_determinism": 0.7},
    "one_hot_permutation": {"concepts": 3, "bits": 8, "masked": 3, "noise": 0.1},
}


@pytest.mark.parametrize("name", WORLDS)
def test_the_table_of_y_and_the_posterior_give_the_predictive(name):
    """A table with concepts in another order, or broadcast to the wrong axis, would not."""
    world = exact_world(name, WORLDS[name], 3)
    predictive = special.logsumexp(world.log_joint[:, :, None] + world.log_likelihood, axis=1)
    exact = world.enumerated.log_predictive.numpy()
    np.testing.assert_allclose(np.exp(predictive), np.exp(exact), atol=1e-12)
    np.testing.assert_allclose(world.weights.sum(), 1.0)


def test_where_y_is_c_it_tells_everything_and_bayes_is_affine_in_the_log_posterior():
    world = exact_world("topic_mixture", WORLDS["topic_mixture"] | {"y_determinism": 1.0}, 3)
    assert world.next_information == pytest.approx(np.log(3))
    fit = population_fit(world.bayes, world.log_odds, world.weights)
    np.testing.assert_allclose([fit.smallest, fit.forward, fit.backward], 1.0, atol=1e-9)


def test_information_is_zero_where_tokens_tell_nothing_and_never_above_the_entropy():
    silent = exact_world(
        "concept_dag", WORLDS["concept_dag"] | {"x_informativeness": 0.0, "y_determinism": 0.0}, 3
    )
    assert abs(silent.information) < 1e-12
    assert abs(silent.next_information) < 1e-12
    told = exact_world("concept_dag", WORLDS["concept_dag"], 3)
    assert 0 < told.information < np.log(6)


def test_collinear_contrasts_are_rotated_and_full_ones_left_alone():
    few_bits = WORLDS["one_hot_permutation"] | {"bits": 5, "masked": 3}
    collinear = exact_world("one_hot_permutation", few_bits, 2)
    assert not collinear.is_full_rank
    assert collinear.log_odds.shape[1] <= 2
    full = exact_world("topic_mixture", WORLDS["topic_mixture"], 3)
    assert full.is_full_rank
    np.testing.assert_array_equal(full.log_odds, full.log_joint[:, 1:] - full.log_joint[:, :1])


def test_contexts_that_rule_a_value_out_are_counted_by_their_probability():
    clean = WORLDS["one_hot_permutation"] | {"noise": 0.0}
    assert exact_world("one_hot_permutation", clean, 5).impossible == pytest.approx(1.0)
    assert exact_world("one_hot_permutation", WORLDS["one_hot_permutation"], 5).impossible == 0


def test_concepts_alone_have_log_odds_of_their_own():
    world = exact_world("concept_dag", WORLDS["concept_dag"], 3, "concepts")
    assert world.log_odds.shape[1] == 1 + 2
    np.testing.assert_allclose(
        np.exp(world.concepts["c_0"]), np.exp(world.log_joint).reshape(-1, 2, 3).sum(2)
    )
    with pytest.raises(InputError, match="target 'both' is unknown"):
        exact_world("concept_dag", WORLDS["concept_dag"], 3, "both")
