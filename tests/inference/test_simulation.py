"""Simulated contexts have the law of the program, and the same seed gives the same rows."""

import itertools
import math
from collections import Counter

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex
from scipy import stats

from concept_ppl.errors import InputError, MemoryBudgetError, ModelError
from concept_ppl.inference import simulation
from concept_ppl.inference.simulation import simulate, simulate_blocks

from ..support.brute_force import log_weights, unroll
from ..support.programs import as_program, example_moving_world, example_static_world

FAILURE_RATE = 2e-5
N = 20_000


def law(world, n_tokens):
    """Return the exact probability of each (concepts, tokens, next token)."""
    model, cells = unroll(world, n_tokens), {}
    (after,) = model.next_tokens
    for context in itertools.product(range(2), repeat=n_tokens):
        for assignment, weight in log_weights(model, context, {}):
            row = after.rows[tuple(assignment[p] for p in after.parents)]
            for y, p in enumerate(row):
                cells[(*assignment.values(), *context, y)] = math.exp(weight) * p
    assert math.isclose(sum(cells.values()), 1)
    return cells


def assert_fits(drawn, cells):
    """Chi-square over cells with at least five expected, the others together."""
    counts, n = Counter(drawn), len(drawn)
    assert all(cells[cell] > 0 for cell in counts)
    common = [cell for cell, p in cells.items() if n * p >= 5]
    observed = [counts[cell] for cell in common]
    expected = [n * cells[cell] for cell in common]
    if n - sum(expected) > 1:
        observed.append(n - sum(observed))
        expected.append(n - sum(expected))
    expected = np.array(expected) * n / sum(expected)
    assert stats.chisquare(observed, expected).pvalue > FAILURE_RATE


def test_static_concepts_tokens_and_next_tokens_are_drawn_from_their_joint_law():
    world = example_static_world()
    table = simulate(as_program(world), N, lengths=2, seed=1)
    assert list(table.columns) == ["x", "y", "a", "b"]
    drawn = [
        (int(a), int(b), *x, y)
        for a, b, x, y in zip(table["a"], table["b"], table["x"], table["y"], strict=True)
    ]
    assert_fits(drawn, law(world, 2))


@pytest.mark.parametrize("n_tokens", [1, 3])
def test_moving_concepts_are_drawn_along_the_context(n_tokens):
    world = example_moving_world()
    table = simulate(as_program(world), N, lengths=(1, 3), seed=2)
    own_rows = table[table["x"].map(len) == n_tokens]
    assert len(own_rows) > N / 4
    assert (own_rows["m"].map(len) == n_tokens).all()
    drawn = [
        (int(s), *map(int, m), *x, y)
        for s, m, x, y in zip(
            own_rows["s"], own_rows["m"], own_rows["x"], own_rows["y"], strict=True
        )
    ]
    assert_fits(drawn, law(world, n_tokens))


def by_length(n_tokens):
    """A program whose concept has another law at each length."""
    a = pyro.sample("a", dist.Bernoulli(n_tokens / 4)).long()
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Categorical(Vindex(rows)[a]))


def test_lengths_are_uniform_and_each_has_its_own_law():
    table = simulate(by_length, N, lengths=(1, 3), seed=3)
    lengths = table["x"].map(len)
    cells = {(n, heads): (n if heads else 4 - n) / 12 for n in (1, 2, 3) for heads in (0, 1)}
    assert_fits(list(zip(lengths, table["a"].astype(int), strict=True)), cells)
    assert all(set(x) == {int(a)} for x, a in zip(table["x"], table["a"], strict=True))
    assert table.index.equals(pd.RangeIndex(N))


