import re

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex

import concept_ppl
from concept_ppl import fit, load_model, posterior, simulate
from concept_ppl.errors import InputError, ModelError
from concept_ppl.fitting.likelihoods.likelihood import make_likelihood
from concept_ppl.inference.impossible_contexts import ImpossibleContextError

from .programs import classes, exchangeable, mixture

TRUTH = {
    "share": np.array([0.6, 0.4]),
    "emission": np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]),
}
ROWS = [[0, 1], [2, 2, 1], [0]]


def drawn(n=200, seed=0):
    return simulate(mixture, n, lengths=4, values=TRUTH, seed=seed)[["x"]]


def test_a_fit_says_what_it_is_and_how_to_name_its_model_again():
    model = load_model("latent_classes", classes=2, items=3, answers=3, learn=True)
    table = simulate(load_model("latent_classes", classes=2, items=3, answers=3), 100)[["x"]]
    found = concept_ppl.fit(model, table, "em", restarts=2, seed=5)
    assert (found.model, found.build["items"], found.options["seed"]) == ("latent_classes", 3, 5)
    assert found.shapes == {"share": (2,), "response": (3, 2, 3)}
    assert found.n_parameters == 1 + 3 * 2 * 2
    assert (found.n_contexts, found.n_tokens) == (100, 300)
    again = load_model(found.model, **found.build)
    expected = posterior(again, table, values=found.values).log_evidence.numpy()
    np.testing.assert_allclose(found.log_likelihood[0, 0], expected, rtol=1e-12)
    assert np.isclose(found.log_evidence[0, 0], expected.sum())


def test_standard_errors_are_binomial_where_all_is_known():
    table = drawn(400)
    kinds = np.arange(400) % 2
    found = fit(classes_of_two, table, "em", restarts=1, given={"kind": kinds})
    p = found.values["emission"]
    tokens = np.array([table["x"][kinds == k].map(len).sum() for k in (0, 1)])
    expected = np.sqrt(p * (1 - p) / tokens[:, None])
    np.testing.assert_allclose(found.standard_errors["emission"], expected, rtol=1e-9)


def classes_of_two(n_tokens):
    start = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]])
    emission = pyro.param("emission", start, constraint=dist.constraints.simplex)
    kind = pyro.sample("kind", dist.Bernoulli(0.5))
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Categorical(Vindex(emission)[kind.long()]))


def test_standard_errors_agree_with_the_spread_of_the_posterior():
    table = drawn(300)
    point = fit(mixture, table, "em", restarts=1, start=TRUTH)
    draws = fit(mixture, table, "nuts", chains=1, warmup=150, draws=300, start=TRUTH)
    spread = draws.draws["emission"].std((0, 1))
    np.testing.assert_allclose(point.standard_errors["emission"], spread, rtol=0.3)


def test_a_variational_posterior_lies_where_the_mode_is():
    table = drawn(300)
    point = fit(mixture, table, "em", restarts=1, start=TRUTH)
    found = fit(mixture, table, "svi", iterations=300, learning_rate=0.05, draws=100)
    for name, errors in point.standard_errors.items():
        assert (np.abs(found.values[name] - point.values[name]) < 3 * errors).all()
    assert found.history[0][-1] > found.history[0][0]
    assert found.restarts[0] < point.log_evidence[0, 0]  # a lower bound


def test_labels_of_a_draw_are_matched_by_tables_and_shares_follow():
    program = make_likelihood(exchangeable, [[0, 1, 2, 3]]).program
    from concept_ppl.fitting.fits.symmetries import find_symmetries, match_draws

    (symmetry,) = find_symmetries(program)
    values = program.random_values(torch.Generator().manual_seed(0))
    order = np.array([2, 0, 1])
    draws = {n: v.numpy()[np.argsort(order)][None, None] for n, v in values.items()}
    matched, orders = match_draws(program, [symmetry], draws, values)
    for name, value in values.items():
        np.testing.assert_allclose(matched[name][0, 0], value.numpy(), rtol=1e-12)
        np.testing.assert_allclose(draws[name][0, 0][orders["kind"][0, 0]], value, rtol=1e-12)


def test_a_concept_whose_prior_names_its_values_is_not_matched():
    from concept_ppl.fitting.fits.symmetries import find_symmetries

    assert find_symmetries(make_likelihood(mixture, ROWS).program) == []


