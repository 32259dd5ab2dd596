"""What a world can tell: the readers and the numbers of the page on worlds."""

import inspect
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from concept_ppl import load_model, posterior, simulate
from concept_ppl.contexts.tokens import as_contexts
from concept_ppl.zoo import zoo

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from worlds import (
    DECAYS,
    WORLDS,
    counts,
    decayed_sums,
    evidence_rows,
    readers,
    what_it_tells,
)


def test_decayed_sums_weight_by_the_distance_to_the_end():
    rng = np.random.default_rng(0)
    rows, lengths = rng.standard_normal((9, 2)), np.array([4, 1, 4])
    sums = decayed_sums(rows, lengths).reshape(3, len(DECAYS), 2)
    for i, part in enumerate(np.split(rows, [4, 5])):
        for j, decay in enumerate(DECAYS):
            weights = np.array([decay**age for age in reversed(range(len(part)))])
            np.testing.assert_allclose(sums[i, j], weights @ part, atol=1e-12)


def test_counts_stand_beside_the_last_token_and_the_length():
    features = counts(np.array([7, 7, 3, 3]), np.array([3, 1]))
    assert features.tolist() == [[1, 2, 1, 0, 3], [1, 0, 1, 0, 1]]


def test_what_a_token_says_alone_is_its_log_likelihood_ratio():
    model = load_model("hidden_dice", tilt=0.8)
    contexts = as_contexts([[0, 5, 2], [5]])
    rows = evidence_rows(model, contexts, ["die"], 1)
    favoured = np.exp(0.8) / (3 * np.exp(0.8) + 3)
    low, high = np.log(6 * favoured), np.log(6 * (1 / 3 - favoured))
    expected = [[low, high], [high, low], [low, high], [high, low]]
    np.testing.assert_allclose(rows, expected, atol=1e-12)


def test_a_world_that_adds_up_is_read_by_tokens_and_one_of_negations_by_pairs_alone():
    def told(negation):
        model = load_model("negated_opinions", negation=negation)
        contexts = as_contexts(simulate(model, 400))
        log_p = [posterior(model, contexts).log_marginals["opinion"].numpy()]
        return what_it_tells(log_p, readers(model, contexts, ["opinion"]))

    assert told(0.0)["tokens"].estimate > 0.999
    negated = told(0.4)
    assert negated["tokens"].estimate < 0.4
    assert negated["pairs"].estimate > 0.99


def test_the_numbers_are_those_of_a_posterior_that_mimics_its_logarithm():
    log_odds = np.random.default_rng(0).normal(0, 0.05, 500)
    p = 1 / (1 + np.exp(-log_odds))
    told = what_it_tells([np.log(np.stack([1 - p, p], 1))], {})
    assert told["posterior"].estimate > 0.999
    assert told["MAP"].estimate == pytest.approx(2 / np.pi, abs=0.05)  # of a normal variable
    assert told["spread, nats"] == pytest.approx(log_odds.std(), rel=1e-9)
    assert told["beyond ±6"] == 0
    assert told["entropy, nats"] == pytest.approx(np.log(2), abs=2e-3)


def test_every_world_of_the_page_is_in_the_zoo_and_takes_its_knobs():
    assert set(WORLDS) <= set(zoo())
    for name, settings in WORLDS.items():
        build = import_module(f"concept_ppl.models.{name}").build
        known = set(inspect.signature(build).parameters)
        assert settings[0] == {}
        assert all(set(knobs) <= known for knobs in settings)
