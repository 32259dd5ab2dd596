"""The paper's world: bits that are functions of permuted concepts, and what its knobs promise."""

import itertools
import math

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine

from concept_ppl import compile_model, load_model, posterior, predictive, simulate
from concept_ppl.errors import ModelError
from concept_ppl.inference.enumerated_contexts import enumerate_contexts


def written(model, concepts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """p(c), the bits that are read, and y, of each joint value: one run of the program for each."""
    p, x, y = [], [], []
    for values in itertools.product(range(2), repeat=concepts):
        known = {f"c_{i}": torch.tensor(value) for i, value in enumerate(values)}
        trace = poutine.trace(pyro.condition(model, known)).get_trace(model.lengths[0])
        trace.compute_log_prob()
        p.append(math.exp(sum(float(trace.nodes[name]["log_prob"]) for name in known)))
        x.append([int(trace.nodes[f"x_{t}"]["value"]) for t in range(model.lengths[0])])
        y.append(int(trace.nodes["y"]["value"]))
    return np.array(p), np.array(x), np.array(y)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("knobs", [{}, {"collisions": 0.4}, {"bits": 3, "masked": 1}])
def test_the_posterior_counts_the_joint_values_that_are_written_so(seed, knobs):
    model = load_model("one_hot_permutation", **{"bits": 5, "masked": 2} | knobs, seed=seed)
    p, x, y = written(model, 3)
    assert p.sum() == pytest.approx(1, abs=1e-12)
    world = enumerate_contexts(model, model.lengths)
    assert {tuple(row) for row in world.contexts.padded()} == {tuple(row) for row in x}
    for k, context in enumerate(world.contexts.padded()):
        fits = (x == context).all(1)
        exact = np.where(fits, p, 0) / p[fits].sum()
        assert float(world.probabilities[k]) == pytest.approx(p[fits].sum(), abs=1e-12)
        np.testing.assert_allclose(world.posterior.log_joint[k].exp(), exact, atol=1e-12)
        assert (torch.isneginf(world.posterior.log_joint[k]).numpy() == ~fits).all()
        p_y = np.bincount(y, exact, world.log_predictive.shape[1])
        np.testing.assert_allclose(world.log_predictive[k].exp(), p_y, atol=1e-12)


def test_the_map_is_invertible_until_joint_values_share_codes():
    def n_codes(**knobs):
        model = load_model("one_hot_permutation", concepts=4, **{"bits": 6} | knobs)
        _, x, y = written(model, 4)
        return len({(*row, value) for row, value in zip(x.tolist(), y.tolist(), strict=True)})

    assert n_codes() == 16
    assert [n_codes(collisions=share) for share in (0.25, 0.5, 1.0)] == [12, 8, 1]
    assert n_codes(bits=3, masked=1) == 8
    assert n_codes(bits=3, masked=1, collisions=0.75) == 4


def test_the_permutation_is_not_the_identity_and_changes_with_the_seed():
    codes = [written(load_model("one_hot_permutation", seed=seed), 3)[2] for seed in range(4)]
    assert len({tuple(code) for code in codes}) == 4
    assert len({tuple(written(load_model("one_hot_permutation"), 3)[2]) for _ in range(2)}) == 1


def test_noise_makes_log_ratios_finite_and_additive_and_leaves_the_rest_alone():
    clean = load_model("one_hot_permutation", seed=3)
    noisy = load_model("one_hot_permutation", noise=0.1, seed=3)
    first, second = (compile_model(model, 3) for model in (clean, noisy))
    pairs = zip(first.priors, second.priors, strict=True)
    assert all(torch.equal(a.table, b.table) for a, b in pairs)
    assert torch.equal(first.next_tokens["y"].table, second.next_tokens["y"].table)
    answer = posterior(noisy, [[], [0], [0, 1], [-1, 1]], joint=True)
    ratios = answer.joint_log_ratios()
    assert torch.isfinite(ratios).all()
    torch.testing.assert_close(ratios[2], ratios[1] + ratios[3] - ratios[0], rtol=0, atol=1e-12)
    odds = answer.log_odds().to_numpy()
    assert np.abs(odds[2] - odds[1] - odds[3] + odds[0]).max() > 1e-3


def test_half_noise_tells_nothing():
    model = load_model("one_hot_permutation", noise=0.5)
    flat = predictive(model, [[], [0, 1, 1]])
    torch.testing.assert_close(flat[0], flat[1], rtol=0, atol=1e-12)


def test_conditionals_lie_in_their_range_and_the_graph_has_its_degree():
    narrow = load_model("one_hot_permutation", parameter_range=(0.4, 0.45), expected_degree=2)
    tables = [factor.table.exp()[..., 1] for factor in compile_model(narrow, 3).priors]
    assert [table.ndim for table in tables] == [0, 1, 2]
    assert all(0.4 <= float(p) <= 0.45 for table in tables for p in table.reshape(-1))
    apart = load_model("one_hot_permutation", expected_degree=0)
    assert [factor.table.ndim for factor in compile_model(apart, 3).priors] == [1, 1, 1]


def test_simulated_bits_are_those_of_the_drawn_concepts():
    model = load_model("one_hot_permutation", concepts=4, bits=7, masked=3)
    _, x, y = written(model, 4)
    drawn = simulate(model, 200)
    joint = drawn[[f"c_{i}" for i in range(4)]].to_numpy(int) @ [8, 4, 2, 1]
    assert (np.stack(drawn["x"]) == x[joint]).all()
    assert (drawn["y"] == y[joint]).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"masked": 6}, "masked 1 to one less"),
        ({"concepts": 11}, "concepts must be 1 to 10"),
        ({"collisions": 1.5}, "collisions must be a number from 0 to 1"),
        ({"noise": 0.7}, "noise must be a number from 0 to 0.5"),
        ({"expected_degree": 3}, "expected_degree must be a number from 0 to 2"),
        ({"parameter_range": (0.8, 0.2)}, "the smaller first"),
        ({"parameter_range": (0.0, 1.0)}, "above 0"),
        ({"concepts": 10, "bits": 16, "masked": 15}, "mask fewer bits"),
    ],
)
def test_parameters_out_of_range_are_refused(parameters, message):
    with pytest.raises(ModelError, match=message):
        load_model("one_hot_permutation", **parameters)


def test_more_tokens_than_bits_are_refused():
    with pytest.raises(ModelError, match="3 bits to read, not 4"):
        posterior(load_model("one_hot_permutation"), [[0, 1, 0, 1]])
