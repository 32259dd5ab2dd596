"""A context without a posterior is refused by row, position and token, with what to do."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex

from concept_ppl import compile_model, fit, posterior
from concept_ppl.fitting.fits.fitted_models import draws_of
from concept_ppl.inference import ImpossibleContextError
from concept_ppl.inference.impossible_contexts import Impossibility

ROWS = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.4, 0.6, 0.0]], dtype=torch.float64)
MOVE = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)


def still(n_tokens):
    mood = pyro.sample("mood", dist.Bernoulli(0.3)).long()
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Categorical(Vindex(ROWS)[mood]))


still.labels = {"x": ("good", "so", "bad", "never")}


def alternating(n_tokens):
    mood = None
    for t in pyro.markov(range(n_tokens)):
        first = torch.tensor([0.5, 0.5]) if mood is None else Vindex(MOVE)[mood]
        mood = pyro.sample(f"mood_{t}", dist.Categorical(first))
        pyro.sample(f"x_{t}", dist.Categorical(Vindex(ROWS)[mood]))


def reasons(model, contexts, **options):
    with pytest.raises(ImpossibleContextError) as caught:
        posterior(model, contexts, **options)
    return caught.value


def test_the_first_token_that_cannot_follow_is_named():
    contexts = [[1, 1], [0, 1, 1, 2, 0], [3], [2, 1, 3]]
    for engine in ("dense", "elimination"):
        error = reasons(still, contexts, engine=engine)
        assert error.rows.tolist() == [1, 2, 3]
        assert error.reasons == (
            Impossibility(1, 3, 2, "bad"),
            Impossibility(2, 0, 3, "never"),
            Impossibility(3, 2, 3, "never"),
        )
        assert "row 1 at position 3, token 2 ('bad'); row 2 at position 0, token 3" in str(error)
        assert "impossible='mark', on the command line --impossible mark" in str(error)


def test_it_is_found_where_the_concept_moves_and_where_each_length_is_a_world_of_its_own():
    assert reasons(alternating, [[0, 2, 0, 2], [0, 2, 2]]).reasons == (Impossibility(1, 2, 2),)

    def by_length(n_tokens):
        with pyro.plate("position", n_tokens):
            pyro.sample("mood", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Categorical(ROWS[n_tokens % 2]))

    error = reasons(by_length, [[1, 2], [1, 0], [1, 2, 0], [2]])
    assert sorted(error.reasons, key=lambda reason: reason.row) == [
        Impossibility(0, 1, 2),
        Impossibility(2, 2, 0),
    ]


def test_what_is_given_may_be_impossible_whatever_the_tokens():
    def sure(n_tokens):
        pyro.sample("mood", dist.Categorical(torch.tensor([1.0, 0.0])))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(ROWS[0]))

    error = reasons(sure, [[0, 1], [1]], given={"mood": [1, 0]})
    assert error.reasons == (Impossibility(0),)
    assert "row 0, whatever its tokens" in str(error)
    by_tokens = reasons(still, [[1, 2]], given={"mood": [0]})
    assert by_tokens.reasons == (Impossibility(0, 1, 2, "bad"),)


def test_of_many_rows_the_first_are_named_and_the_others_counted():
    error = reasons(compile_model(still, 2), [[3]] * 1000)
    assert len(error.reasons) == 5
    assert "and 995 more" in str(error)
    assert len(str(error)) < 800


@pytest.mark.parametrize("concentration", [1.0, 1.1])
def test_the_prior_that_the_message_names_smooths(concentration):
    def unknown(n_tokens):
        table = pyro.sample("table", dist.Dirichlet(torch.full((2, 3), concentration)).to_event(1))
        mood = pyro.sample("mood", dist.Bernoulli(0.5)).long()
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(Vindex(table)[mood]))

    found = fit(unknown, [[0, 1, 0], [1, 1], [0, 0, 0]] * 10, "em")
    (values,) = draws_of(found, 1)
    if concentration > 1:
        assert torch.isfinite(posterior(unknown, [[2]], values=values).log_evidence).all()
        return
    with pytest.raises(
        ImpossibleContextError, match=r"row 0 at position 0, token 2; .*1\.1\)\) by"
    ):
        posterior(unknown, [[2]], values=values)
