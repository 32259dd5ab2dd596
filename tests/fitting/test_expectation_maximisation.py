import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex

from concept_ppl import fit, simulate
from concept_ppl.fitting.algorithms.expectation_maximisation import (
    ExpectationMaximisation,
    m_step,
    plan_m_step,
)
from concept_ppl.fitting.fits.findings import doubts_about_point, flat_concepts
from concept_ppl.fitting.fits.merges import Point, concepts_of
from concept_ppl.fitting.likelihoods.likelihood import make_likelihood
from concept_ppl.fitting.methods import RENEWALS

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


def hidden_markov(n_tokens):
    """Two states and four token values, every table unknown."""
    first = pyro.sample("first", dist.Dirichlet(torch.ones(2)))
    move = pyro.sample("move", dist.Dirichlet(torch.ones(2, 2)).to_event(1))
    emission = pyro.sample("emission", dist.Dirichlet(torch.ones(2, 4)).to_event(1))
    state = None
    for t in pyro.markov(range(n_tokens)):
        state = pyro.sample(
            f"state_{t}", dist.Categorical(first if state is None else Vindex(move)[state])
        )
        pyro.sample(f"x_{t}", dist.Categorical(Vindex(emission)[state]))


STATES = {
    "first": np.array([0.5, 0.5]),
    "move": np.array([[0.904, 0.096], [0.287, 0.713]]),
    "emission": np.array([[0.698, 0.201, 0.099, 0.002], [0.055, 0.154, 0.3, 0.491]]),
}
ALIKE = {  # tokens independent of each other: a saddle of the likelihood, along which EM creeps
    "first": np.array([0.5, 0.5]),
    "move": np.array([[0.52, 0.48], [0.5, 0.5]]),
    "emission": np.array([[0.51, 0.18, 0.16, 0.15], [0.49, 0.19, 0.17, 0.15]]),
}


def of_states(n, seed=0):
    return simulate(hidden_markov, n, lengths=12, values=STATES, seed=seed)[["x"]]


def test_every_restart_leaves_the_plateau_of_independent_tokens():
    table = of_states(150)
    seen = np.bincount(np.concatenate(table["x"].to_list()), minlength=4)
    independent = float((seen * np.log(seen / seen.sum())).sum())
    found = fit(hidden_markov, table, restarts=3, standard_errors=False)
    truth = fit(
        hidden_markov, table, restarts=1, start=STATES, iterations=50, standard_errors=False
    )
    assert truth.restarts[0] - independent > 50  # nats that a plateau would miss
    assert (found.restarts > truth.restarts[0] - 1).sum() >= 2
    assert not any("may be one" in warning for warning in found.warnings)


def test_a_point_whose_states_are_alike_is_flat_and_said_to_be():
    likelihood = make_likelihood(hidden_markov, of_states(150))
    flat = {name: torch.from_numpy(value) for name, value in ALIKE.items()}
    true = {name: torch.from_numpy(value) for name, value in STATES.items()}
    ((name, merge),) = flat_concepts(likelihood, flat)
    assert name == "state"
    assert merge.n_removed == 6  # of 1 + 2 + 6, three remain: the frequencies of the tokens
    assert flat_concepts(likelihood, true) == []
    assert "Values '0' and '1' of concept 'state' may be one" in " ".join(
        doubts_about_point(likelihood, flat)
    )
    assert "may be one" not in " ".join(doubts_about_point(likelihood, true))


def test_states_merged_say_what_independent_tokens_say():
    table = of_states(40)
    tokens = np.concatenate(table["x"].to_list())
    likelihood = make_likelihood(hidden_markov, table)
    point = Point(likelihood, {name: torch.from_numpy(value) for name, value in STATES.items()})
    (concept,) = concepts_of(likelihood.program)
    merge = point.merge(concept, (0, 1))
    seen = np.bincount(tokens, minlength=4)
    independent = float((seen * np.log(seen / seen.sum())).sum())
    np.testing.assert_allclose(point.log_evidence - merge.cost, independent, rtol=1e-12)


def test_a_state_that_no_position_has_is_named():
    values = {**STATES, "first": np.array([1.0, 0.0]), "move": np.array([[1.0, 0.0], [0.5, 0.5]])}
    likelihood = make_likelihood(hidden_markov, of_states(20))
    said = doubts_about_point(likelihood, {n: torch.from_numpy(v) for n, v in values.items()})
    assert "Value '1' of concept 'state' has emptied: 0 of 240 positions" in " ".join(said)


def test_where_there_is_nothing_to_find_further_starts_are_tried_and_it_is_said():
    rng = np.random.default_rng(0)
    tokens = torch.from_numpy(rng.integers(0, 4, (200, 5)))
    found = fit(exchangeable, tokens, restarts=2, standard_errors=False)
    assert len(found.restarts) == 2 + RENEWALS
    assert "All 3 values of concept 'kind' may be one" in " ".join(found.warnings)


def test_leaps_save_most_of_the_steps():
    table = of_states(60)
    likelihood = make_likelihood(hidden_markov, table)
    plan = plan_m_step(likelihood.program)
    start = likelihood.program.random_values(torch.Generator().manual_seed(1))
    values = start
    for _ in range(150):
        plain, prior, counts = likelihood.expected_counts(values)
        values = m_step(likelihood.program, plan, values, counts)
    ascent = ExpectationMaximisation(likelihood, plan, start)
    for _ in range(50):
        leapt = sum(ascent.step())
        ascent.advance()
    assert leapt > plain + prior


def test_the_parts_of_a_likelihood_add_up():
    likelihood = make_likelihood(exchangeable, drawn(800))
    part = likelihood.part(np.arange(0, len(likelihood.weights), 2))
    assert part.weights.sum() < likelihood.weights.sum()
    values = likelihood.program.random_values(torch.Generator().manual_seed(0))
    rest = likelihood.part(np.arange(1, len(likelihood.weights), 2))
    whole, _, _ = likelihood.expected_counts(values)
    halves = [half.expected_counts(values)[0] for half in (part, rest)]
    np.testing.assert_allclose(sum(halves), whole, rtol=1e-12)


def test_a_concept_behind_computed_tables_is_not_judged_by_what_is_no_smaller_model():
    rows = [[0, 1, 2]] * 6 + [[2, 1, 1]] * 4
    likelihood = make_likelihood(computed, rows)
    values = likelihood.program.random_values(torch.Generator().manual_seed(0))
    assert flat_concepts(likelihood, values) == []
