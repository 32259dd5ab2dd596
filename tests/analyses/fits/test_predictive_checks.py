"""Token statistics rank right data among their replicates, and find what a model leaves out."""

import numpy as np
import pytest
from scipy import stats

from concept_ppl.analyses import predictive_check, token_checks
from concept_ppl.analyses.fits.predictive_checks import mean_distinct, pair_counts, token_counts
from concept_ppl.errors import InputError

LENGTHS = np.array([3, 0, 2, 4])
TOKENS = np.array([1, 1, 2, 0, -1, 2, 1, 0, 2])


def test_the_statistics_are_what_a_loop_counts():
    np.testing.assert_array_equal(token_counts(TOKENS, 4), [2, 3, 3, 0])
    contexts = np.split(TOKENS, np.cumsum(LENGTHS)[:-1])
    chosen = np.array([0, 2])
    pairs = pair_counts(TOKENS, LENGTHS, chosen)
    expected = [
        [sum({a, b} <= set(own.tolist()) for own in contexts) for b in (0, 2)] for a in (0, 2)
    ]
    np.testing.assert_array_equal(pairs, expected)
    np.testing.assert_array_equal(mean_distinct(TOKENS, LENGTHS, np.array([2, 3, 4])), [1, 2, 3])


def simulated(rng, n, *, mixed):
    """Contexts of 6 tokens: of one topic each, or every token of a topic of its own."""
    topics = np.array([[0.5, 0.3, 0.1, 0.1], [0.1, 0.1, 0.3, 0.5]])
    topic = (np.arange(n) % 2)[:, None] if mixed else rng.integers(2, size=(n, 6))
    u = rng.random((n, 6, 1))
    return (u > np.cumsum(topics, 1)[np.broadcast_to(topic, (n, 6))]).sum(2).ravel()


def test_tokens_that_go_together_are_found_though_every_frequency_is_right():
    rng = np.random.default_rng(0)
    observed = simulated(rng, 200, mixed=True)
    replicates = np.stack([simulated(rng, 200, mixed=False) for _ in range(99)])
    frequency, pairs, distinct = token_checks(
        observed, replicates, np.full(200, 6), labels=("a", "b", "c", "d")
    )
    assert frequency.test.p_value > 0.05
    assert pairs.test.p_value == pytest.approx(0.01)
    assert distinct.test.p_value == pytest.approx(0.01)
    assert pairs.terms[0] == "a + b"
    assert pairs.observed[1] < pairs.low[1], "a and c are of different topics"
    assert "a + c" in pairs.summary().partition("stand out: ")[2]
    table = pairs.tidy()
    assert len(table) == 1 + 6
    assert table["p_value"].between(0, 1).all()
    assert pairs.plot().axes
    assert r"\toprule" in frequency.to_latex()


@pytest.mark.slow
def test_p_values_of_a_right_model_are_uniform():
    rng = np.random.default_rng(1)
    found = []
    for _ in range(150):
        sets = [simulated(rng, 60, mixed=True) for _ in range(100)]
        checks = token_checks(sets[0], np.stack(sets[1:]), np.full(60, 6))
        found.append([check.test.p_value for check in checks])
    for p_values in np.transpose(found):
        assert stats.kstest(p_values, "uniform").pvalue > 0.001


def test_too_few_replicates_and_wrong_shapes_are_refused():
    with pytest.raises(InputError, match="3 replicates cannot rank"):
        predictive_check([1.0], np.ones((3, 1)), "a", ["b"], n=1)
    with pytest.raises(InputError, match=r"\(k,\), \(R, k\) and k"):
        predictive_check([1.0, 2.0], np.ones((30, 1)), "a", ["b"], n=1)
