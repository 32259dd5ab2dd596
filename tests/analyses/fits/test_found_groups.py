"""The adjusted Rand index is that of scikit-learn; its interval covers, and is never certain."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from concept_ppl.analyses.fits.found_groups import clustering_agreement
from concept_ppl.errors import InputError


def noisy(rng, n, share, groups=4):
    true = rng.integers(groups, size=n)
    found = np.where(rng.random(n) < share, rng.integers(groups, size=n), (true + 1) % groups)
    return found, true


def test_the_index_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    for share in (0.0, 0.3, 1.0):
        found, true = noisy(rng, 300, share)
        index = clustering_agreement(found, true).adjusted_rand.estimate
        assert index == pytest.approx(adjusted_rand_score(true, found), abs=1e-12)


def test_names_do_not_matter_and_the_matching_finds_them():
    found, true = noisy(np.random.default_rng(0), 500, 0.1)
    result = clustering_agreement(found, true)
    np.testing.assert_array_equal(result.matched, [1, 2, 3, 0])
    hits = (found == (true + 1) % 4).mean()
    assert result.accuracy.estimate == pytest.approx(hits)
    fewer = clustering_agreement(np.minimum(true, 2), true)
    assert sorted(fewer.matched) == [-1, 0, 1, 2]


def test_without_an_error_the_interval_still_has_a_width():
    true = np.repeat([0, 1, 2], 40)
    index = clustering_agreement(true, true).adjusted_rand
    assert index.estimate == 1
    assert index.ci_high == 1
    assert 0.9 < index.ci_low < 0.999


def test_the_interval_covers():
    rng = np.random.default_rng(1)
    population = adjusted_rand_score(*noisy(rng, 200_000, 0.2))
    hits = 0
    for i in range(100):
        index = clustering_agreement(*noisy(rng, 200, 0.2), seed=i).adjusted_rand
        hits += index.ci_low <= population <= index.ci_high
    assert hits >= 88


def test_rows_must_be_the_same():
    with pytest.raises(InputError, match="two or more rows to both"):
        clustering_agreement([0, 1], [0])
    result = clustering_agreement([0, 0, 1], [0, 0, 1])
    assert len(result.tidy()) == 2
    assert "adjusted Rand index 1.000" in result.summary()
    assert r"\toprule" in result.to_latex()
    assert result.plot().axes