def test_states_of_a_moving_concept_may_swap_where_staying_is_alike():
    from concept_ppl.fitting.fits.symmetries import find_symmetries

    from .programs import moving

    (symmetry,) = find_symmetries(make_likelihood(moving, ROWS).program)
    assert (symmetry.name, symmetry.n_values) == ("state", 2)


def test_more_values_than_the_data_support_are_said_with_the_evidence():
    model = load_model("topic_mixture", topics=3, vocabulary=4, learn=True)
    table = simulate(mixture, 400, lengths=4, values=TRUTH, seed=0)[["x"]]
    found = fit(model, table, "em", restarts=2, iterations=300)
    said = " ".join(found.warnings)
    assert re.search(r"Values '\d' and '\d' of concept 'topic' may be one: merged, they cost", said)
    assert "BIC prefers" in said
    enough = fit(mixture, table, "em", restarts=2)
    assert "may be one" not in " ".join(enough.warnings)


def test_concepts_that_share_a_table_are_not_merged_one_by_one():
    def twins(n_tokens):
        share = pyro.sample("share", dist.Beta(2.0, 2.0))
        emission = pyro.sample("emission", dist.Dirichlet(torch.ones(2, 3)).to_event(1))
        kinds = [pyro.sample(f"kind_{i}", dist.Bernoulli(share)) for i in range(2)]
        for t in range(n_tokens):
            pyro.sample(f"x_{t}", dist.Categorical(Vindex(emission)[kinds[t % 2].long()]))

    rng = np.random.default_rng(0)
    found = fit(twins, torch.from_numpy(rng.integers(0, 3, (40, 2))), "em", restarts=1)
    assert "may be one" not in " ".join(found.warnings)


def test_a_value_that_empties_is_named():
    truth = np.array([[0.98, 0.01, 0.01], [0.98, 0.01, 0.01]])
    table = simulate(mixture, 50, values={"share": [0.5, 0.5], "emission": truth}, seed=0)[["x"]]
    start = {"share": [1 - 1e-9, 1e-9], "emission": truth}

    def likely(n_tokens):
        simplex = dist.constraints.simplex
        share = pyro.param("share", torch.tensor([0.5, 0.5]), constraint=simplex)
        emission = pyro.param("emission", torch.full((2, 3), 1 / 3), constraint=simplex)
        kind = pyro.sample("kind", dist.Categorical(share))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(Vindex(emission)[kind]))

    found = fit(likely, table, "em", restarts=1, start=start)
    said = " ".join(found.warnings)
    assert "Value '1' of concept 'kind' has emptied" in said
    assert np.isfinite(found.values["emission"]).all()


def test_a_context_that_no_parameters_explain_is_named():
    def never_two(n_tokens):
        p = pyro.sample("p", dist.Beta(1.0, 1.0))
        kind = pyro.sample("kind", dist.Bernoulli(0.5))
        zero = torch.zeros(())
        rows = torch.stack([torch.stack([p, 1 - p, zero]), torch.stack([1 - p, p, zero])])
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(Vindex(rows)[kind.long()]))

    with pytest.raises(ImpossibleContextError, match="row 1"):
        fit(never_two, [[0, 1], [0, 2], [1]], "em")


def concentrated(n_tokens):
    sparse = dist.Dirichlet(torch.full((2, 3), 0.5)).to_event(1)
    emission = pyro.sample("emission", sparse)
    kind = pyro.sample("kind", dist.Bernoulli(0.5))
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Categorical(Vindex(emission)[kind.long()]))


def too_narrow(n_tokens):
    emission = pyro.sample("emission", dist.Dirichlet(torch.ones(3)))
    kind = pyro.sample("kind", dist.Categorical(torch.ones(3) / 3))
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Categorical(Vindex(emission)[kind, 0]))


