"""Latent classes: items may differ in how many answers they have."""

import numpy as np
import pytest

from concept_ppl import fit, load_model, posterior, simulate
from concept_ppl.errors import ModelError
from concept_ppl.fitting.likelihoods.likelihood import make_likelihood
from concept_ppl.inference.posteriors import ImpossibleContextError

SURVEY = {"classes": 3, "items": 4, "answers": [3, 2, 2, 3]}


@pytest.fixture(scope="module")
def answered():
    return simulate(load_model("latent_classes", **SURVEY, seed=1), 400, seed=0)[["x"]]


def test_no_item_gets_an_answer_that_it_does_not_have(answered):
    np.testing.assert_array_equal(np.stack(answered["x"]).max(0), [2, 1, 1, 2])
    with pytest.raises(ImpossibleContextError):
        posterior(load_model("latent_classes", **SURVEY), [[0, 2, 0, 0]])


def test_equal_numbers_of_answers_are_the_model_of_one_number():
    one, each = (
        load_model("latent_classes", classes=2, items=3, answers=a, seed=2) for a in (4, [4, 4, 4])
    )
    rows = [[0, 3, 1], [2, 2, 2]]
    np.testing.assert_array_equal(
        posterior(one, rows).log_evidence, posterior(each, rows).log_evidence
    )


def test_tables_filled_up_with_zeros_are_looked_up_and_have_a_closed_form():
    model = load_model("latent_classes", **SURVEY, learn=True)
    program = make_likelihood(model, [[0, 1, 0, 2], [2, 0, 1, 0]]).program
    assert program.is_looked_up
    assert program.closed == {"share", *(f"response_{t}" for t in range(4))}


def test_what_cannot_occur_is_not_counted_however_the_table_is_written(answered):
    """2 shares, and 2 + 1 + 1 + 2 answers for each of three classes."""
    wide = load_model("latent_classes", classes=3, items=4, answers=3, learn=True)
    own = load_model("latent_classes", **SURVEY, learn=True)
    plain = {"restarts": 2, "standard_errors": False, "seed": 1, "tolerance": 1e-11}
    one, other = (fit(model, answered, **plain) for model in (wide, own))
    assert one.n_parameters == other.n_parameters == 2 + 3 * 6
    np.testing.assert_allclose(one.log_evidence, other.log_evidence, atol=1e-3)
    for t, a in enumerate(SURVEY["answers"]):
        assert other.values[f"response_{t}"].shape == (3, a)
        np.testing.assert_allclose(other.values[f"response_{t}"].sum(-1), 1)


def test_an_item_that_nobody_was_asked_has_no_free_number(answered):
    short = answered.assign(x=[row[:2] for row in answered["x"]])
    found = fit(
        load_model("latent_classes", **SURVEY, learn=True), short, restarts=1, standard_errors=False
    )
    assert found.n_parameters == 2 + 3 * (2 + 1)


def test_numbers_of_answers_for_other_items_are_refused():
    with pytest.raises(ModelError, match="answers are given for 2 items, but there are 4"):
        load_model("latent_classes", items=4, answers=[2, 3])
    with pytest.raises(ModelError, match="at least 2"):
        load_model("latent_classes", items=2, answers=[2, 1])
