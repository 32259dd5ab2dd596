"""A random DAG of concepts: its posterior, and what its knobs promise."""

import itertools
import math

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine

from concept_ppl import compile_model, load_model, posterior, predictive, simulate
from concept_ppl.errors import ModelError
from concept_ppl.programs.factors import FactorGraph
from concept_ppl.programs.sources import parse_parameter

from ..support.brute_force import Site, World, log_p, predict, solve, unroll
from ..support.comparison import assert_answers, assert_log_close

KNOBS = (0.0, 0.2, 0.5, 0.8, 1.0)


def world_of(model, sizes: tuple[int, ...]) -> World:
    """Read the tables off the running program, one run for each joint value of the concepts.

    Every concept counts as a parent of all later sites, so that a parent that the package overlooks
    is not overlooked here.
    """
    names = [f"c_{i}" for i in range(len(sizes))]
    rows = {name: {} for name in (*names, "x", "y")}
    for values in itertools.product(*map(range, sizes)):
        known = dict(zip(names, map(torch.tensor, values), strict=True))
        trace = poutine.trace(pyro.condition(model, known)).get_trace(1)
        for k, name in enumerate(rows):
            p = trace.nodes[name]["fn"].logits.reshape(-1).softmax(-1)
            rows[name][values[:k]] = tuple(p.tolist())
    sites = {name: Site(name, tuple(names[:k]), rows[name]) for k, name in enumerate(rows)}
    concepts = tuple(sites[name] for name in names)
    return World(concepts, (sites["x"],), (sites["y"],))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("determinism", [0.5, 1.0])
def test_the_posterior_is_that_of_brute_force(seed, determinism):
    sizes = (2, 3, 1, 2)
    model = load_model(
        "concept_dag",
        cardinalities=sizes,
        expected_degree=2,
        token_parents=2,
        vocabulary=3,
        y_determinism=determinism,
        seed=seed,
    )
    world = world_of(model, sizes)
    contexts = [[], [0], [2, 1], [0, 1, 2, 2], [1, -1, 0]]
    answer = posterior(model, contexts, joint=True)
    assert_answers(answer, [solve(world, context) for context in contexts])
    assert_log_close(predictive(model, contexts), [predict(world, row)["y"] for row in contexts])


@pytest.mark.parametrize("seed", range(3))
def test_drawn_concepts_are_calibrated_against_the_joint_posterior(seed):
    sizes = (2, 3, 2)
    model = load_model("concept_dag", expected_degree=2, seed=seed)
    contexts = simulate(model, 6000, seed=seed + 1)
    p = posterior(model, contexts, joint=True).log_joint.exp().numpy()
    drawn = contexts[["c_0", "c_1", "c_2"]].to_numpy(int).T
    hit = np.eye(12)[np.ravel_multi_index(tuple(drawn), sizes)]
    spread = np.sqrt((p * (1 - p)).sum(0))
    # 4.5 standard errors, twelve joint values: fails by chance in 8 of 100,000 looks.
    assert (np.abs((hit - p).sum(0)) < 4.5 * spread).all()
    # Its own weighting: where the posterior is sure, hits must be as frequent as it says.
    sure = p.max(1) > 0.8
    error = (hit - p)[sure, p[sure].argmax(1)]
    variance = (p * (1 - p))[sure, p[sure].argmax(1)].sum()
    assert sure.sum() > 100
    assert abs(error.sum()) < 4.5 * math.sqrt(variance)


def information_in_tokens(graph: FactorGraph, n_tokens: int) -> float:
    """I(c; x) = H(c) − Σ p(x) H(c | x) in nats, over every context of that length."""
    contexts = list(itertools.product(range(graph.vocabulary_size), repeat=n_tokens))
    answer = posterior(graph, contexts, impossible="mark")
    weights = answer.log_evidence.exp()
    assert float(weights.sum()) == pytest.approx(1, abs=1e-12)
    prior = posterior(graph, [[]]).entropy[0]
    return float(prior - weights @ answer.entropy)


def information_in_next_token(world: World) -> float:
    """I(c; y) in nats, summed over every joint value of concepts and next token."""
    model, (site,) = unroll(world, 0), world.next_tokens
    joint = solve(world, []).log_joint
    p_y = predict(world, [])["y"]
    every = itertools.product(*map(range, world.sizes))
    return math.fsum(
        math.exp(log_c + log_y) * (log_y - p_y[y])
        for values, log_c in zip(every, joint, strict=True)
        for y in range(site.size)
        if (log_y := log_p(site, y, dict(zip(model.last(world.names), values, strict=True))))
        > -math.inf
    )


