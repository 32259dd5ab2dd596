"""Pairs that share a word are one unit, and no unit is on both sides of a split."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concept_ppl.analyses.pairs.designs import lexeme_components, make_pair_design
from concept_ppl.errors import InputError

from .planted_pairs import planted_words


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=4, max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_word_is_on_both_sides_of_any_split(pairs):
    pairs = [(a, b) for a, b in pairs if a != b]
    if len(pairs) < 2:
        return
    first, second = (np.array(side) for side in zip(*pairs, strict=True))
    if lexeme_components(first, second).max() < 1:
        return
    design = make_pair_design(first, second, np.zeros(len(first), int), n_splits=5)
    for half in design.halves:
        here, there = ({*first[side], *second[side]} for side in (half, ~half))
        assert not here & there


def test_a_chain_of_shared_words_is_one_unit():
    first, second = np.array([0, 1, 5, 2]), np.array([1, 2, 6, 3])
    assert len(set(lexeme_components(first, second)[[0, 1, 3]])) == 1
    assert lexeme_components(first, second).max() == 1


def test_each_half_holds_about_half_the_pairs_of_every_concept():
    design = planted_words(0, n=31).design(n_splits=20)
    for half in design.halves:
        counts = np.bincount(design.concept[half], minlength=3)
        assert (np.abs(counts - 15.5) <= 1.5).all()
    assert len(np.unique(design.halves, axis=0)) == 20


def test_the_seed_draws_the_splits_and_nothing_else():
    words = planted_words(0)
    one, again, other = (words.design(seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.halves, again.halves)
    assert (one.halves != other.halves).any()
    np.testing.assert_array_equal(one.component, other.component)


def test_what_cannot_be_held_out_is_refused_by_name():
    with pytest.raises(InputError, match="Concept 'b' has 1 independent"):
        make_pair_design([0, 2, 4, 4], [1, 3, 5, 6], [0, 0, 1, 1], names=("a", "b"))
    with pytest.raises(InputError, match="Pair 1 has the same word twice"):
        make_pair_design([0, 2], [1, 2], [0, 0])
    with pytest.raises(InputError, match="one a pair"):
        make_pair_design([0, 2], [1, 3], [0])
    with pytest.raises(InputError, match="number from 0"):
        make_pair_design([0, -2], [1, 3], [0, 0])
    with pytest.raises(InputError, match="n_splits"):
        make_pair_design([0, 2], [1, 3], [0, 0], n_splits=0)
