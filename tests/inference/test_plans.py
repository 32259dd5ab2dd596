"""The plan says which engine, how wide, in what chunks, before anything is allocated."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex

from concept_ppl.contexts.tokens import Contexts
from concept_ppl.errors import InputError, MemoryBudgetError
from concept_ppl.inference.plans import make_plan
from concept_ppl.programs.tracing import compile_model

HALF = torch.tensor([0.5, 0.5], dtype=torch.float64)
ROWS = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)


def coins(n, *, all_seen):
    def model(n_tokens):
        heads = [pyro.sample(f"c{i}", dist.Bernoulli(0.5)) for i in range(n)]
        seen = sum(heads) if all_seen else heads[0]
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Bernoulli((1 + seen) / (n + 2)))

    return compile_model(model, 4)


def moving(n_tokens):
    z = None
    for t in pyro.markov(range(n_tokens)):
        z = pyro.sample(f"z_{t}", dist.Categorical(HALF if z is None else Vindex(ROWS)[z]))
        pyro.sample(f"x_{t}", dist.Categorical(Vindex(ROWS)[z]))


BATCH = Contexts.from_lists([[0, 1, 1, 0]] * 50)


def test_the_engine_follows_from_the_structure():
    assert make_plan(coins(3, all_seen=True), BATCH).engine == "dense"
    assert make_plan(compile_model(moving, 4), BATCH).engine == "sequence"
    seen_one = make_plan(coins(40, all_seen=False), BATCH)
    assert seen_one.width <= 2
    assert seen_one.bytes_per_context < 10_000


def test_a_plan_is_told_in_words():
    plan = make_plan(coins(3, all_seen=True), BATCH, memory=1e9)
    text = plan.describe()
    assert text.startswith("engine dense: 50 contexts")
    assert "widest table over 3 concepts" in text
    assert f"{plan.bytes_per_context:,} bytes a context" in text


def test_chunks_keep_to_the_budget_and_one_context_must_fit():
    graph = coins(10, all_seen=True)
    one = make_plan(graph, BATCH, engine="dense").bytes_per_context
    assert one >= 8 * 2**10
    for memory in (one, 3.5 * one, 1e9):
        plan = make_plan(graph, BATCH, engine="dense", memory=memory)
        assert 1 <= plan.chunk <= 50
        assert plan.chunk * plan.bytes_per_context <= memory
    with pytest.raises(MemoryBudgetError, match=rf"needs {one:,} bytes with engine dense"):
        make_plan(graph, BATCH, engine="dense", memory=one - 1)


def test_a_table_over_twenty_two_concepts_is_refused_before_it_is_allocated():
    def model(n_tokens):
        heads = sum(pyro.sample(f"c{i}", dist.Bernoulli(0.5)) for i in range(22))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Bernoulli((1 + heads) / 24))

    graph = compile_model(model, 1)
    with pytest.raises(MemoryBudgetError, match=r"a table over 22 concepts.*budget is 10,000,000"):
        make_plan(graph, BATCH.take(BATCH.lengths[:1] * 0), memory=1e7)


def test_the_joint_that_is_kept_leaves_the_rest_of_the_budget_to_the_chunks():
    graph = coins(10, all_seen=True)
    without = make_plan(graph, BATCH, memory=1e6).bytes_per_context
    joint = make_plan(graph, BATCH, memory=1.5e6, joint_rows=50)
    table = 8 * 2**10
    assert joint.bytes_per_context == without + table
    assert joint.kept_bytes >= 50 * table
    assert joint.chunk * joint.bytes_per_context + joint.kept_bytes <= 1.5e6
    assert joint.chunk < make_plan(graph, BATCH, memory=1.5e6).chunk
    with pytest.raises(MemoryBudgetError, match=r"of 1,000 contexts over 1,024 joint values takes"):
        make_plan(graph, BATCH, memory=1.5e6, joint_rows=1000)
    assert make_plan(graph, BATCH, memory=float("inf"), joint_rows=10**9).chunk == 50


def test_an_engine_must_suit_the_model():
    with pytest.raises(InputError, match="engine 'fast' is unknown; choose one of auto, dense"):
        make_plan(coins(2, all_seen=True), BATCH, engine="fast")
    with pytest.raises(InputError, match="has no moving concepts; use engine='auto'"):
        make_plan(coins(2, all_seen=True), BATCH, engine="sequence")
    with pytest.raises(InputError, match="has moving concepts; use engine='auto'"):
        make_plan(compile_model(moving, 4), BATCH, engine="dense")
