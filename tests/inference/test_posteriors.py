"""The posterior of a program is the posterior: every joint value counted, every zero a zero."""

import itertools
import math

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro.ops.indexing import Vindex

from concept_ppl.contexts.tokens import Contexts
from concept_ppl.errors import InputError, MemoryBudgetError
from concept_ppl.inference.impossible_contexts import ImpossibleContextError
from concept_ppl.inference.plans import make_plan
from concept_ppl.inference.posteriors import posterior
from concept_ppl.programs.tracing import compile_model

from ..support.brute_force import smooth, solve, solve_prefixes
from ..support.comparison import assert_answers, assert_log_close, assert_same
from ..support.programs import (
    as_program,
    contexts_of,
    knowledge_of,
    moving_worlds,
    plated_world,
    static_worlds,
)


def rows_of(known, n):
    """Return what is known of each context as a dictionary, −1 left out."""
    return [{name: v[row] for name, v in known.items() if v[row] >= 0} for row in range(n)]


@settings(max_examples=120)
@given(data=st.data())
def test_both_engines_give_the_posterior_of_any_static_program(data):
    world = data.draw(static_worlds())
    contexts = data.draw(contexts_of(world))
    graph = compile_model(as_program(world), max(map(len, contexts)))
    references = [solve(world, context) for context in contexts]
    for engine in ("dense", "elimination"):
        result = posterior(graph, contexts, joint=True, engine=engine, impossible="mark")
        assert_answers(result, references)


@settings(max_examples=40)
@given(data=st.data())
def test_partial_evidence_and_prefixes_of_static_programs(data):
    world = data.draw(static_worlds(max_joint=60))
    contexts = data.draw(contexts_of(world, longest=5))
    n = len(contexts)
    known = data.draw(knowledge_of(dict(zip(world.names, world.sizes, strict=True)), n))
    by_row = rows_of(known, n)
    model = as_program(world)
    references = [solve(world, c, k) for c, k in zip(contexts, by_row, strict=True)]
    prefixes = [
        r for c, k in zip(contexts, by_row, strict=True) for r in solve_prefixes(world, c, k)
    ]
    for engine in ("dense", "elimination"):
        result = posterior(
            model,
            contexts,
            given=known,
            joint=True,
            filtered=True,
            smoothed=True,
            engine=engine,
            impossible="mark",
        )
        assert_answers(result, references)
        if not prefixes:
            continue
        assert_log_close(result.running_evidence, [r.log_evidence for r in prefixes])
        for name, log_p in result.filtered.items():
            assert_log_close(log_p, [r.log_marginals[name] for r in prefixes])
            table = result.log_marginals[name].cpu()
            repeated = table.repeat_interleave(torch.tensor(result.lengths), 0)
            assert_log_close(result.smoothed[name], repeated)


def check_moving(world, model, contexts, known, separator="_"):
    """Sequence and elimination engines, filtered and smoothed, against every joint value."""
    by_row = rows_of(known, len(contexts))
    pairs = list(zip(contexts, by_row, strict=True))
    references = [solve(world, c, k) for c, k in pairs]
    prefixes = [r for c, k in pairs for r in solve_prefixes(world, c, k)]
    smoothed = [table for c, k in pairs for table in smooth(world, c, k)]
    evidence = {name.replace("_", separator): index for name, index in known.items()}
    for engine in ("sequence", "elimination"):
        by_position = engine == "sequence"
        result = posterior(
            model,
            contexts,
            given=evidence,
            joint=True,
            filtered=by_position,
            smoothed=by_position,
            engine=engine,
            impossible="mark",
        )
        assert_answers(result, references)
        if not (by_position and prefixes):
            continue
        assert_log_close(result.running_evidence, [r.log_evidence for r in prefixes])
        for name in world.names:
            assert_log_close(result.filtered[name], [r.log_marginals[name] for r in prefixes])
            assert_log_close(result.smoothed[name], [table[name] for table in smoothed])


@settings(max_examples=40)
@given(data=st.data())
def test_concepts_that_move_are_filtered_and_smoothed_exactly(data):
    world = data.draw(moving_worlds())
    longest = 8 if world.sizes == (2,) else 5 if math.prod(world.sizes) <= 4 else 3
    contexts = data.draw(contexts_of(world, longest))
    check_moving(world, as_program(world), contexts, {})


