"""A posterior averaged over draws is the ratio of averaged joint probabilities."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from concept_ppl import load_model, posterior
from concept_ppl.contexts.tokens import as_contexts
from concept_ppl.fitting.fits.fitted_models import draws_of
from concept_ppl.fitting.fits.predictions import averaged_posterior
from concept_ppl.fitting.fits.replicates import replicate
from concept_ppl.inference import ImpossibleContextError

from .made_fits import made_fit, made_tokens, write_program


@pytest.fixture
def made(tmp_path):
    program = write_program(tmp_path)
    tokens = made_tokens(program)
    fit, observed = made_fit(program, tokens, n_draws=10)
    return load_model(program), fit, observed


def test_new_contexts_weigh_draws_by_what_they_say_of_them(made):
    model, fit, _ = made
    contexts = as_contexts([[0, 0, 0, 1], [3], []])
    found = averaged_posterior(model, fit, contexts, n_draws=20, seen=False, joint=True)
    joint, evidence = np.zeros((3, 2)), np.zeros(3)
    for values in draws_of(fit):
        one = posterior(model, contexts, values=values)
        p = one.log_evidence.exp().numpy()
        joint += p[:, None] * one.log_marginals["topic"].exp().numpy() / 20
        evidence += p / 20
    expected = joint / joint.sum(1, keepdims=True)
    np.testing.assert_allclose(found.log_marginals["topic"].exp(), expected, rtol=1e-10)
    np.testing.assert_allclose(found.log_evidence.exp(), evidence, rtol=1e-10)
    np.testing.assert_allclose(found.log_joint.exp(), expected, rtol=1e-10)
    np.testing.assert_allclose(found.entropy, -(expected * np.log(expected)).sum(1), rtol=1e-10)


def test_contexts_that_were_fitted_count_every_draw_alike(made):
    model, fit, observed = made
    found = averaged_posterior(model, fit, observed.contexts, n_draws=20, seen=True)
    each = [
        posterior(model, observed.contexts, values=values).log_marginals["topic"].exp().numpy()
        for values in draws_of(fit)
    ]
    np.testing.assert_allclose(
        found.log_marginals["topic"].exp(), np.mean(each, axis=0), rtol=1e-10
    )


def test_a_context_that_some_draws_cannot_produce_is_answered_by_the_others(made):
    model, fit, _ = made

    def zero(values, n_draws):
        matched = {name: np.array(table) for name, table in values.items()}
        words = matched["words"].reshape(-1, *matched["words"].shape[2:])
        words[:n_draws, :, 3] = 0.0
        words /= words.sum(-1, keepdims=True)
        return replace(fit, matched=matched)

    contexts = as_contexts([[0, 1], [3]])
    some = averaged_posterior(model, zero(fit.matched, 5), contexts, n_draws=20, seen=False)
    for table in (some.log_marginals["topic"], some.log_evidence, some.entropy):
        assert bool(torch.isfinite(table).all())
    none = zero(fit.matched, 20)
    with pytest.raises(ImpossibleContextError, match="row 1; mark them"):
        averaged_posterior(model, none, contexts, n_draws=20, seen=False)
    marked = averaged_posterior(
        model, none, contexts, n_draws=20, seen=False, joint=True, impossible="mark"
    )
    assert torch.isneginf(marked.log_joint).all(1).tolist() == [False, True]
    assert torch.isneginf(marked.log_marginals["topic"]).all(1).tolist() == [False, True]
    assert marked.entropy[1] == 0


def test_fewer_draws_are_spread_over_the_chains(made):
    _, fit, _ = made
    assert len(draws_of(fit)) == 20
    assert len(draws_of(fit, 999)) == 20
    first, last = draws_of(fit, 2)
    np.testing.assert_array_equal(first["share"], fit.matched["share"][0, 0])
    np.testing.assert_array_equal(last["share"], fit.matched["share"][1, -1])


def test_replicates_have_the_lengths_and_the_gaps_of_the_data(made):
    model, fit, observed = made
    tokens = observed.contexts.tokens
    tokens[3] = -1
    drawn = replicate(model, fit, observed, 40, seed=1)
    assert drawn["x"].shape == (40, len(tokens))
    assert ((drawn["x"] == -1) == (tokens == -1)).all()
    assert drawn["y"].shape == (40, 60)
    again = replicate(model, fit, observed, 40, seed=1)
    np.testing.assert_array_equal(drawn["x"], again["x"])
    # The frequency of token 3: 4.5 standard errors of the mean over 40 data sets.
    expected = (fit.values["share"][:, None] * fit.values["words"]).sum(0)[3]
    shares = (drawn["x"] == 3).sum(1) / (len(tokens) - 1)
    assert abs(shares.mean() - expected) < 4.5 * shares.std() / np.sqrt(40)
