"""A relation that two others compose is no direction of its own, and none can invert it."""

import numpy as np
import pytest

from concept_ppl.analyses.pairs.designs import make_pair_design
from concept_ppl.analyses.pairs.joint_inverses import joint_inverse
from concept_ppl.analyses.pairs.offset_spans import offset_span
from concept_ppl.errors import InputError

from .planted_pairs import Words, noise_words, planted_words

CLOSED = ("verb - 3pSg", "verb - Ved", "noun - plural", "3pSg - Ved")


def closed_design(words):
    """Add the relation from the first inflection to the second."""
    n = int((words.concept == 0).sum())
    i = np.arange(n)
    return make_pair_design(
        np.concatenate([words.first, n + i]),
        np.concatenate([words.second, 2 * n + i]),
        np.concatenate([words.concept, np.full(n, 3)]),
        names=CLOSED,
    )


def test_three_relations_between_three_forms_have_two_directions():
    words = planted_words(0, n=60)
    span = offset_span(words.F, closed_design(words))
    assert span.rank == 3
    assert "noun - plural" in span.independent
    assert len(span.dependent) == 1
    assert span.dependent[0] in {CLOSED[0], CLOSED[1], CLOSED[3]}
    assert span.singular_values[3] < 0.1 < span.singular_values[2]
    assert span.condition_independent < 10 < span.condition_number


def test_cosines_of_offsets_are_free_of_the_noise_of_means():
    words = planted_words(1, n=60, noise=1.0)
    F = np.hstack([words.F, np.zeros((len(words.F), 1))])
    span = offset_span(F, words.design(n_splits=20))
    np.testing.assert_allclose(np.diag(span.cosines), 1.0)
    assert abs(span.cosines[0, 2]) < 0.3


def test_concepts_that_are_not_there_are_left_out():
    words = planted_words(2)
    span = offset_span(words.F, words.design(), present=[True, False, True])
    assert span.absent == ("verb - Ved",)
    assert span.rank == 2
    assert span.tidy()["quantity"].iloc[0] == "rank"
    assert "verb - Ved" in span.summary()
    assert span.plot().axes
    with pytest.raises(InputError, match="present"):
        offset_span(words.F, words.design(), present=[True])
    with pytest.raises(InputError, match="least_share"):
        offset_span(words.F, words.design(), least_share=1.0)


def test_joint_weights_invert_offsets_that_every_pair_shares():
    words = planted_words(3, n=60, noise=0.05)
    found = joint_inverse(words.F, words.design(), words.design().names)
    assert found.distance.estimate < 0.05
    assert found.mean_diagonal.estimate == pytest.approx(1.0, abs=0.02)
    assert abs(found.entries[0][1].estimate) < 0.05
    assert len(found.tidy()) == 3 + 9


def test_the_noise_of_offsets_neither_shrinks_nor_hides_the_identity():
    # In 12 coordinates means of 20 pairs carry more noise than offset: a naive inverse shrinks.
    values, errors = [], []
    for seed in range(12):
        words = planted_words(seed, n=40, strength=0.7)
        found = joint_inverse(words.F, words.design(n_splits=5), words.design().names)
        values.append(found.mean_diagonal.estimate)
        errors.append(found.mean_diagonal.std_error)
    assert np.mean(values) == pytest.approx(1.0, abs=0.08)
    assert 0.5 < np.std(values) / np.mean(errors) < 2.0


def test_of_noise_no_distance_is_told():
    words = noise_words(0, n=60, width=60)
    found = joint_inverse(words.F, words.design(), words.design().names)
    assert np.isnan(found.distance.estimate)
    assert "distance from I" in found.summary()


def test_a_control_that_holds_one_of_two_concepts_is_far_from_the_identity():
    words = planted_words(4, n=60, noise=0.1)
    half = Words(words.F.copy(), words.first, words.second, words.concept)
    n = 60
    rng = np.random.default_rng(0)
    half.F[3 * n :] = rng.normal(size=(2 * n, half.F.shape[1]))
    good, bad = (
        joint_inverse(w.F, w.design(), (w.design().names[0], w.design().names[2]))
        for w in (words, half)
    )
    far = bad.distance.estimate
    assert np.isnan(far) or far > good.distance.estimate + 0.3


def test_unknown_or_single_concepts_are_refused():
    words = planted_words(0)
    with pytest.raises(InputError, match="two or more"):
        joint_inverse(words.F, words.design(), ["verb - 3pSg"])
    with pytest.raises(InputError, match="two or more"):
        joint_inverse(words.F, words.design(), ["verb - 3pSg", "nothing"])
