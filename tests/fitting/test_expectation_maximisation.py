import numpy as np
import pytest
import torch

from concept_ppl import fit, simulate
from concept_ppl.fitting.algorithms.expectation_maximisation import (
    ExpectationMaximisation,
    m_step,
    plan_m_step,
)
from concept_ppl.fitting.likelihoods.likelihood import make_likelihood

from .programs import N_VALUES, PROGRAMS, classes, computed, exchangeable, mixture, moving

TRUTH = {
    "share": np.array([0.6, 0.4]),
    "emission": np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]),
}


def drawn(n=300, lengths=4, seed=0):
    return simulate(mixture, n, lengths=lengths, values=TRUTH, seed=seed)


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_step_lowers_the_objective(name):
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, N_VALUES.get(name, 3), rng.integers(1, 5)) for _ in range(60)]
    likelihood = make_likelihood(PROGRAMS[name], rows, weights=rng.random(60))
    start = likelihood.program.random_values(torch.Generator().manual_seed(0))
    ascent = ExpectationMaximisation(likelihood, plan_m_step(likelihood.program), start)
    objectives = []
    for _ in range(8 if name == "computed" else 25):
        objectives.append(sum(ascent.step()))
        ascent.advance()
    assert (np.diff(objectives) > -1e-9).all()
    assert objectives[-1] > objectives[0] + 1


def test_a_step_is_that_of_the_textbook():
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 3, (50, 4))
    likelihood = make_likelihood(classes, torch.from_numpy(tokens))
    program = likelihood.program
    values = program.random_values(torch.Generator().manual_seed(0))
    _, _, counts = likelihood.expected_counts(values)
    ours = m_step(program, plan_m_step(program), values, counts)
    share, response = values["share"].numpy(), values["response"].numpy()
    joint = share * np.prod([response[t, :, tokens[:, t]] for t in range(4)], axis=0)
    belief = joint / joint.sum(1, keepdims=True)
    np.testing.assert_allclose(ours["share"], belief.mean(0), rtol=1e-12)
    for t in range(4):
        table = np.stack([belief[tokens[:, t] == v].sum(0) for v in range(3)], 1)
        np.testing.assert_allclose(
            ours["response"][t], table / table.sum(1, keepdims=True), rtol=1e-10
        )


def test_where_all_concepts_are_known_em_counts():
    table = drawn()
    kinds = table["kind"].astype(int).to_numpy()
    found = fit(mixture, table, "em", restarts=1, given={"kind": kinds}).values
    counts = np.zeros((2, 3))
    for row, kind in zip(table["x"], kinds, strict=True):
        np.add.at(counts[kind], row, 1)
    smoothed = counts + np.array([[3, 1, 1], [1, 2, 3]]) - 1  # the mode under the prior
    np.testing.assert_allclose(
        found["emission"], smoothed / smoothed.sum(1, keepdims=True), rtol=1e-9
    )
    people = np.bincount(kinds, minlength=2) + np.array([4, 2]) - 1
    np.testing.assert_allclose(found["share"], people / people.sum(), rtol=1e-9)


def test_em_and_the_gradient_reach_the_same_mode():
    table = drawn()
    by_em = fit(mixture, table, "em", restarts=2, tolerance=1e-12)
    by_gradient = fit(mixture, table, "map", restarts=2, tolerance=1e-12)
    for name, value in by_em.values.items():
        np.testing.assert_allclose(by_gradient.values[name], value, atol=1e-5)
    assert np.isclose(by_em.restarts.max(), by_gradient.restarts.max(), rtol=1e-10)


def test_minibatches_come_near_the_same_mode():
    table = drawn(400)
    whole = fit(mixture, table, "map", restarts=1)
    parts = fit(mixture, table, "map", restarts=1, batch_size=50, iterations=40)
    assert whole.restarts[0] - parts.restarts[0] < 0.5  # nats, of about 1,600


def test_a_weight_is_a_number_of_copies():
    table = drawn(60)
    weights = np.random.default_rng(0).integers(0, 4, 60)
    weighted = fit(mixture, table, "em", restarts=1, weights=weights)
    copies = fit(mixture, table.loc[np.repeat(table.index, weights)], "em", restarts=1)
    assert np.isclose(weighted.log_evidence[0, 0], copies.log_evidence[0, 0], rtol=1e-9)
    for name, value in copies.values.items():
        np.testing.assert_allclose(weighted.values[name], value, atol=1e-6)


def test_tables_of_moving_concepts_are_recovered():
    truth = {
        "stay": np.array(0.85),
        "emission": np.array([[0.8, 0.1, 0.1], [0.1, 0.2, 0.7]]),
    }
    table = simulate(moving, 150, lengths=6, values=truth, seed=0)
    found = fit(moving, table, "em", restarts=1, tolerance=1e-6)
    errors = found.standard_errors
    order = [0, 1] if found.values["emission"][0, 0] > 0.5 else [1, 0]
    assert abs(found.values["stay"] - 0.85) < 4 * errors["stay"]
    difference = np.abs(found.values["emission"][order] - truth["emission"])
    assert (difference < 4 * errors["emission"][order]).all()


def test_few_labels_name_the_values():
    truth = {
        "share": np.array([0.5, 0.3, 0.2]),
        "emission": np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.1, 0.1, 0.1, 0.7]]),
    }
    table = simulate(exchangeable, 400, lengths=4, values=truth, seed=0)
    kinds = table["kind"].astype(int).to_numpy()
    known = np.where(np.arange(400) < 40, kinds, -1)
    found = fit(exchangeable, table, "em", restarts=3, given={"kind": known})
    assert found.matches == {}
    np.testing.assert_allclose(found.values["emission"], truth["emission"], atol=0.12)


def test_next_tokens_teach_the_tables_behind_them():
    truth = {
        "scale": 1.0,
        "weights": np.array([[2.0, 0, -2], [0, 2, -1]]),
        "bias": np.array([1, 0]),
    }
    table = simulate(computed, 200, lengths=3, values=truth, seed=0)
    alone = fit(computed, table[["x"]], "map", restarts=1, iterations=5, standard_errors=False)
    both = fit(computed, table, "map", restarts=1, iterations=5, standard_errors=False)
    assert alone.log_evidence[0, 0] > both.log_evidence[0, 0] + 50  # log p(x) > log p(x, y)