@settings(max_examples=20)
@given(data=st.data())
def test_what_is_known_of_a_position_changes_the_others(data):
    world = data.draw(moving_worlds())
    shortest = 3
    contexts = [context + [-1] * shortest for context in data.draw(contexts_of(world, 1))]
    sizes = {f"m_{t}": world.first[0].size for t in range(shortest)}
    sizes |= {site.name: site.size for site in world.static}
    known = data.draw(knowledge_of(sizes, len(contexts)))
    check_moving(world, as_program(world), contexts, known)


@settings(max_examples=25)
@given(data=st.data())
def test_concepts_in_the_position_plate_have_a_value_at_each_position(data):
    world = data.draw(moving_worlds(loop=False))
    longest = 5 if math.prod(world.sizes) <= 4 else 3
    contexts = data.draw(contexts_of(world, longest))
    check_moving(world, as_program(world, moving="plate"), contexts, {}, separator=".")


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), n_members=st.integers(1, 4), data=st.data())
def test_members_of_a_plate_are_concepts_of_their_own(seed, n_members, data):
    world, model = plated_world(seed, n_members)
    contexts = data.draw(contexts_of(world))
    references = [solve(world, context) for context in contexts]
    for engine in ("dense", "elimination"):
        result = posterior(model, contexts, joint=True, engine=engine, impossible="mark")
        assert_answers(result, references)


@settings(max_examples=20)
@given(data=st.data())
def test_chunks_and_repeated_contexts_change_nothing(data):
    world = data.draw(static_worlds() | moving_worlds())
    contexts = data.draw(contexts_of(world, longest=4)) * 2 + data.draw(contexts_of(world, 4))
    graph = compile_model(as_program(world), 4)
    asked = {"joint": True, "filtered": True, "smoothed": True, "impossible": "mark"}
    whole = posterior(graph, contexts, **asked)
    n = len(contexts)
    plan = make_plan(graph, Contexts.from_lists(contexts), kept_positions=True, joint_rows=n)
    memory = 2 * plan.bytes_per_context + plan.kept_bytes
    in_chunks = posterior(graph, contexts, memory=memory, **asked)
    assert_same(in_chunks, whole, 1e-12)
    name, size = next(iter(graph.sizes.items()))
    known = {name: [row % (size + 1) - 1 for row in range(n)]}
    known_in_chunks = posterior(graph, contexts, given=known, memory=memory, **asked)
    assert_same(known_in_chunks, posterior(graph, contexts, given=known, **asked), 1e-12)
    given_nothing = {name: [-1] * n}
    unshared = posterior(graph, contexts, given=given_nothing, **asked)
    assert_same(unshared, whole, 1e-12)


@settings(max_examples=20)
@given(data=st.data())
def test_float32_keeps_five_digits(data):
    world = data.draw(static_worlds(zeros=False) | moving_worlds(zeros=False))
    contexts = data.draw(contexts_of(world, longest=6))
    double = posterior(as_program(world), contexts, joint=True)
    single = posterior(as_program(world), contexts, joint=True, dtype=torch.float32)
    assert single.log_evidence.dtype == torch.float32
    assert_same(single, double, 2e-5)


def coin(p_heads=(0.5, 0.9), prior=0.3):
    """One binary concept, two tokens."""
    table = torch.tensor([[1 - p, p] for p in p_heads], dtype=torch.float64)

    def model(n_tokens):
        a = pyro.sample("a", dist.Bernoulli(prior)).long()
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(Vindex(table)[a]))

    return model


def test_an_empty_context_has_the_prior():
    result = posterior(coin(), [[], [0]])
    assert_log_close(result.log_marginals["a"][0], [math.log(0.7), math.log(0.3)], 1e-15)
    assert float(result.log_evidence[0]) == pytest.approx(0, abs=1e-15)


def test_no_contexts_have_no_posteriors():
    result = posterior(coin(), [], joint=True, filtered=True)
    assert len(result) == 0
    assert result.log_marginals["a"].shape == (0, 2)
    assert result.filtered["a"].shape == (0, 2)


