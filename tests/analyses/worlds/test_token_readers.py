"""Readers of tokens: each feature equals its definition, written out token by token."""

import numpy as np
import pytest

from concept_ppl.analyses import random_vectors, token_readers, token_rows
from concept_ppl.errors import InputError

TOKENS = [2, 0, 1, 2, 0, 3, 1, 1, 2, 3]
LENGTHS = [6, 4]


@pytest.fixture
def contexts():
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 9, size=40)
    tokens = rng.integers(0, 5, size=lengths.sum())
    return tokens, lengths


def spans(tokens, lengths, vectors):
    ends = np.cumsum(lengths)
    return [
        (tokens[end - n : end], vectors[end - n : end])
        for end, n in zip(ends, lengths, strict=True)
    ]


def same_space(found, expected):
    """Features are known up to a linear map: each must be an affine function of the other."""
    for one, other in ((found, expected), (expected, found)):
        X = np.column_stack([np.ones(len(one)), one])
        left = other - X @ np.linalg.lstsq(X, other, rcond=None)[0]
        np.testing.assert_allclose(left, 0.0, atol=1e-8)


DEFINITIONS = {
    ("sum", ""): lambda ids, V: V.sum(0),
    ("mean", ""): lambda ids, V: V.mean(0),
    ("last tokens", "1"): lambda ids, V: V[-1],
    ("last tokens", "3"): lambda ids, V: np.concatenate([V[-1], V[-2], V[-3]]),
    ("decayed sum", "0.8"): lambda ids, V: (0.8 ** np.arange(len(V))[::-1]) @ V,
    ("weighted by position", ""): lambda ids, V: np.concatenate(
        [((np.arange(len(V)) + 1) / len(V)) ** power @ V for power in (0, 1, 2)]
    ),
    ("neighbours", "1"): lambda ids, V: np.concatenate(
        [sum(np.outer(V[t - 1], V[t]) for t in range(1, len(V))).ravel(), V.sum(0)]
    ),
    ("look-up", ""): lambda ids, V: np.concatenate(
        [
            sum((V[t + 1] for t in range(len(V) - 1) if ids[t] == ids[-1]), np.zeros(V.shape[1])),
            V[-1],
        ]
    ),
}


@pytest.mark.parametrize(("family", "member"), DEFINITIONS)
def test_features_are_what_their_names_say(contexts, family, member):
    tokens, lengths = contexts
    V = np.random.default_rng(1).normal(size=(5, 3))[tokens]
    found = token_readers(token_rows(tokens, lengths), V)[family][member]
    expected = [DEFINITIONS[family, member](ids, own) for ids, own in spans(tokens, lengths, V)]
    same_space(found, np.array(expected))


def test_a_bank_holds_every_decayed_sum(contexts):
    tokens, lengths = contexts
    families = token_readers(token_rows(tokens, lengths), random_vectors(tokens))
    bank = families["bank of decays"][""]
    X = np.column_stack([np.ones(len(bank)), bank])
    for one in (families["sum"][""], *families["decayed sum"].values()):
        left = one - X @ np.linalg.lstsq(X, one, rcond=None)[0]
        np.testing.assert_allclose(left, 0.0, atol=1e-7)


def test_tokens_that_close_every_context_are_passed_over():
    closed = token_rows(TOKENS, LENGTHS)
    assert closed.closing == 1
    last = token_readers(closed, random_vectors(TOKENS))["last tokens"]["1"]
    assert not np.array_equal(last[0], last[1])
    open_rows = token_rows([*TOKENS[:-1], 0], LENGTHS)
    assert open_rows.closing == 0


def test_rows_read_within_a_context_know_nothing_of_what_follows(contexts):
    tokens, lengths = contexts
    V = random_vectors(tokens)
    read = np.flatnonzero(np.random.default_rng(2).random(len(tokens)) < 0.5)
    rows = token_rows(tokens, lengths, read)
    starts = rows.offsets[rows.context]
    prefixes = [tokens[a : b + 1] for a, b in zip(starts, read, strict=True)]
    alone = token_rows(np.concatenate(prefixes), [len(one) for one in prefixes])
    if alone.closing:
        pytest.fail("the prefixes must differ in their last token")
    own = np.concatenate([V[a : b + 1] for a, b in zip(starts, read, strict=True)])
    within, apart = token_readers(rows, V), token_readers(alone, own)
    for family, members in within.items():
        for member, features in members.items():
            same_space(features, apart[family][member])


def test_no_reader_is_wider_than_was_asked():
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 400, size=3000)
    families = token_readers(token_rows(tokens, [10] * 300), random_vectors(tokens), widest=50)
    widths = {(a, b): x.shape[1] for a, family in families.items() for b, x in family.items()}
    assert max(width for (name, _), width in widths.items() if name != "neighbours") <= 50
    assert widths["neighbours", "1"] <= 50 + 50 // 4


def test_random_vectors_tell_tokens_apart_and_nothing_else():
    few = random_vectors([3, 1, 3, 7])
    np.testing.assert_array_equal(few @ few.T, np.equal.outer([3, 1, 3, 7], [3, 1, 3, 7]))
    many = random_vectors(np.arange(1000) % 700, width=64, seed=1)
    assert many.shape == (1000, 64)
    np.testing.assert_array_equal(many[:300], many[700:])
    assert len(np.unique(many, axis=0)) == 700


@pytest.mark.parametrize(
    ("tokens", "lengths", "read", "said"),
    [
        ([1, 2], [1], None, "add up to the 2 tokens"),
        ([1, 2], [2, 0], None, "must be 1 or more"),
        ([1, 2], [2], [1, 1], "must ascend"),
        ([1, 2], [2], [2], "must ascend among the 2 tokens"),
    ],
)
def test_bad_rows_are_refused(tokens, lengths, read, said):
    with pytest.raises(InputError, match=said):
        token_rows(tokens, lengths, read)


def test_a_vector_for_each_token_is_asked_for():
    with pytest.raises(InputError, match="9 vectors for 10 tokens"):
        token_readers(token_rows(TOKENS, LENGTHS), np.ones((9, 2)))
