import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex

from concept_ppl import compile_model
from concept_ppl.errors import ModelError
from concept_ppl.fitting.likelihoods.likelihood import make_likelihood
from concept_ppl.fitting.likelihoods.ties import CONSTANT, FREE

from .programs import PROGRAMS

ROWS = [[0, 1, 2, 0], [2, 1]]
CLOSED = {
    "mixture": {"share", "emission"},
    "exchangeable": {"share", "emission"},
    "classes": {"share", "response"},
    "moving": {"stay", "emission"},
    "computed": set(),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_parameters_whose_rows_tables_read_unchanged_are_found(name):
    assert make_likelihood(PROGRAMS[name], ROWS).program.closed == CLOSED[name]


@pytest.mark.parametrize("name", ["mixture", "exchangeable", "classes", "moving"])
def test_tables_that_are_looked_up_are_those_of_the_program(name):
    program = make_likelihood(PROGRAMS[name], ROWS).program
    assert program.is_looked_up
    for seed in range(3):
        values = program.random_values(torch.Generator().manual_seed(seed))
        tables, _ = program.evaluate(values)
        piece = program.pieces[0]
        graph = compile_model(PROGRAMS[name], piece.template.n_tokens, values=values)
        for ours, theirs in zip(tables[0], piece.tables(graph), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_a_row_in_another_order_is_no_row_of_the_parameter():
    def turned(n_tokens):
        with torch.no_grad():
            order = torch.tensor([1, 2, 0])
        p = pyro.sample("p", dist.Dirichlet(torch.ones(2, 3)).to_event(1))
        kind = pyro.sample("kind", dist.Bernoulli(0.5))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(Vindex(p[:, order])[kind.long()]))

    program = make_likelihood(turned, ROWS).program
    assert not program.closed
    assert all(int(i) in {FREE, CONSTANT} for tie in program.pieces[0].ties for i in tie.index)


def test_a_row_that_only_sometimes_is_the_parameters_is_not_tied():
    def mixed(n_tokens):
        p = pyro.sample("p", dist.Dirichlet(torch.ones(3)))
        q = pyro.sample("q", dist.Dirichlet(torch.ones(3)))
        kind = pyro.sample("kind", dist.Bernoulli(0.5))
        rows = torch.stack([p, (p + q) / 2])
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(Vindex(rows)[kind.long()]))

    program = make_likelihood(mixed, ROWS).program
    (tokens,) = (tie for tie in program.pieces[0].ties if tie.width == 3)
    assert tokens.index.tolist() == [0, FREE]
    assert not program.closed


def test_a_program_without_parameters_has_nothing_to_learn():
    def known(n_tokens):
        kind = pyro.sample("kind", dist.Bernoulli(0.5))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Bernoulli(0.2 + 0.5 * kind))

    with pytest.raises(ModelError, match="has nothing to learn"):
        make_likelihood(known, [[0, 1]])


def test_a_number_of_each_context_is_no_parameter():
    def local(n_tokens):
        kind = pyro.sample("kind", dist.Bernoulli(0.5))
        shift = pyro.sample("shift", dist.Normal(kind * torch.ones(1), 1.0).to_event(1))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Bernoulli(logits=shift.sum(-1)))

    with pytest.raises(ModelError, match="depends on a concept or the prior has the wrong shape"):
        make_likelihood(local, [[0, 1]])
