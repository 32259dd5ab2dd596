"""Accuracy is Bayes's where states keep the order of the posterior, whatever else they lose."""

import math

import numpy as np
import pytest
from scipy import special

from concept_ppl.analyses import concept_recovery
from concept_ppl.errors import InputError

RNG = np.random.default_rng(2)
N = 300
ODDS = RNG.normal(scale=2.0, size=(N, 2))
WEIGHTS = RNG.uniform(0.2, 2.0, N)


def binary(odds):
    return np.column_stack([special.log_expit(-odds), special.log_expit(odds)])


POSTERIORS = {"mood": binary(ODDS[:, 0]), "topic": binary(ODDS[:, 1])}
EXACT = ODDS @ RNG.normal(size=(2, 5)) + 1.0


@pytest.fixture(scope="module")
def of_log_odds():
    return concept_recovery(EXACT, POSTERIORS, WEIGHTS)


def test_states_that_are_the_log_odds_read_as_bayes_does(of_log_odds):
    best = [WEIGHTS @ np.exp(table.max(axis=1)) / WEIGHTS.sum() for table in POSTERIORS.values()]
    assert of_log_odds.bayes_accuracy == pytest.approx(np.mean(best))
    assert abs(of_log_odds.gap) < 0.005
    assert of_log_odds.fit.backward.estimate > 0.999
    assert of_log_odds.correlations.smallest.estimate > 0.999


def test_accuracy_cannot_see_that_only_the_leading_value_was_kept(of_log_odds):
    """Signs name the concept as often as Bayes does, and have lost how sure Bayes is."""
    signs = concept_recovery(np.sign(ODDS) @ RNG.normal(size=(2, 5)), POSTERIORS, WEIGHTS)
    assert abs(signs.accuracy - of_log_odds.accuracy) < 0.005
    assert signs.correlations.smallest.estimate < 0.8


def test_expected_accuracy_is_the_limit_of_drawn_labels(of_log_odds):
    draws = np.random.default_rng(0)
    repeated = np.repeat(np.arange(N), 30)
    values = {
        name: (draws.uniform(size=len(repeated)) < np.exp(table[repeated, 1])).astype(int)
        for name, table in POSTERIORS.items()
    }
    tables = {name: table[repeated] for name, table in POSTERIORS.items()}
    drawn = concept_recovery(EXACT[repeated], tables, WEIGHTS[repeated], values=values)
    assert drawn.accuracy == pytest.approx(of_log_odds.accuracy, abs=0.015)


def test_contexts_count_by_their_probability():
    """Where heavy contexts are sure and light ones are not, weights decide the accuracy."""
    sure = np.abs(ODDS[:, 0]) > 1
    accuracy = [
        concept_recovery(EXACT, POSTERIORS, np.where(sure, w, 1.0)).probes["mood"].probe.accuracy
        for w in (1.0, 20.0)
    ]
    assert accuracy[1].estimate > accuracy[0].estimate + 0.05
    assert accuracy[0].n_clusters == N


def test_a_value_that_a_context_rules_out_is_refused_by_name():
    zero = POSTERIORS["mood"].copy()
    zero[4] = [0.0, -math.inf]
    with pytest.raises(InputError, match="log-odds of mood are infinite at row 4, value 1"):
        concept_recovery(EXACT, {"mood": zero})
    with pytest.raises(InputError, match="no concept"):
        concept_recovery(EXACT, {})
    with pytest.raises(InputError, match="name the same concepts"):
        concept_recovery(EXACT, POSTERIORS, values={"mood": np.zeros(N, int)})


def test_the_tables_hold_accuracy_beside_what_it_hides(of_log_odds):
    rows = of_log_odds.tidy()
    assert set(rows["analysis"]) == {
        *("concept_recovery", "probe", "goodness_of_fit", "canonical_correlations")
    }
    assert "smallest ρ²" in of_log_odds.summary()
    assert "Recovery" in of_log_odds.to_latex()
    assert of_log_odds.plot().axes
