"""A long loop is run at a few positions, and means what it means when it is run at all."""

import functools
import sys
import types

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex

from concept_ppl import load_model, posterior
from concept_ppl.errors import ModelError
from concept_ppl.programs import compile_model, loops
from concept_ppl.programs.enumeration import Enumeration, GivenValues
from concept_ppl.programs.loops import run
from concept_ppl.programs.positions import Position, Start, Uses

T = 60
MOVE = torch.tensor([[0.9, 0.1], [0.2, 0.8]], dtype=torch.float64)
EMIT = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], dtype=torch.float64)
OTHER = torch.tensor([[0.2, 0.2, 0.6], [0.3, 0.3, 0.4]], dtype=torch.float64)
BY_POSITION = torch.stack([EMIT if t < 40 else OTHER for t in range(T)])
BY_NAME = {f"x_{t}": EMIT if t != 45 else OTHER for t in range(T)}
SEEN = types.SimpleNamespace(n=0)


def step(t, z, table=EMIT):
    """One position of a hidden Markov model."""
    row = torch.full((2,), 0.5) if z is None else Vindex(MOVE)[z]
    z = pyro.sample(f"z_{t}", dist.Categorical(row))
    pyro.sample(f"x_{t}", dist.Categorical(Vindex(table)[z]))
    return z


def hidden_markov(n_tokens):
    z = None
    for t in pyro.markov(range(n_tokens)):
        z = step(t, z)
    pyro.sample("y", dist.Categorical(Vindex(EMIT)[z]))


def closed_by_a_comma(n_tokens):
    z = None
    for t in pyro.markov(range(n_tokens)):
        z = step(t, z, OTHER if t == n_tokens - 1 else EMIT)


def other_in_the_middle(n_tokens):
    z = None
    for t in pyro.markov(range(n_tokens)):
        z = step(t, z, OTHER if 30 <= t < 33 or t - 1 == 50 else EMIT)


def two_steps_back(n_tokens):
    before, z = None, None
    joint = torch.stack([MOVE, MOVE.flip(0)])
    for t in pyro.markov(range(n_tokens), history=2):
        row = torch.full((2,), 0.5) if before is None else Vindex(joint)[before, z]
        before, z = z, pyro.sample(f"z_{t}", dist.Categorical(row))
        pyro.sample(f"x_{t}", dist.Categorical(Vindex(EMIT)[z]))


def with_a_fixed_topic_and_a_kept_start(n_tokens):
    topic = pyro.sample("topic", dist.Bernoulli(torch.tensor(0.3))).long()
    first, z, table = None, None, torch.stack([EMIT, OTHER])
    for t in pyro.markov(range(n_tokens)):
        row = torch.full((2,), 0.5) if z is None else Vindex(MOVE)[z]
        z = pyro.sample(f"z_{t}", dist.Categorical(row))
        pyro.sample(f"x_{t}", dist.Categorical(Vindex(table)[topic, z]))
        first = z if first is None else first
    pyro.sample("y", dist.Categorical(Vindex(table)[topic, z]))


def by_tensor_of_positions(n_tokens):
    z = None
    for t in pyro.markov(range(n_tokens)):
        z = step(t, z, BY_POSITION[t])


def by_list_of_positions(n_tokens):
    z, tables = None, list(BY_POSITION)
    for t in pyro.markov(range(n_tokens)):
        z = step(t, z, tables[t])


def by_name_of_site(n_tokens):
    z = None
    for t in pyro.markov(range(n_tokens)):
        z = step(t, z, BY_NAME[f"x_{t}"])


def in_pairs(n_tokens):
    z = None
    for t, table in zip(pyro.markov(range(n_tokens)), BY_POSITION, strict=True):
        z = step(t, z, table)


def every_third(n_tokens):
    z = None
    for t in pyro.markov(range(n_tokens)):
        z = step(t, z, OTHER if t % 3 == 2 else EMIT)


def with_a_counter(n_tokens):
    z, count = None, 0
    for t in pyro.markov(range(n_tokens)):
        z = step(t, z, OTHER if count > 41 else EMIT)
        count += 1  # noqa: SIM113


def with_a_counter_elsewhere(n_tokens):
    z, SEEN.n = None, 0
    for t in pyro.markov(range(n_tokens)):
        z = step(t, z, OTHER if SEEN.n > 41 else EMIT)
        SEEN.n += 1


