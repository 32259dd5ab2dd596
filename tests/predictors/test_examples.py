"""What is trained on: shares of pairs, and a KL that no sampling touches."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from concept_ppl import load_model
from concept_ppl.contexts.tokens import Contexts
from concept_ppl.errors import InputError
from concept_ppl.inference.enumerated_contexts import enumerate_contexts
from concept_ppl.predictors import Examples, exact_examples, sampled_examples


def test_exact_shares_are_the_joint_and_bayes_has_no_kl(world):
    examples = exact_examples(world)
    p = np.exp(examples.log_predictive)
    np.testing.assert_allclose(examples.shares.sum(1), examples.weights, atol=1e-15)
    np.testing.assert_allclose(examples.shares, examples.weights[:, None] * p)
    assert examples.kl(examples.log_predictive) == 0
    loss = -(examples.shares * examples.log_predictive).sum()
    assert examples.bayes_entropy == pytest.approx(loss, abs=1e-14)


def test_kl_is_the_loss_above_the_entropy_of_bayes(world):
    examples = exact_examples(world)
    log_q = np.log(np.random.default_rng(0).dirichlet(np.ones(3), len(world)))
    by_row = [
        stats.entropy(np.exp(p), np.exp(q))
        for p, q in zip(examples.log_predictive, log_q, strict=True)
    ]
    assert examples.kl(log_q) == pytest.approx(np.average(by_row, weights=examples.weights))
    loss = -(examples.shares * log_q).sum()
    assert examples.kl(log_q) == pytest.approx(loss - examples.bayes_entropy, abs=1e-12)


def test_what_is_impossible_costs_nothing_and_ruling_out_the_possible_costs_everything():
    model = load_model("one_hot_permutation")
    examples = exact_examples(enumerate_contexts(model, model.lengths))
    assert np.isneginf(examples.log_predictive).any()
    assert np.isfinite(examples.bayes_entropy)
    assert examples.kl(examples.log_predictive) == 0
    uniform = np.full_like(examples.log_predictive, -np.log(examples.n_next))
    assert np.isfinite(examples.kl(uniform))
    wrong = np.where(np.isneginf(examples.log_predictive), 0.0, -np.inf)
    assert examples.kl(wrong) == np.inf


def test_sampled_pairs_come_from_the_joint_and_leave_the_measure_alone(world):
    exact, drawn = exact_examples(world), sampled_examples(world, 20_000, seed=1)
    counts = drawn.shares * 20_000
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-8)
    expected = exact.shares * 20_000
    assert stats.chisquare(counts.ravel(), expected.ravel()).pvalue > 1e-4
    assert (drawn.weights == exact.weights).all()
    assert (sampled_examples(world, 20_000, seed=1).shares == drawn.shares).all()
    assert (sampled_examples(world, 20_000, seed=2).shares != drawn.shares).any()
    few = sampled_examples(world, 5, seed=1)
    assert len(few.contexts) == len(world)
    assert few.shares.sum() == pytest.approx(1)


def test_the_digest_knows_what_is_trained_on(world):
    examples = exact_examples(world)
    assert examples.digest == exact_examples(world).digest
    assert examples.digest != sampled_examples(world, 100, seed=0).digest


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weights": np.ones(39)}, "weights sum to 39"),
        ({"weights": np.ones(2)}, "39 contexts need 39 weights"),
        ({"shares": np.ones((39, 2))}, "shares have shape"),
        ({"shares": np.ones((39, 3))}, "shares sum to 117"),
        ({"log_predictive": np.zeros((39, 3))}, "log_predictive.* sum to 3"),
        ({"vocabulary": 2}, "tokens 0 to 2; predictors read tokens 0 to 1"),
        ({"contexts": Contexts.from_lists([[-1]] * 39)}, "all observed"),
    ],
)
def test_what_is_no_distribution_is_refused(world, wrong, message):
    with pytest.raises(InputError, match=message):
        replace(exact_examples(world), **wrong)


def test_an_examples_of_nothing_is_refused():
    empty = np.empty((0, 2))
    with pytest.raises(InputError, match="at least one"):
        Examples(Contexts.from_lists([]), np.empty(0), empty, empty, 2)