def test_tables_of_consecutive_rows_are_the_whole_and_have_its_law(monkeypatch):
    monkeypatch.setattr(simulation, "BLOCK", 1_000)
    for model in (by_length, as_program(example_moving_world())):
        whole = simulate(model, N, lengths=(1, 3), seed=3)
        blocks = list(simulate_blocks(model, N, lengths=(1, 3), seed=3))
        assert [len(block) for block in blocks] == [1_000] * (N // 1_000)
        pd.testing.assert_frame_equal(pd.concat(blocks), whole)
        assert whole.index.equals(pd.RangeIndex(N))
        first, second = ([tuple(x) for x in block["x"]] for block in blocks[:2])
        assert first != second
    table = simulate(by_length, N, lengths=(1, 3), seed=3)
    cells = {(n, heads): (n if heads else 4 - n) / 12 for n in (1, 2, 3) for heads in (0, 1)}
    assert_fits(list(zip(table["x"].map(len), table["a"].astype(int), strict=True)), cells)
    lengths = np.arange(2_500) % 3
    given = simulate(by_length, 2_500, lengths=lengths, seed=3)
    np.testing.assert_array_equal(given["x"].map(len), lengths)


def test_long_contexts_are_drawn_fewer_at_a_time(monkeypatch):
    monkeypatch.setattr(simulation, "BLOCK_TOKENS", 100)
    sizes = [len(block) for block in simulate_blocks(by_length, 60, lengths=(1, 4))]
    assert sizes == [25, 25, 10]


def test_a_table_too_large_for_memory_is_refused_before_it_is_drawn(monkeypatch):
    monkeypatch.setattr(simulation, "BLOCK", 100)
    with pytest.raises(MemoryBudgetError, match=r"10,000,000,000,000 contexts would take .* PB of"):
        simulate(by_length, 10**13, lengths=2)


def test_the_same_seed_gives_the_same_rows_and_another_seed_others():
    model = as_program(example_moving_world())
    first, again, other = (simulate(model, 200, seed=seed) for seed in (5, 5, 6))
    pd.testing.assert_frame_equal(first, again)
    assert [tuple(x) for x in first["x"]] != [tuple(x) for x in other["x"]]
    assert first["x"].map(len).between(1, 8).all()


def test_simulation_neither_reads_nor_moves_the_global_generator():
    model = as_program(example_static_world())
    torch.manual_seed(1)
    first = simulate(model, 50, lengths=2)
    after = torch.rand(3)
    torch.manual_seed(1)
    torch.testing.assert_close(torch.rand(3), after)
    torch.manual_seed(2)
    pd.testing.assert_frame_equal(simulate(model, 50, lengths=2), first)


def test_words_and_lengths_of_the_model_are_used():
    model = as_program(example_static_world())
    model.labels = {"x": ("low", "high"), "a": ("no", "yes")}
    model.lengths = (2, 2)
    table = simulate(model, 20)
    words = [" ".join(("low", "high")[token] for token in x) for x in table["x"]]
    assert table["text"].tolist() == words
    assert set(table["a"]) == {"no", "yes"}


def test_no_tokens_are_a_context_too():
    table = simulate(as_program(example_static_world()), 10, lengths=0)
    assert all(len(x) == 0 for x in table["x"])


def test_each_context_may_have_a_length_of_its_own():
    lengths = np.array([2, 0, 1, 1, 2])
    table = simulate(as_program(example_static_world()), 5, lengths=lengths)
    np.testing.assert_array_equal(table["x"].map(len), lengths)


def test_bad_numbers_are_refused():
    model = as_program(example_static_world())
    with pytest.raises(InputError, match=r"lengths have shape \(2,\), the contexts are 3"):
        simulate(model, 3, lengths=np.array([1, 2]))
    with pytest.raises(InputError, match="number of contexts must be at least 1, not 0"):
        simulate(model, 0)
    for lengths in ((3, 1), -1, (-1, 2)):
        with pytest.raises(InputError, match="lengths must be 0 or more, shortest first"):
            simulate(model, 1, lengths=lengths)


def test_a_concept_does_not_take_the_place_of_a_column_that_means_something_else():
    def model(n_tokens):
        pyro.sample("weight", dist.Bernoulli(0.5))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Bernoulli(0.5))

    with pytest.raises(ModelError, match="give the site 'weight' another name"):
        simulate(model, 5)