BAD = [
    (mixture, ROWS, {"method": "guess"}, InputError, "choose one of em, map, svi, nuts"),
    (mixture, [], {}, InputError, "there are no contexts"),
    (mixture, [[1, 1], [1]], {}, InputError, "all 3 tokens are 1"),
    (mixture, [[None], []], {}, InputError, "no context holds an observed token"),
    (mixture, [[0, 1], [7]], {}, InputError, "row 1: token 7 is outside the vocabulary"),
    (mixture, ROWS, {"weights": [1, np.nan, 1]}, InputError, "row 1: weight nan is no number"),
    (mixture, ROWS, {"weights": [1, -1, 1]}, InputError, "row 1: weight -1.0 is no number"),
    (mixture, ROWS, {"weights": [1, 1]}, InputError, "weights have shape"),
    (mixture, ROWS, {"weights": [0, 0, 0]}, InputError, "all weights are 0"),
    (mixture, ROWS, {"given": {"mood": [0, 0, 0]}}, InputError, "no site 'mood'; it has: kind"),
    (mixture, ROWS, {"given": {"kind": [0, 2, 0]}}, InputError, "row 1: value 2 does not exist"),
    (mixture, ROWS, {"start": {"share": [1.0]}}, InputError, "'share' has shape"),
    (mixture, ROWS, {"start": {"share": [2.0, -1.0]}}, InputError, "outside of its range"),
    (mixture, ROWS, {"start": {"q": 1}}, InputError, "no parameter 'q'"),
    (mixture, ROWS, {"restarts": 0}, InputError, "restarts must be a whole number from 1"),
    (mixture, ROWS, {"batch_size": 2}, InputError, "takes all contexts at once"),
    (mixture, ROWS, {"method": "svi", "guide": "AutoMagic"}, InputError, "none of Pyro's"),
    (classes, ROWS, {"method": "nuts", "chains": 1}, ModelError, "which has no prior"),
    (classes, ROWS, {"method": "svi"}, ModelError, "only pyro.params"),
    (concentrated, ROWS, {}, ModelError, "'emission' has a concentration of 0.5, below 1"),
    (too_narrow, ROWS, {}, ModelError, "too many indices|fails"),
]


@pytest.mark.parametrize(("model", "rows", "options", "kind", "message"), BAD)
def test_bad_input_is_one_sentence(model, rows, options, kind, message):
    with pytest.raises(kind, match=message) as raised:
        fit(model, rows, **options)
    assert "\n" not in str(raised.value)


def test_a_table_without_a_mode_has_a_posterior_all_the_same():
    found = fit(concentrated, ROWS, "nuts", chains=1, warmup=20, draws=10)
    assert np.isfinite(found.log_evidence).all()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("topic_mixture", {"topics": 2, "vocabulary": 6, "x_informativeness": 1.0}),
        ("latent_classes", {"classes": 2, "items": 4, "answers": 3}),
        ("concept_dag", {"cardinalities": (2,), "vocabulary": 6, "expected_degree": 0}),
    ],
)
def test_a_zoo_model_recovers_the_tables_that_it_was_drawn_from(name, parameters):
    truth = load_model(name, **parameters)
    table = simulate(truth, 3000, lengths=4, seed=1)
    found = fit(load_model(name, **parameters, learn=True), table[["x"]], "em", restarts=3)
    exact = posterior(truth, table[["x"]])
    ours = posterior(load_model(name, **parameters, learn=True), table[["x"]], values=found.values)
    (concept,) = exact.log_marginals
    p, q = (a.log_marginals[concept].exp().numpy() for a in (exact, ours))
    agreement = np.abs(p - q).mean(), np.abs(p - q[:, ::-1]).mean()
    assert min(agreement) < 0.06
    assert found.standard_errors


def test_a_summary_says_what_was_maximised():
    with_prior = fit(mixture, drawn(), restarts=2, standard_errors=False)
    found = re.search(
        r"Maximised is the log-evidence \+ log prior density of the parameters, (\S+) = (\S+) "
        r"([+−]) (\S+); restarts reached",
        with_prior.summary(),
    )
    whole, evidence, sign, prior = (part.replace(",", "") for part in found.groups())
    whole, evidence, prior = (float(part.replace("−", "-")) for part in (whole, evidence, prior))
    assert whole == pytest.approx(evidence + (prior if sign == "+" else -prior), abs=0.02)
    assert evidence == pytest.approx(with_prior.log_evidence[0, 0], abs=0.01)
    without = fit(classes_of_two, drawn(), restarts=1, standard_errors=False).summary()
    assert "Maximised is the log-evidence." in without