def test_contexts_come_as_lists_tensors_tables_or_contexts():
    rows = [[0, 1, 1], [1, 1, 0]]
    expected = posterior(coin(), rows).log_marginals["a"]
    for contexts in (
        torch.tensor(rows),
        pd.DataFrame({"x": rows}),
        Contexts.from_lists(rows),
        (tuple(row) for row in rows),
    ):
        torch.testing.assert_close(posterior(coin(), contexts).log_marginals["a"], expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("engine", ["dense", "elimination"])
def test_a_value_at_minus_two_thousand_nats_is_there_and_not_at_minus_infinity(engine, dtype):
    model, n = coin((0.1, 0.9)), 911
    result = posterior(model, [[0] * n, [0]], engine=engine, dtype=dtype)
    odds = math.log(3 / 7) + n * (math.log(0.1) - math.log(0.9))
    assert odds < -2000
    tolerance = 1e-9 if dtype == torch.float64 else 0.05
    assert_log_close(result.log_marginals["a"][0], [0.0, odds], tolerance)
    assert_log_close(
        result.log_marginals["a"][1], [math.log(0.63 / 0.66), math.log(0.03 / 0.66)], 1e-6
    )


def test_a_concept_behind_the_evidence_is_right_in_the_tails():
    """c depends on a almost surely; only a is seen, at −2,000 nats: so is c."""
    follow = torch.eye(2, dtype=torch.float64)
    emission = torch.tensor([[0.9, 0.1], [0.1, 0.9]], dtype=torch.float64)

    def model(n_tokens):
        a = pyro.sample("a", dist.Bernoulli(0.5)).long()
        pyro.sample("c", dist.Categorical(Vindex(follow)[a]))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(Vindex(emission)[a]))

    for engine in ("dense", "elimination"):
        result = posterior(model, [[0] * 920], engine=engine)
        assert_log_close(result.log_marginals["c"], result.log_marginals["a"])
        assert float(result.log_marginals["c"][0, 1]) < -2000


def test_impossible_contexts_are_named_by_row_or_marked():
    model = coin((0.0, 0.0))
    contexts = [[0], [0, 1], [0, 0], [1]]
    with pytest.raises(ImpossibleContextError, match=r"2 contexts have .* zero.*row 1 .*; row 3 "):
        posterior(model, contexts)
    for engine in ("dense", "elimination"):
        result = posterior(model, contexts, joint=True, engine=engine, impossible="mark")
        gone = [False, True, False, True]
        for table in (result.log_marginals["a"], result.log_joint):
            assert torch.isneginf(table).all(1).tolist() == gone
        assert torch.isneginf(result.log_evidence).tolist() == gone
        assert result.entropy[1] == 0
    with pytest.raises(InputError, match="impossible must be 'raise' or 'mark', not 'drop'"):
        posterior(model, contexts, impossible="drop")
    with pytest.raises(ImpossibleContextError) as caught:
        posterior(model, contexts)
    np.testing.assert_array_equal(caught.value.rows, [1, 3])


def test_evidence_that_contradicts_the_prior_is_impossible():
    with pytest.raises(ImpossibleContextError, match=r"1 context has.*row 0"):
        posterior(coin(prior=0.0), [[0], [1]], given={"a": [1, 0]})


def test_what_is_given_must_exist():
    with pytest.raises(InputError, match=r"no concept 'b'; it has: a"):
        posterior(coin(), [[0]], given={"b": [0]})
    with pytest.raises(InputError, match=r"given\['a'\], row 1: value 2 does not exist"):
        posterior(coin(), [[0], [0]], given={"a": [0, 2]})
    with pytest.raises(InputError, match=r"given\['a'\] has shape \(1,\), the contexts are 2"):
        posterior(coin(), [[0], [0]], given={"a": [0]})


