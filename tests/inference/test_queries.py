"""Next tokens, the joint maximum, samples and pairs, against every joint value counted."""

import math
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from concept_ppl.errors import InputError
from concept_ppl.inference.posteriors import posterior
from concept_ppl.inference.queries import (
    most_probable,
    mutual_information,
    pair_log_marginals,
    predictive,
    sample_posterior,
)
from concept_ppl.programs.tracing import compile_model

from ..support.brute_force import (
    NEVER,
    Site,
    World,
    log_sum,
    log_weights,
    marginal,
    predict,
    solve,
    unroll,
)
from ..support.comparison import assert_log_close
from ..support.programs import (
    as_program,
    contexts_of,
    example_moving_world,
    example_static_world,
    moving_worlds,
    static_worlds,
)

FAILURE_RATE = 2e-5


def possible(world, contexts):
    return [c for c in contexts if solve(world, c).log_evidence > NEVER]


@settings(max_examples=25)
@given(data=st.data())
def test_the_next_token_is_predicted_exactly(data):
    world = data.draw(static_worlds() | moving_worlds())
    contexts = possible(world, data.draw(contexts_of(world, 4)))
    assume(contexts and world.next_tokens)
    for site in world.next_tokens:
        result = predictive(as_program(world), contexts, site=site.name)
        assert_log_close(result, [predict(world, c)[site.name] for c in contexts])


@settings(max_examples=20)
@given(data=st.data())
def test_the_next_token_of_the_context_is_a_ratio_of_evidences(data):
    world = data.draw(static_worlds() | moving_worlds())
    contexts = possible(world, data.draw(contexts_of(world, 3)))
    assume(contexts)
    result = predictive(as_program(world), contexts, site="x")
    expected = [
        [
            solve(world, [*c, token]).log_evidence - solve(world, c).log_evidence
            for token in range(world.vocabulary_size)
        ]
        for c in contexts
    ]
    assert_log_close(result, expected)


def test_the_next_token_stands_at_its_own_position():
    world, contexts = example_static_world(), [[], [0], [1]]
    result = predictive(as_program(world), contexts, site="x")
    expected = [
        [solve(world, [*c, k]).log_evidence - solve(world, c).log_evidence for k in range(2)]
        for c in contexts
    ]
    assert_log_close(result, expected)


@settings(max_examples=20)
@given(data=st.data())
def test_the_joint_maximum_is_that_of_the_joint(data):
    world = data.draw(static_worlds())
    contexts = possible(world, data.draw(contexts_of(world)))
    assume(contexts)
    graph = compile_model(as_program(world), 8)
    best = most_probable(graph, contexts)
    joint = [solve(world, c).log_joint for c in contexts]
    assert_log_close(best.log_probability, [max(row) for row in joint])
    place = np.ravel_multi_index([best.values[n].numpy() for n in world.names], world.sizes)
    found = [row[i] for row, i in zip(joint, place, strict=True)]
    np.testing.assert_allclose(found, [max(row) for row in joint], atol=1e-10)


def test_samples_have_the_law_of_the_joint():
    world, contexts, n = example_static_world(), [[1, 0], [0]], 4000
    graph = compile_model(as_program(world), 2)
    samples = sample_posterior(graph, contexts, n, seed=3)
    for row, context in enumerate(contexts):
        joint = np.exp(solve(world, context).log_joint)
        place = samples.values["a"][:, row] * 3 + samples.values["b"][:, row]
        counts = Counter(place.tolist())
        kept = [k for k, p in enumerate(joint) if p > 0]
        assert set(counts) <= set(kept)
        test = stats.chisquare([counts[k] for k in kept], n * joint[kept])
        assert test.pvalue > FAILURE_RATE
    again = sample_posterior(graph, contexts, 5, seed=3)
    assert torch.equal(again.values["a"], samples.values["a"][:5])


def test_pairs_and_their_mutual_information():
    world, context = example_static_world(), [1, 0]
    graph = compile_model(as_program(world), 2)
    pair = pair_log_marginals(graph, [context], "b", "a")
    weights = log_weights(unroll(world, 2), context, {})
    expected = np.reshape(marginal(weights, ("b", "a"), (3, 2)), (1, 3, 2))
    assert_log_close(pair, expected)
    p = np.exp(expected[0])
    apart = np.outer(p.sum(1), p.sum(0))
    information = sum(p[k] * math.log(p[k] / apart[k]) for k in np.ndindex(3, 2) if p[k])
    assert_log_close(mutual_information(pair), [information])
    with pytest.raises(InputError, match="no concept 'c'; it has: a, b"):
        pair_log_marginals(graph, [context], "a", "c")


def test_a_next_token_site_must_exist():
    with pytest.raises(InputError, match="no next-token site 'z'; it has: y, x"):
        predictive(as_program(example_static_world()), [[0]], site="z")


def test_a_concept_beside_itself_is_on_the_diagonal():
    world, contexts = example_static_world(), [[0, 1], [1]]
    graph = compile_model(as_program(world), 2)
    pair = pair_log_marginals(graph, contexts, "b", "b")
    references = [solve(world, context).log_marginals["b"] for context in contexts]
    expected = [
        [[row[k] if k == j else -np.inf for k in range(3)] for j in range(3)] for row in references
    ]
    assert_log_close(pair, expected)
    entropies = [-sum(np.exp(v) * v for v in row if v > -np.inf) for row in references]
    np.testing.assert_allclose(mutual_information(pair), entropies, atol=1e-12)


def test_many_contexts_of_moving_concepts_are_predicted_piece_by_piece(monkeypatch):
    program, contexts = as_program(example_moving_world()), [[1, 0], [0, 0], [1, 1], [0], [0, 1]]
    whole = predictive(program, contexts)
    monkeypatch.setattr("concept_ppl.inference.queries.STATE_CELLS", 8)
    assert_log_close(predictive(program, contexts), whole)


def test_moving_concepts_have_a_joint_maximum_at_the_compiled_length():
    world, context = example_moving_world(), [1, 0, 1]
    graph = compile_model(as_program(world), 3)
    weights = log_weights(unroll(world, 3), context, {})
    best_values, best = max(weights, key=lambda item: item[1])
    result = most_probable(graph, [context])
    assert {name: int(v) for name, v in result.values.items()} == best_values
    assert_log_close(result.log_probability, [best - log_sum([w for _, w in weights])])
    with pytest.raises(InputError, match=r"row 0 has 1 tokens; concepts of model .* move"):
        most_probable(graph, [[1]])


@pytest.mark.parametrize(
    "query", [most_probable, predictive, partial(sample_posterior, n_samples=2)]
)
def test_contexts_of_probability_zero_are_refused_as_by_the_posterior(query):
    never = World(
        (Site("a", (), {(): (0.5, 0.5)}),),
        (Site("x", (), {(): (1.0, 0.0)}),),
        (Site("y", ("a",), {(0,): (0.5, 0.5), (1,): (0.1, 0.9)}),),
    )
    graph = compile_model(as_program(never), 2)
    with pytest.raises(InputError, match="row 0"):
        posterior(graph, [[1]])
    with pytest.raises(InputError, match="row 0"):
        query(graph, [[1]])


def test_a_token_outside_the_vocabulary_is_named_by_every_query():
    graph = compile_model(as_program(example_static_world()), 2)
    with pytest.raises(InputError, match="row 0: token 9 is outside the vocabulary"):
        most_probable(graph, [[9]])


def test_no_contexts_have_no_predictions():
    graph = compile_model(as_program(example_static_world()), 2)
    assert predictive(graph, []).shape == (0, 2)
