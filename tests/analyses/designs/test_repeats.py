"""Copies of a row are no held-out data: they are counted, once, and the remedy is named."""

import warnings

import numpy as np
import pytest

from concept_ppl.analyses import goodness_of_fit, probe
from concept_ppl.analyses.designs.decomposition import decompose_states
from concept_ppl.analyses.designs.repeats import contrasts_beside

RNG = np.random.default_rng(0)
N = 60
F, Z = RNG.normal(size=(N, 3)), RNG.normal(size=(N, 2))
AGAIN = np.r_[np.arange(N), np.arange(15), np.arange(5)]


def test_copies_without_clusters_are_counted():
    with pytest.warns(UserWarning, match="20 of 80 rows of .F, Z. are exact copies.*Give clusters"):
        goodness_of_fit(F[AGAIN], Z[AGAIN])
    with pytest.warns(UserWarning, match="20 of 80 rows"):
        probe(F[AGAIN], (Z[AGAIN, 0] > 0).astype(int))


@pytest.mark.parametrize("given", [{"clusters": AGAIN}, {"weights": np.ones(80)}])
def test_clusters_or_weights_say_that_the_caller_knows(given):
    contrasts_beside(decompose_states(F[AGAIN], **given), Z[AGAIN])  # warnings are errors


def test_equal_states_of_other_contexts_are_no_copies():
    contrasts_beside(decompose_states(F[AGAIN]), RNG.normal(size=(80, 2)))
    contrasts_beside(decompose_states(RNG.normal(size=(80, 3))), Z[AGAIN])


def test_zero_is_zero_whatever_its_sign():
    signed = F.copy()
    signed[:, 0] = 0.0
    twice = np.vstack([signed, np.where(signed == 0, -0.0, signed)])
    with pytest.warns(UserWarning, match="60 of 120 rows"):
        contrasts_beside(decompose_states(twice), np.vstack([Z, Z]))


def test_many_analyses_of_the_same_rows_warn_once():
    states = decompose_states(F[AGAIN])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for _ in range(3):
            contrasts_beside(states, Z[AGAIN])
    assert len(seen) == 1