@pytest.mark.parametrize("seed", range(4))
def test_tokens_tell_more_the_more_informative_they_are(seed):
    informations = []
    for knob in KNOBS:
        model = load_model("concept_dag", vocabulary=6, x_informativeness=knob, seed=seed)
        graph = compile_model(model, 3)
        informations.append([information_in_tokens(graph, n) for n in (1, 3)])
    assert np.allclose(informations[0], 0, atol=1e-12)
    assert (np.diff(informations, axis=0) > 1e-4).all()
    assert informations[-1][1] > informations[-1][0]


@pytest.mark.parametrize("seed", range(4))
def test_the_next_token_tells_more_the_more_it_copies(seed):
    informations, entropy = [], 0.0
    for knob in KNOBS:
        model = load_model("concept_dag", y_determinism=knob, seed=seed)
        world = world_of(model, (2, 3, 2))
        informations.append(information_in_next_token(world))
        entropy = solve(world, []).entropy
    assert informations[0] == pytest.approx(0, abs=1e-12)
    assert (np.diff(informations) > 1e-3).all()
    assert informations[-1] == pytest.approx(entropy, abs=1e-12)


def test_the_next_token_is_the_joint_value_at_one_and_says_nothing_at_zero():
    model = load_model("concept_dag", y_determinism=1.0)
    contexts = simulate(model, 300)
    drawn = contexts[["c_0", "c_1", "c_2"]].to_numpy(int).T
    assert (np.ravel_multi_index(tuple(drawn), (2, 3, 2)) == contexts["y"].to_numpy(int)).all()
    joint = posterior(model, contexts, joint=True).log_joint
    torch.testing.assert_close(predictive(model, contexts), joint, rtol=0, atol=1e-10)
    copy = compile_model(model, 1).next_tokens["y"].table.reshape(12, 12)
    assert torch.equal(copy.isneginf(), ~torch.eye(12, dtype=torch.bool))
    silent = load_model("concept_dag", y_determinism=0.0)
    flat = torch.full((len(contexts), 12), -math.log(12), dtype=torch.float64)
    torch.testing.assert_close(predictive(silent, contexts), flat, rtol=0, atol=1e-12)


def tables(**parameters) -> list[torch.Tensor]:
    graph = compile_model(load_model("concept_dag", **parameters), 1)
    return [*(factor.table for factor in graph.priors), graph.emissions[0].tokens.table]


def test_a_seed_is_a_world_and_the_knobs_change_no_draw():
    first, again, other = tables(seed=3), tables(seed=3), tables(seed=4)
    assert all(map(torch.equal, first, again))
    assert first[0].shape == other[0].shape
    assert not torch.equal(first[0], other[0])
    turned = tables(seed=3, x_informativeness=0.1, y_determinism=0.9)
    assert all(map(torch.equal, first[:-1], turned[:-1]))
    assert not torch.equal(first[-1], turned[-1])


def test_the_graph_has_as_many_edges_as_asked_for():
    def edges(degree):
        graphs = (
            compile_model(
                load_model("concept_dag", cardinalities=[2] * 7, expected_degree=degree, seed=s), 1
            )
            for s in range(30)
        )
        return [sum(len(factor.scope) - 1 for factor in graph.priors) for graph in graphs]

    assert set(edges(0)) == {0}
    assert set(edges(6)) == {21}
    # 30 graphs of 21 pairs, each an edge with probability 1/3: 210 ± 11.8.
    assert abs(sum(edges(2)) - 210) < 4 * 11.8
    assert len(set(edges(2))) > 1


def additivity_gap(model, names: tuple[str, ...]) -> float:
    """How far log-ratios of p(names | two tokens) are from the sum of those of each token."""
    graph = compile_model(model, 2)
    pairs = [[s, t] for s in range(4) for t in range(4)]
    answer = posterior(graph, [[], *([t] for t in range(4)), *pairs], joint=True)
    shape = (len(answer), *graph.sizes.values())
    drop = tuple(i + 1 for i, name in enumerate(graph.concepts) if name not in names)
    kept = answer.log_joint.reshape(shape)
    kept = (kept.logsumexp(drop) if drop else kept).reshape(len(answer), -1)
    ratios = kept[:, 1:] - kept[:, :1]
    prior, single, double = ratios[0], ratios[1:5], ratios[5:].reshape(4, 4, -1)
    return float((double - single[:, None] - single[None] + prior).abs().max())