def test_a_table_has_one_row_for_each_context_in_order():
    result = posterior(coin(), [[1], [0], [1]], joint=True)
    table = result.to_frame()
    assert list(table.columns) == [
        "log_p.a.0",
        "log_p.a.1",
        "log_evidence",
        "entropy",
        "log_joint",
    ]
    assert table["log_p.a.1"][0] == table["log_p.a.1"][2] > table["log_p.a.1"][1]
    odds = math.log(0.3 * 0.9) - math.log(0.7 * 0.5)
    np.testing.assert_allclose(result.log_odds()["a.1:0"][0], odds, atol=1e-12)
    np.testing.assert_allclose(result.joint_log_ratios()[0], [odds], atol=1e-12)
    with pytest.raises(InputError, match="joint=True"):
        posterior(coin(), [[1]]).joint_log_ratios()


def test_progress_ends_at_the_number_of_contexts():
    seen = []
    posterior(
        coin(), [[0], [1], [0]], progress=lambda done, of: seen.append((done, of)), memory=1000
    )
    assert seen[-1] == (3, 3)


def learned(structure):
    """Parameters behind a softmax whose mask makes structural zeros."""
    mask = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])

    def rows(theta):
        weights = mask * theta.exp()
        return weights / weights.sum(-1, keepdim=True)

    def static(n_tokens):
        theta = pyro.param("theta", torch.zeros(3, 3))
        p = pyro.sample("p", dist.Beta(1.0, 1.0))
        b = pyro.sample("b", dist.Binomial(2, p)).long()
        c = pyro.sample("c", dist.Categorical(Vindex(rows(theta))[b]))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(Vindex(rows(theta.T))[c]))

    def moving(n_tokens):
        theta = pyro.param("theta", torch.zeros(3, 3))
        p = pyro.sample("p", dist.Beta(1.0, 1.0))
        z = None
        for t in pyro.markov(range(n_tokens)):
            first = dist.Binomial(2, p)
            z = pyro.sample(f"z_{t}", first if z is None else dist.Categorical(rows(theta)[z]))
            z = z.long()
            pyro.sample(f"x_{t}", dist.Categorical(Vindex(rows(theta.T))[z]))

    return static if structure == "static" else moving


@pytest.mark.parametrize("quantity", ["log_evidence", "entropy", "marginal", "joint"])
@pytest.mark.parametrize(
    ("structure", "engine"),
    [
        ("static", "dense"),
        ("static", "elimination"),
        ("moving", "sequence"),
        ("moving", "elimination"),
    ],
)
def test_gradients_are_those_of_finite_differences_also_beside_zeros(structure, engine, quantity):
    model, contexts = learned(structure), [[0, 1], [0, 0, 2], [1, 0], []]
    generator = torch.Generator().manual_seed(4)
    theta = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    p = torch.tensor(0.3, dtype=torch.float64)

    def value(theta, p):
        result = posterior(
            model, contexts, values={"theta": theta, "p": p}, engine=engine, joint=True
        )
        if quantity == "marginal":
            name = next(iter(result.log_marginals))
            return result.log_marginals[name].exp().square().sum()
        if quantity == "joint":
            return result.log_joint.exp().square().sum()
        return getattr(result, quantity).sum()

    theta.requires_grad_()
    p.requires_grad_()
    gradients = torch.autograd.grad(value(theta, p), (theta, p))
    step = 1e-6
    for parameter, gradient in zip((theta, p), gradients, strict=True):
        assert torch.isfinite(gradient).all()
        for place in itertools.product(*(range(n) for n in parameter.shape)):
            ends = []
            for sign in (1, -1):
                moved = {"theta": theta.detach().clone(), "p": p.detach().clone()}
                own = moved["theta" if parameter is theta else "p"]
                own[place] += sign * step
                ends.append(float(value(**moved)))
            assert float(gradient[place]) == pytest.approx(
                (ends[0] - ends[1]) / (2 * step), abs=2e-7
            )


def test_a_wrong_engine_or_too_small_a_budget_is_refused():
    with pytest.raises(InputError, match="engine 'exact' is unknown; choose one of auto, dense"):
        posterior(coin(), [[0]], engine="exact")
    with pytest.raises(InputError, match="no moving concepts"):
        posterior(coin(), [[0]], engine="sequence")
    with pytest.raises(
        MemoryBudgetError, match=r"one context needs [\d,]+ bytes.*budget is 8; raise"
    ):
        posterior(coin(), [[0]], memory=8)
