"""p(y | x) = Σ_c p(c | x) p(y | c) in every world, or there is no p(y | c) and it is refused."""

import itertools
import random
import re

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex

from concept_ppl import load_model
from concept_ppl.errors import InputError
from concept_ppl.inference import (
    next_token_emission,
    next_token_emissions,
    posterior,
    predictive,
)
from concept_ppl.programs import compile_model

from ..support.brute_force import World
from ..support.comparison import assert_log_close
from ..support.programs import as_program, random_site


def joint_of(answer, names):
    """log p(names | x), shape (n, Π names), from the joint of all that is reported."""
    reported = [concept.name for concept in answer.concepts]
    table = answer.log_joint.reshape(-1, *(concept.size for concept in answer.concepts))
    out = [1 + i for i, name in enumerate(reported) if name not in names]
    table = table.logsumexp(out) if out else table
    kept = [name for name in reported if name in names]
    order = [1 + kept.index(name) for name in names]
    return table.permute(0, *order).reshape(len(table), -1)


def mixed(answer, emission):
    weights = joint_of(answer, emission.concepts)
    return (weights.unsqueeze(2) + emission.log_p).logsumexp(1)


def drawn_world(seed, *, moves):
    """Three concepts, or one that stays beside two that move; tokens and y read some of them."""
    rng = random.Random(seed)
    sizes: dict[str, int] = {}
    concepts, later = [], []
    for name in "abc":
        parents = {other: sizes[other] for other in sizes if rng.random() < 0.5}
        sizes[name] = rng.choice([2, 3])
        concepts.append(random_site(rng, name, sizes[name], parents, zeros=False))
        before = {f"{other}@1": sizes[other] for other in "bc" if other == name and moves}
        later.append(random_site(rng, name, sizes[name], parents | before, zeros=False))
    read, named = (
        {name: sizes[name] for name in rng.sample("abc", rng.choice([1, 2]))} for _ in range(2)
    )
    x, y = (random_site(rng, *site, zeros=False) for site in (("x", 3, read), ("y", 4, named)))
    cut = 1 if moves else 3
    return World(tuple(concepts[:cut]), (x,), (y,), tuple(concepts[cut:]), tuple(later[cut:]))


def answers_of(world, length):
    """Every set of concepts and every site that has an answer, and how many were refused."""
    contexts = [list(c) for c in itertools.product(range(3), repeat=length)]
    graph, longer = (compile_model(as_program(world), n) for n in (length, length + 1))
    exact = posterior(graph, contexts, joint=True)
    subsets = [s for k in (1, 2, 3) for s in itertools.combinations("abc", k)]
    refused = 0
    for site, model in (("y", graph), ("x", longer)):
        for asked in (None, *subsets):
            try:
                rows = next_token_emission(model, length, asked, site=site)
            except InputError:
                refused += 1
                continue
            yield exact, rows, predictive(model, contexts, site=site)
    yield refused


@pytest.mark.parametrize("moves", [False, True])
def test_the_predictive_is_the_mixture_of_the_rows_with_the_posterior(moves):
    answered = refused = 0
    for seed in range(12):
        *answers, n_refused = answers_of(drawn_world(seed, moves=moves), 2)
        refused += n_refused
        for exact, rows, bayes in answers:
            assert_log_close(mixed(exact, rows), bayes)
            assert_log_close(rows.log_posterior(exact), joint_of(exact, rows.concepts))
            answered += len(rows.concepts) < 3
    assert min(answered, refused) > 24


def test_what_is_refused_would_not_have_been_the_predictive(monkeypatch):
    """Were the rows given nevertheless, none would mix to what Bayes predicts."""
    world = drawn_world(0, moves=False)
    *answered, n_refused = answers_of(world, 2)
    monkeypatch.setattr(next_token_emissions, "_require_cut", lambda *_: None)
    *every, _ = answers_of(world, 2)
    gaps = [
        float((mixed(exact, rows).exp() - bayes.exp()).abs().max()) for exact, rows, bayes in every
    ]
    assert sum(gap > 1e-6 for gap in gaps) == n_refused == len(every) - len(answered) > 0


def test_the_next_token_of_a_hidden_process_comes_one_move_later():
    dice = load_model("hidden_dice")
    graph = compile_model(dice, 4)
    name = next(iter(graph.moving))
    move = next(f for f in graph.priors if f.site == graph.moving[name][3]).table.exp()
    tell = graph.emissions[3].tokens.table[0].exp()
    found = next_token_emission(dice, 3, name, site="x")
    assert found.concepts == (name,)
    assert found.values == graph.concepts[f"{name}_0"].labels
    torch.testing.assert_close(found.log_p.exp(), move @ tell, rtol=0, atol=1e-14)
    assert not torch.allclose(found.log_p.exp(), tell)


