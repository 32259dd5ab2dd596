"""The evidence of a context is the sum of its tokens' rows; bad tokens are named by row."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex

from concept_ppl.contexts.tokens import Contexts
from concept_ppl.errors import InputError
from concept_ppl.inference import evidence
from concept_ppl.inference.evidence import evidence_leaves, joint_evidence, prefix_evidence
from concept_ppl.inference.posteriors import posterior
from concept_ppl.programs.tracing import compile_model

from ..support.comparison import assert_log_close

TABLE = np.random.default_rng(0).dirichlet(np.ones(4), size=(5, 2, 3))
CONTEXTS = [[0, 3, 1], [], [2, -1, 3, 0, 1], [-1], [3]]


def graph_of(*, by_position):
    table = torch.as_tensor(TABLE)

    def model(n_tokens):
        a = pyro.sample("a", dist.Bernoulli(0.5)).long()
        b = pyro.sample("b", dist.Categorical(torch.ones(3) / 3))
        with pyro.plate("position", n_tokens):
            t = torch.arange(n_tokens) if by_position else torch.tensor(0)
            pyro.sample("x", dist.Categorical(Vindex(table)[t, a, b]))

    return compile_model(model, 5)


def by_hand(context, *, by_position):
    total = np.zeros((2, 3))
    for t, token in enumerate(context):
        if token >= 0:
            total += np.log(TABLE[t if by_position else 0, ..., token])
    return total.reshape(-1)


@pytest.mark.parametrize("by_position", [False, True])
def test_rows_are_summed_token_by_token_at_their_positions(by_position):
    graph, contexts = graph_of(by_position=by_position), Contexts.from_lists(CONTEXTS)
    expected = [by_hand(context, by_position=by_position) for context in CONTEXTS]
    assert_log_close(joint_evidence(graph, ("a", "b"), contexts, {}), expected, 1e-13)
    prefixes = [
        by_hand(context[: t + 1], by_position=by_position)
        for context in CONTEXTS
        for t in range(len(context))
    ]
    assert_log_close(prefix_evidence(graph, ("a", "b"), contexts, {}), prefixes, 1e-13)


def reading_by_turns(n_tokens):
    """Tokens read a, then (b, a), then b, then a again: a scope of its own for each position."""
    a = pyro.sample("a", dist.Bernoulli(0.5)).long()
    b = pyro.sample("b", dist.Categorical(torch.ones(3) / 3))
    table = torch.as_tensor(TABLE)
    for t in range(n_tokens):
        reads = [(a, 0), (a, b), (0, b), (a, 1), (1, b)][t]
        pyro.sample(f"x_{t}", dist.Categorical(Vindex(table)[t, *reads]))


def by_turns(context):
    total = np.zeros((2, 3))
    for t, token in enumerate(context):
        if token >= 0:
            log_rows = np.log(TABLE[t, ..., token])
            total += [log_rows[:, :1], log_rows, log_rows[:1], log_rows[:, 1:2], log_rows[1:]][t]
    return total


@pytest.mark.parametrize("largest", [0, evidence.MAX_LAID_OUT])
def test_positions_of_differing_scopes_are_summed_laid_out_or_not(monkeypatch, largest):
    monkeypatch.setattr(evidence, "MAX_LAID_OUT", largest)
    graph, contexts = compile_model(reading_by_turns, 5), Contexts.from_lists(CONTEXTS)
    known = torch.tensor([-1, 2, 0, -1, 1])
    expected = np.stack([by_turns(context) for context in CONTEXTS])
    assert_log_close(joint_evidence(graph, ("a", "b"), contexts, {}), expected.reshape(5, 6), 1e-13)
    excluded = (np.arange(3) != known[:, None].numpy()) & (known[:, None].numpy() >= 0)
    expected = np.where(excluded[:, None, :], -np.inf, expected).reshape(5, 6)
    answer = joint_evidence(graph, ("a", "b"), contexts, {"b": known})
    assert_log_close(answer, expected, 1e-13)


def test_what_is_known_excludes_the_other_values():
    graph, contexts = graph_of(by_position=False), Contexts.from_lists([[0], [0]])
    leaves = evidence_leaves(graph, contexts, {"b": torch.tensor([2, -1])})
    assert [leaf.scope for leaf in leaves] == [("a", "b"), ("b",)]
    never = -np.inf
    assert leaves[1].table.tolist() == [[never, never, 0], [0, 0, 0]]


@pytest.mark.parametrize("token", [4, 99, -2])
def test_a_token_outside_the_vocabulary_is_named_with_its_row(token):
    graph = graph_of(by_position=False)
    with pytest.raises(InputError, match=rf"row 2: token {token} is outside .*model, 0 to 3"):
        posterior(graph, [[0], [], [1, token], [5]])


def test_a_context_too_long_for_the_graph_is_named_with_its_row():
    with pytest.raises(InputError, match=r"row 1 has 6 tokens.*compiled for 5.*n_tokens=6"):
        posterior(graph_of(by_position=False), [[0], [0] * 6])


def test_rows_of_pairs_of_tokens_are_the_sums_of_their_rows(monkeypatch):
    """Many contexts of few tokens are summed two tokens at a time, unobserved ones among them."""
    rng = np.random.default_rng(1)
    contexts = Contexts.from_lists([rng.integers(-1, 4, n) for n in rng.integers(0, 6, 200)])
    graph = graph_of(by_position=False)
    assert evidence._goes_by_pairs(graph.emissions[0].tokens, contexts)
    by_pair = joint_evidence(graph, ("a", "b"), contexts, {})
    monkeypatch.setattr(evidence, "PAIR_CELLS", 0)
    assert_log_close(by_pair, joint_evidence(graph, ("a", "b"), contexts, {}), 1e-13)


def test_a_loop_whose_positions_read_one_table_is_counted_like_a_plate():
    table = torch.as_tensor(TABLE[0])

    def model(n_tokens):
        a = pyro.sample("a", dist.Bernoulli(0.5)).long()
        b = pyro.sample("b", dist.Categorical(torch.ones(3) / 3))
        for t in range(n_tokens):
            pyro.sample(f"x_{t}", dist.Categorical(Vindex(table)[a, b]))

    contexts = Contexts.from_lists(CONTEXTS)
    expected = joint_evidence(graph_of(by_position=False), ("a", "b"), contexts, {})
    assert_log_close(joint_evidence(compile_model(model, 5), ("a", "b"), contexts, {}), expected)
