"""The diversity condition: what token differences span, whichever token they are taken from."""

import numpy as np
import pytest

from concept_ppl.analyses import diversity_condition
from concept_ppl.errors import InputError


def test_rank_and_condition_are_those_of_the_differences():
    rng = np.random.default_rng(0)
    G = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 8)) + 5.0
    found = diversity_condition(G)
    assert (found.rank, found.holds) == (3, False)
    values = np.linalg.svd(G - G.mean(axis=0), compute_uv=False)
    assert found.condition_number == pytest.approx(values[0] / values[2], rel=1e-9)
    for first in (0, 17):
        differences = G - G[first]
        assert np.linalg.matrix_rank(differences) == 3
        np.testing.assert_allclose(differences @ found.basis @ found.basis.T, differences)


def test_a_common_shift_of_all_tokens_and_their_order_change_nothing():
    rng = np.random.default_rng(1)
    G = rng.normal(size=(40, 6))
    before, after = diversity_condition(G), diversity_condition(G[::-1] + rng.normal(size=6))
    assert before.holds
    assert after.rank == before.rank
    assert after.condition_number == pytest.approx(before.condition_number, rel=1e-8)


def test_fewer_tokens_than_coordinates_cannot_span_them():
    assert diversity_condition(np.random.default_rng(0).normal(size=(5, 9))).rank == 4


def test_the_tolerance_follows_the_precision_in_which_the_tokens_came():
    rng = np.random.default_rng(2)
    G = rng.normal(size=(200, 4)) @ rng.normal(size=(4, 16))
    assert diversity_condition(G.astype(np.float32)).rank == 4
    assert diversity_condition(G.astype(np.float32).astype(np.float64)).rank == 16


def test_bad_unembeddings_are_refused():
    with pytest.raises(InputError, match="the same vector for every token"):
        diversity_condition(np.ones((4, 3)))
    with pytest.raises(InputError, match="3 columns, the states have 5"):
        diversity_condition(np.eye(3), 5)