def test_the_joint_of_the_token_parents_is_additive_in_the_tokens_and_its_marginals_are_not():
    world = {"expected_degree": 2, "vocabulary": 4, "y_determinism": None}
    both = load_model("concept_dag", token_parents=(0, 1), **world)
    assert additivity_gap(both, ("c_0", "c_1")) < 1e-12
    assert additivity_gap(both, ("c_0", "c_1", "c_2")) < 1e-12
    assert additivity_gap(both, ("c_0",)) > 0.01
    one = load_model("concept_dag", token_parents=(1,), **world)
    assert additivity_gap(one, ("c_1",)) < 1e-12
    assert additivity_gap(one, ("c_0",)) > 0.01


def test_token_parents_are_those_named_or_as_many_as_asked_for():
    def read(asked, seed=0):
        model = load_model("concept_dag", cardinalities=(2,) * 5, token_parents=asked, seed=seed)
        return compile_model(model, 1).emissions[0].scope

    assert sorted(read(None)) == [f"c_{i}" for i in range(5)]
    assert sorted(read((4, 1))) == ["c_1", "c_4"]
    drawn = [read(2, seed) for seed in range(10)]
    assert {len(scope) for scope in drawn} == {2}
    assert len(set(drawn)) > 2


def test_sixteen_concepts_are_answered_without_a_next_token():
    model = load_model(
        "concept_dag", cardinalities=(2,) * 16, token_parents=3, y_determinism=None, seed=2
    )
    answer = posterior(model, simulate(model, 20))
    assert len(answer.log_marginals) == 16
    total = torch.stack([p.exp().sum(1) for p in answer.log_marginals.values()])
    torch.testing.assert_close(total, torch.ones(16, 20, dtype=torch.float64))


@pytest.mark.parametrize("cardinalities", [(1,), (1, 1), (1, 3)])
def test_a_concept_may_have_one_value(cardinalities):
    model = load_model("concept_dag", cardinalities=cardinalities, expected_degree=0)
    answer = posterior(model, [[0, 1]])
    assert float(answer.log_marginals["c_0"]) == 0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("cardinalities=2,0", "cardinalities must be whole numbers from 1"),
        ("cardinalities=()", "cardinalities must be whole numbers from 1"),
        ("cardinalities=2,1.5", "cardinalities must be whole numbers from 1"),
        ("expected_degree=-1", "expected_degree must be a number from 0 to 2, not -1"),
        ("expected_degree=3", "expected_degree must be a number from 0 to 2, not 3"),
        ("x_informativeness=1.1", "x_informativeness must be a number from 0 to 1, not 1.1"),
        ("y_determinism=-.1", "y_determinism must be a number from 0 to 1, not -0.1"),
        ("y_determinism=some", "'y_determinism' of concept_dag takes a number"),
        ("vocabulary=0", "vocabulary must be a whole number from 1"),
        ("seed=-1", "seed one from 0, not 20 and -1"),
        ("token_parents=0", "token_parents must be .* 0 to 2, .* 1 to 3, not 0"),
        ("token_parents=4", "token_parents must be"),
        ("token_parents=0,0", "token_parents must be"),
        ("token_parents=3,", "token_parents must be"),
        ("token_parents=c_1", "token_parents must be .* not 'c_1'"),
        ("cardinalities=50,50", "table of 'y' would have 6,250,000 cells, .* y_determinism=None"),
        (
            "cardinalities=2048,2048",
            "table of 'x' would have 83,886,080 cells, .* smaller cardinalities",
        ),
    ],
)
def test_parameters_out_of_range_are_refused_in_one_sentence(parameters, message):
    with pytest.raises(ModelError, match=message) as refusal:
        load_model("concept_dag", **dict([parse_parameter(parameters)]))
    assert str(refusal.value).count(". ") == 0
    assert str(refusal.value).endswith(".")


def test_the_command_line_gives_cardinalities_as_a_list():
    parameters = dict(map(parse_parameter, ("cardinalities=3,2", "token_parents=1,")))
    graph = compile_model(load_model("concept_dag", **parameters), 1)
    assert graph.sizes == {"c_0": 3, "c_1": 2}
    assert graph.emissions[0].scope == ("c_1",)