def test_several_parents_are_one_joint_concept_with_named_values():
    found = next_token_emission(load_model("concept_dag"), 2)
    assert found.concepts == ("c_0", "c_1", "c_2")
    assert found.values[:2] == ("c_0=0, c_1=0, c_2=0", "c_0=0, c_1=0, c_2=1")
    assert found.log_p.shape == (12, 12)
    torch.testing.assert_close(found.log_p.exp().diag(), torch.full((12,), 0.5 + 0.5 / 12).double())


def test_the_posterior_of_several_concepts_needs_the_joint():
    model = load_model("concept_dag")
    rows = next_token_emission(model, 2)
    with pytest.raises(InputError, match="ask for it with joint=True"):
        rows.log_posterior(posterior(model, [[0, 1]]))


def test_one_of_several_parents_is_refused_and_the_way_is_named():
    with pytest.raises(InputError, match=re.escape("given 'c_0', the context still tells")):
        next_token_emission(load_model("concept_dag"), 2, "c_0")


def two_coins(n_tokens):
    """The next token depends on the topic, and on a coin of which tokens tell nothing."""
    topic = pyro.sample("topic", dist.Bernoulli(0.3)).long()
    coin = pyro.sample("coin", dist.Bernoulli(Vindex(torch.tensor([0.2, 0.9]))[topic])).long()
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Bernoulli(Vindex(torch.tensor([0.4, 0.8]))[topic]))
    table = torch.tensor([[0.1, 0.6], [0.5, 0.7]])
    pyro.sample("y", dist.Bernoulli(Vindex(table)[topic, coin]))


def test_what_the_context_tells_nothing_of_is_summed_out_given_the_concept():
    found = next_token_emission(two_coins, 3, "topic").log_p.exp()[:, 1]
    expected = [0.8 * 0.1 + 0.2 * 0.6, 0.1 * 0.5 + 0.9 * 0.7]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    with pytest.raises(InputError, match="through 'topic'"):
        next_token_emission(two_coins, 3, "coin")


def leaves_home(n_tokens):
    """The state starts at home and leaves it: after one token it is nowhere else yet."""
    state = None
    move, tell = torch.tensor([[0.5, 0.5], [0.0, 1.0]]), torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    for t in pyro.markov(range(n_tokens)):
        probs = torch.tensor([1.0, 0.0]) if state is None else Vindex(move)[state]
        state = pyro.sample(f"state_{t}", dist.Categorical(probs))
        pyro.sample(f"x_{t}", dist.Categorical(Vindex(tell)[state]))


def test_a_value_that_cannot_occur_has_no_row():
    with pytest.raises(InputError, match="value 1 of state_0 cannot occur"):
        next_token_emission(leaves_home, 1, site="x")
    assert next_token_emission(leaves_home, 2, site="x").log_p.shape == (2, 2)


def test_a_text_that_closes_with_a_comma_has_words_before_it():
    """What follows the comma is a word only in a longer text, and it is one move further."""
    world = load_model("switching_languages", languages=("en", "fr"), top=20, switch=0.3)
    closing = next_token_emission(world, 3, "language", site="x").log_p.exp()
    assert closing[:, -1].tolist() == [1.0, 1.0]
    assert next_token_emission(world, 3, site="x").concepts == ()  # it depends on nothing
    found = next_token_emission(world, 3, "language", site="x", within=5).log_p.exp()
    words = compile_model(world, 5, lengths=()).emissions[0].tokens.table[0].exp()
    move = torch.tensor([[0.7, 0.3], [0.3, 0.7]], dtype=torch.float64)
    torch.testing.assert_close(found, move @ words, rtol=0, atol=1e-14)
    for wrong in ({"within": 3, "site": "x"}, {"within": 9}):
        with pytest.raises(InputError, match="within is"):
            next_token_emission(world, 3, **wrong)


def test_unknown_names_and_lengths_are_refused():
    graph = compile_model(two_coins, 2)
    with pytest.raises(InputError, match="no concept 'mood'; it has: topic, coin"):
        next_token_emission(graph, 2, "mood")
    with pytest.raises(InputError, match="no next-token site 'z'"):
        next_token_emission(graph, 2, site="z")
    with pytest.raises(InputError, match="compiled for 2 tokens, 3 are needed"):
        next_token_emission(graph, 2, site="x")
    with pytest.raises(InputError, match="name each concept once"):
        next_token_emission(graph, 2, ("topic", "topic"))
    with pytest.raises(InputError, match="n_tokens is -1"):
        next_token_emission(graph, -1)