def with_a_closure(n_tokens):
    z, count = None, 0

    def table():
        nonlocal count
        count += 1
        return OTHER if count == 43 else EMIT

    for t in pyro.markov(range(n_tokens)):
        z = step(t, z, table())


def with_an_iterator(n_tokens):
    z, tables = None, iter(BY_POSITION)
    for t in pyro.markov(range(n_tokens)):
        z = step(t, z, next(tables))


def with_a_list(n_tokens):
    states = []
    for t in pyro.markov(range(n_tokens)):
        states.append(step(t, states[-1] if states else None))


def in_a_comprehension(n_tokens):
    z = pyro.sample("z", dist.Categorical(torch.tensor([0.4, 0.6])))
    tokens = [
        pyro.sample(f"x_{t}", dist.Categorical(Vindex(EMIT)[z]))
        for t in pyro.markov(range(n_tokens))
    ]
    pyro.sample("y", dist.Categorical(Vindex(EMIT if len(tokens) == n_tokens else OTHER)[z]))


def by_parameter(n_tokens):
    z = None
    for t in pyro.markov(range(n_tokens)):
        table = pyro.param(f"table_{t // 50}", (EMIT if t < 50 else OTHER).clone())
        z = step(t, z, table)


def in_two_loops(n_tokens):
    z = None
    for t in pyro.markov(range(0, n_tokens // 2)):
        z = step(t, z)
    for t in pyro.markov(range(n_tokens // 2, n_tokens)):
        z = step(t, z, OTHER)


def with_a_plate(n_tokens):
    z = None
    for t in pyro.markov(range(n_tokens)):
        row = torch.full((2,), 0.5) if z is None else Vindex(MOVE)[z]
        z = pyro.sample(f"z_{t}", dist.Categorical(row))
        with pyro.plate(f"seen_{t}", 3):
            pyro.sample(f"w_{t}", dist.Bernoulli(torch.tensor(0.2)), obs=torch.zeros(3))
        pyro.sample(f"x_{t}", dist.Categorical(Vindex(EMIT)[z]))


SHORTENED = (
    hidden_markov,
    closed_by_a_comma,
    other_in_the_middle,
    two_steps_back,
    with_a_fixed_topic_and_a_kept_start,
    in_two_loops,
    with_a_plate,
)
AS_WRITTEN = (
    by_tensor_of_positions,
    by_list_of_positions,
    by_name_of_site,
    in_pairs,
    every_third,
    with_a_counter,
    with_a_counter_elsewhere,
    with_a_closure,
    with_an_iterator,
    with_a_list,
    by_parameter,
)


def passes_of(model, n_tokens=T):
    """Return how many passes of its loops run when the model is traced."""
    enumeration = Enumeration(1, [])
    run(model, n_tokens, GivenValues({}), enumeration, walker=enumeration.walker)
    return sum(len(visits.ran) for visits in enumeration.visits)


def assert_same_graph(one, other):
    assert list(one.concepts.items()) == list(other.concepts.items())
    assert one.moving == other.moving
    assert one.next_tokens.keys() == other.next_tokens.keys()
    pairs = [*zip(one.priors, other.priors, strict=True)]
    pairs += [(one.next_tokens[name], other.next_tokens[name]) for name in one.next_tokens]
    for a, b in pairs:
        assert (a.site, a.scope) == (b.site, b.scope)
        assert torch.equal(a.table, b.table)
    for a, b in zip(one.emissions, other.emissions, strict=True):
        assert (a.start, a.stop, a.scope) == (b.start, b.stop, b.scope)
        assert torch.equal(a.tokens.table, b.tokens.table)


@pytest.mark.parametrize("model", [*SHORTENED, *AS_WRITTEN, in_a_comprehension])
def test_a_loop_means_what_it_means_pass_by_pass(model, monkeypatch):
    graph = compile_model(model, T, lengths=())
    monkeypatch.setattr(loops, "FEWEST", sys.maxsize)
    assert_same_graph(graph, compile_model(model, T, lengths=()))


@pytest.mark.parametrize("model", SHORTENED)
def test_a_loop_that_repeats_runs_at_a_few_positions(model):
    assert passes_of(model) <= 32
    assert passes_of(model, 10 * T) - passes_of(model, 9 * T) <= 8


@pytest.mark.parametrize("model", AS_WRITTEN)
def test_a_loop_that_sees_its_position_runs_at_all(model):
    assert passes_of(model) in {0, T}  # 0: the loop is not walked at all


def test_tables_that_are_learned_are_shared_by_all_positions():
    """The gradient of a table is that of all positions that read it."""
    move = MOVE.clone().requires_grad_()

    def model(n_tokens):
        z = None
        for t in pyro.markov(range(n_tokens)):
            row = torch.full((2,), 0.5) if z is None else Vindex(move)[z]
            z = pyro.sample(f"z_{t}", dist.Categorical(row))
            pyro.sample(f"x_{t}", dist.Categorical(Vindex(EMIT)[z]))

    total = torch.stack([f.table.exp().sum() for f in compile_model(model, T).priors[1:]]).sum()
    (gradient,) = torch.autograd.grad(total, move)
    assert passes_of(model) < T
    assert torch.isfinite(gradient).all()


def test_a_product_that_grows_with_the_position_is_not_taken_for_a_copy():
    one = torch.ones((), requires_grad=True)

    def model(n_tokens):
        z, scale = None, one * 1
        for t in pyro.markov(range(n_tokens)):
            scale = scale * one  # 1 at each position, with another derivative
            z = step(t, z, EMIT * scale)

    assert passes_of(model) == T


def wrong_at(position, what):
    def model(n_tokens):
        z = None
        for t in pyro.markov(range(n_tokens)):
            before, z = z, step(t, z)
            if t == position:
                what(before, z)

    return model


def branches(before, z):
    if (z == 1).all():
        pass


def does_not_sum_to_one(before, z):
    pyro.sample("w", dist.Categorical(torch.tensor([0.5, 0.4])))


def draws(before, z):
    torch.rand(())


def indexes_in_a_chain(before, z):
    table = torch.tensor([[[0.9, 0.1], [0.2, 0.8]], [[0.3, 0.7], [0.6, 0.4]]])
    pyro.sample("w", dist.Categorical(table[z][before]))


def names_a_copy(before, z):
    pyro.sample("z_20", dist.Categorical(torch.tensor([0.5, 0.5])))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (branches, "control flow"),
        (does_not_sum_to_one, r"sums to 0\.9"),
        (draws, "draws random numbers of its own"),
        (indexes_in_a_chain, "Vindex"),
        (names_a_copy, "two sites are called 'z_20'"),
    ],
)
def test_what_is_refused_is_refused_at_one_position_of_many(what, message):
    with pytest.raises(ModelError, match=message):
        compile_model(wrong_at(40, what), T, lengths=())


def test_a_number_remembers_with_what_it_was_compared():
    uses = Uses()
    t = Position(Start(5), uses)
    assert f"z_{t}" == "z_5"
    assert (t == 5, t < 9, t + 1 >= 6, t - 1 == 4) == (True, True, True, True)
    assert uses.compared == {5, 9}
    assert not uses.is_open
    assert [10, 11, 12, 13, 14, 15][t] == 15
    assert uses.is_open


@pytest.mark.parametrize(("compared", "steps"), [({9}, 3), ({8}, 2), ({5}, 0), ({4}, np.inf)])
def test_a_pass_repeats_until_a_comparison_comes_out_differently(compared, steps):
    assert Uses(compared).steps_until_other(5, 1) == steps


def test_a_long_context_has_the_posterior_of_the_forward_recursion():
    tokens = np.random.default_rng(0).integers(0, 3, (2, 3000))
    answer = posterior(hidden_markov, torch.from_numpy(tokens))
    for row, context in enumerate(tokens):
        state, total = np.full(2, 0.5), 0.0
        for t, token in enumerate(context):
            state = (state @ MOVE.numpy() if t else state) * EMIT.numpy()[:, token]
            total += np.log(state.sum())
            state /= state.sum()
        assert float(answer.log_evidence[row]) == pytest.approx(total, rel=1e-12)
        own = answer.log_marginals["z"][row].exp().numpy()
        np.testing.assert_allclose(own, state, rtol=1e-10)


def test_a_world_of_words_that_closes_with_a_comma_is_traced_at_a_few_positions():
    model = load_model("switching_languages", top=20)
    assert passes_of(model, 1000) < 20
    functools.partial(compile_model, model)(1000, lengths=())
