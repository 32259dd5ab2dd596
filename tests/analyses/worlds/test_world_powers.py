"""What a world can tell: told shares, planted states, and the verdicts on them."""

import itertools

import numpy as np
import pytest
from scipy import special

from concept_ppl.analyses import (
    RESULT_COLUMNS,
    random_vectors,
    token_readers,
    token_rows,
    world_power,
)
from concept_ppl.analyses.worlds.planted_states import planted
from concept_ppl.errors import InputError


def binary_world(n=600, n_tokens=8, strength=0.7, seed=0):
    """Tokens that each speak for one of two values: the log-odds are additive in them."""
    rng = np.random.default_rng(seed)
    value = rng.integers(0, 2, n)
    p_one = special.expit(np.where(value, strength, -strength))
    tokens = (rng.random((n, n_tokens)) < p_one[:, None]).astype(int)
    odds = 2.0 * strength * (2 * tokens - 1)
    return tokens, odds, special.log_softmax(np.column_stack([np.zeros(n), odds.sum(1)]), axis=1)


def parity_world(n=1000, n_tokens=7, noise=0.1, seed=0):
    """The value is the parity of the first two tokens, seen through noise: nothing adds up."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 2, (n, n_tokens))
    sure = rng.normal(size=n) * 3.0 + 2.0
    odds = np.where(tokens[:, 0] ^ tokens[:, -1], sure, -sure) + noise * rng.normal(size=n)
    return tokens, special.log_softmax(np.column_stack([np.zeros(n), odds]), axis=1)


def readers_of(tokens):
    rows = token_rows(tokens.ravel(), [tokens.shape[1]] * len(tokens))
    return token_readers(rows, random_vectors(tokens.ravel()))


def test_an_additive_world_is_told_by_the_sum_of_its_tokens_and_shows_no_learning():
    tokens, odds, log_p = binary_world()
    result = world_power(
        log_p, readers=readers_of(tokens), additive=odds.sum(1, keepdims=True), n_replicates=20
    )
    told = dict(result.told)
    assert told["sum"].estimate > 0.999
    assert result.can_tell_learned is False
    by_kind = {one.kind: one for one in result.planted}
    assert by_kind["log-posterior"].learned.estimate == 0.0
    assert by_kind["additive sum"].false.estimate == 0.0


def test_where_nothing_adds_up_a_log_posterior_is_learned_and_an_additive_state_never_is():
    tokens, log_p = parity_world()
    additive = (2.0 * tokens - 1.0).sum(1, keepdims=True)
    readers = {name: readers_of(tokens)[name] for name in ("sum", "last tokens", "decayed sum")}
    result = world_power(log_p, readers=readers, additive=additive, n_replicates=20, width=16)
    by_kind = {one.kind: one for one in result.planted}
    assert result.can_tell_learned is True
    assert result.can_tell_form is True
    assert by_kind["log-posterior"].form.estimate >= 0.8
    assert by_kind["posterior"].form.estimate >= 0.8
    assert by_kind["additive sum"].false.estimate == 0.0
    assert by_kind["log-posterior"].share == pytest.approx(0.4, abs=0.06)
    assert "knows the log-posterior in" in result.summary()


def test_a_posterior_that_is_never_sure_cannot_tell_the_form():
    rng = np.random.default_rng(0)
    log_p = special.log_softmax(0.3 * rng.normal(size=(500, 2)), axis=1)
    result = world_power(log_p, n_replicates=20)
    assert dict(result.told)["posterior"].estimate > 0.99
    assert result.can_tell_form is False


def test_planted_states_tell_what_was_named():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(20_000, 3)) @ rng.normal(size=(3, 3))
    for signal in (0.2, 0.7):
        F = np.column_stack([np.ones(len(X)), planted(X, signal, 12, rng)])
        left = X - F @ np.linalg.lstsq(F, X, rcond=None)[0]
        share = 1.0 - np.square(left).sum() / np.square(X - X.mean(0)).sum()
        assert share == pytest.approx(signal, abs=0.02)


def test_in_an_enumerated_world_shares_are_exact():
    tokens = np.array(list(itertools.product((0, 1), repeat=4)))
    odds = 0.9 * (2.0 * tokens - 1.0)
    z = odds.sum(1)
    log_p = special.log_softmax(np.column_stack([np.zeros(16), z]), axis=1)
    p_tokens = np.prod(special.expit(odds), 1) + np.prod(special.expit(-odds), 1)
    weights = p_tokens / p_tokens.sum()
    readers = {"sum": tokens.sum(1, keepdims=True), "first": tokens[:, :1]}
    told = dict(world_power(log_p, readers=readers, weights=weights).told)
    assert told["sum"].estimate == pytest.approx(1.0, abs=1e-12)
    p = np.exp(log_p[:, 1])
    mean_z, mean_p = weights @ z, weights @ p
    r2 = (weights @ ((z - mean_z) * (p - mean_p))) ** 2 / (
        (weights @ (z - mean_z) ** 2) * (weights @ (p - mean_p) ** 2)
    )
    assert told["posterior"].estimate == pytest.approx(r2, rel=1e-10)
    assert np.isnan(told["posterior"].std_error)


def test_tables_and_lines():
    _, odds, log_p = binary_world(n=300)
    result = world_power(log_p, readers={"sum": odds.sum(1)}, n_replicates=5)
    table = result.tidy()
    assert tuple(table.columns) == RESULT_COLUMNS
    assert (table["quantity"] == "r2_log_odds").sum() == 3
    assert (table["quantity"] == "rate_form").sum() == 2
    assert 0.0 <= table.set_index("quantity")["estimate"]["beyond"] <= 1.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"signal": 1.0}, "signal is 1.0"),
        ({"log_p": np.zeros((10, 1))}, "two values or more"),
        ({"log_p": np.zeros((10, 2))}, "does not sum to one"),
        ({"additive": np.ones((3, 1))}, "additive has 3 rows, log_p has 60"),
    ],
)
def test_bad_input_is_named(change, said):
    log_p = special.log_softmax(np.random.default_rng(0).normal(size=(60, 2)), axis=1)
    with pytest.raises(InputError, match=said):
        world_power(**{"log_p": log_p, "n_replicates": 2} | change)
