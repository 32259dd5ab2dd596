"""A traced program as named tables: each table is the one that was written, under its names."""

import itertools

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro.ops.indexing import Vindex

from concept_ppl.programs.tracing import compile_model

from ..support.brute_force import log
from ..support.comparison import assert_log_close
from ..support.programs import as_program, moving_worlds, static_worlds


def entry(factor, assignment, sizes, value=None):
    """Look a table up by names; values of concepts with one value need no dimension."""
    place = tuple(assignment[name] for name in factor.scope)
    assert factor.table.shape[: len(place)] == tuple(sizes[name] for name in factor.scope)
    return float(factor.table[place] if value is None else factor.table[place][value])


@settings(max_examples=25)
@given(world=static_worlds())
def test_every_entry_of_every_table_is_what_was_written(world):
    graph = compile_model(as_program(world), 3)
    sizes = dict(zip(world.names, world.sizes, strict=True))
    assert graph.sizes == sizes
    for values in itertools.product(*(range(size) for size in world.sizes)):
        assignment = dict(zip(world.names, values, strict=True))
        for site, factor in zip(world.static, graph.priors, strict=True):
            written = site.rows[tuple(assignment[p] for p in site.parents)][assignment[site.name]]
            np.testing.assert_allclose(
                entry(factor, assignment, sizes), log(written), rtol=0, atol=1e-10
            )
        for site in world.next_tokens:
            row = site.rows[tuple(assignment[p] for p in site.parents)]
            for value, written in enumerate(row):
                own = entry(graph.next_tokens[site.name], assignment, sizes, value)
                np.testing.assert_allclose(own, log(written), rtol=0, atol=1e-10)


@settings(max_examples=20)
@given(world=moving_worlds(), n=st.integers(1, 4))
def test_moving_concepts_are_reported_under_their_base_name(world, n):
    graph = compile_model(as_program(world), n)
    assert tuple(graph.reported) == world.names
    assert graph.static == tuple(site.name for site in world.static)
    steps = {site.name: tuple(f"{site.name}_{t}" for t in range(n)) for site in world.first}
    assert graph.moving == steps
    assert graph.at_length(world.names, n)[-1] == f"{world.names[-1]}_{n - 1}"
    assert [(e.start, e.stop) for e in graph.emissions] == [(t, t + 1) for t in range(n)]
    assert graph.prefix_consistent


def test_steps_that_say_the_same_share_one_table():
    rows = torch.tensor([[0.9, 0.1], [0.2, 0.8]])

    def model(n_tokens):
        z = None
        for t in pyro.markov(range(n_tokens)):
            z = pyro.sample(f"z_{t}", dist.Categorical(rows[0] if z is None else Vindex(rows)[z]))
            pyro.sample(f"x_{t}", dist.Categorical(Vindex(rows)[z]))

    graph = compile_model(model, 50)
    assert len({id(emission.tokens) for emission in graph.emissions}) == 1
    assert len({factor.table.data_ptr() for factor in graph.priors}) == 2
    single = graph.to(dtype=torch.float32)
    assert single.dtype == torch.float32
    assert len({id(emission.tokens) for emission in single.emissions}) == 1
    assert graph.to(dtype=torch.float64) is graph
    assert_log_close(single.priors[0].table, graph.priors[0].table, 1e-6)
