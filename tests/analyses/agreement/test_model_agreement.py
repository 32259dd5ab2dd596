"""Two models agree up to an affine map or coordinate by coordinate, and noise agrees in neither."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment

from concept_ppl.analyses import RESULT_COLUMNS, cross_model, decompose_states, goodness_of_fit
from concept_ppl.analyses.agreement.model_agreement import _exchange, matched_scores
from concept_ppl.analyses.agreement.shared_directions import shared_directions
from concept_ppl.analyses.designs.correlations import no_relation_p_value
from concept_ppl.analyses.designs.design import make_design
from concept_ppl.errors import InputError

N, SHARED = 200, 3


def two_models(seed=0):
    """Three shared sources; the second model has them in another order, with other signs."""
    rng = np.random.default_rng(seed)
    sources = rng.normal(size=(N, SHARED))
    first = np.hstack([sources, rng.normal(size=(N, 1))])
    second = np.hstack([-sources[:, ::-1], rng.normal(size=(N, 2))])
    return first, second + 0.2 * rng.normal(size=second.shape)


@pytest.fixture(scope="module")
def related():
    return cross_model(*two_models(), n_directions=4, names=("small", "large"), layer="7")


@pytest.fixture(scope="module")
def unrelated():
    rng = np.random.default_rng(1)
    return cross_model(rng.normal(size=(N, 4)), rng.normal(size=(N, 5)), n_directions=4)


def test_shared_sources_are_found_and_no_more(related):
    strengths = [value.estimate for value in related.directions]
    assert min(strengths[:SHARED]) > 0.9
    assert strengths[SHARED] < 0.1
    assert max(value.p_value for value in related.directions[:SHARED]) < 1e-3
    assert related.directions[SHARED].p_value > 0.05
    assert related.mean.estimate == pytest.approx(np.mean(strengths))


def test_both_r_squared_are_those_of_goodness_of_fit(related):
    first, second = two_models()
    fit = goodness_of_fit(first, second)
    assert related.forward.estimate == pytest.approx(fit.backward.estimate, rel=1e-9)
    assert related.backward.estimate == pytest.approx(fit.forward.estimate, rel=1e-9)
    assert related.forward.p_value == pytest.approx(fit.backward.p_value, rel=1e-6)


def test_rotation_changes_the_matching_and_nothing_else(related):
    first, second = two_models()
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(5, 5)))[0]
    turned = cross_model(first, 3.0 * second @ rotation - 1.0, n_directions=4)
    assert turned.forward.estimate == pytest.approx(related.forward.estimate, rel=1e-6)
    assert turned.backward.estimate == pytest.approx(related.backward.estimate, rel=1e-6)
    for a, b in zip(turned.directions, related.directions, strict=True):
        assert a.estimate == pytest.approx(b.estimate, abs=1e-6)
    assert turned.matched.estimate < related.matched.estimate - 0.15


def test_matching_is_that_of_training_correlations_and_signs():
    first, second = two_models(3)
    rng = np.random.default_rng(4)
    design = make_design(N, weights=rng.uniform(0.5, 2.0, N), clusters=rng.integers(0, 80, N))
    a, b = matched_scores(first, second, design)
    for k in range(design.n_folds):
        train, test = design.folds != k, design.folds == k
        w = design.weights[train]
        table = np.corrcoef(first[train].T, second[train].T)[:4, 4:]
        joint = np.cov(np.hstack([first, second])[train].T, aweights=w, ddof=0)
        scale = np.sqrt(np.diag(joint))
        weighted = (joint / np.outer(scale, scale))[:4, 4:]
        assert not np.allclose(table, weighted, rtol=1e-3)
        partner = linear_sum_assignment(-np.abs(weighted))[1]
        signs = np.sign(weighted[np.arange(4), partner])
        mean = np.average(second[train], axis=0, weights=w)
        expected = signs * ((second[test] - mean) / scale[4:])[:, partner]
        np.testing.assert_allclose(b[test], expected, rtol=1e-9, atol=1e-12)
        mean = np.average(first[train], axis=0, weights=w)
        np.testing.assert_allclose(a[test], (first[test] - mean) / scale[:4], rtol=1e-9, atol=1e-12)


def test_permuted_and_flipped_coordinates_match_perfectly():
    first, _ = two_models()
    twin = -2.0 * first[:, ::-1] + 1.0
    found = cross_model(first, twin, n_directions=2)
    assert found.matched.estimate == pytest.approx(1.0)
    assert found.matching.p_value == pytest.approx(1 / 1000)


def test_noise_agrees_in_nothing_though_in_sample_it_seems_to(unrelated):
    assert unrelated.forward.estimate < 0.02
    assert unrelated.backward.estimate < 0.02
    assert all(value.estimate < 0.1 for value in unrelated.directions)
    assert unrelated.matching.p_value > 0.05
    assert unrelated.matched.p_value == unrelated.matching.p_value
    rng = np.random.default_rng(5)
    wide = [decompose_states(rng.normal(size=(N, 40))) for _ in range(2)]
    scores = shared_directions(*wide, 1)
    held_out = np.corrcoef(scores.a[:, 0], scores.b[:, 0])[0, 1]
    q1, q2 = (np.linalg.qr(states.F)[0] for states in wide)
    in_sample = np.linalg.svd(q1.T @ q2, compute_uv=False)[0]
    assert in_sample > 0.7
    assert abs(held_out) < 0.25


def test_permutations_give_each_cluster_the_rows_of_another():
    design = make_design(9, clusters=list("aabbbbccc"), n_folds=3)
    donors = _exchange(design)
    np.testing.assert_array_equal(donors(np.array([0, 1, 2])), np.arange(9))
    np.testing.assert_array_equal(donors(np.array([1, 2, 0])), [2, 3, 6, 7, 8, 6, 0, 1, 0])


def test_p_values_of_the_matching_are_uniform_under_the_null():
    """Held-out statistic against its own permutations, by hand, in samples without a relation."""
    rng = np.random.default_rng(6)
    p_values = []
    for _ in range(60):
        F1, F2 = rng.normal(size=(30, 2)), rng.normal(size=(30, 2))
        design = make_design(30, n_folds=3)

        def statistic(second, first=F1, design=design):
            a, b = matched_scores(first, second, design)
            return np.mean(np.sum(a * b, axis=0) / np.sqrt(np.sum(a**2, 0) * np.sum(b**2, 0)))

        null = [statistic(rng.permutation(F2)) for _ in range(39)]
        p_values.append((1 + np.sum(np.array(null) >= statistic(F2))) / 40)
    assert 0.35 < np.mean(p_values) < 0.68
    assert np.mean(np.array(p_values) <= 0.25) < 0.45


def test_the_answer_does_not_depend_on_workers_or_on_which_model_is_wider(related):
    first, second = two_models()
    again = cross_model(
        first, second, n_directions=4, names=("small", "large"), layer="7", n_workers=2
    )
    assert again == related
    other = cross_model(second, first, n_directions=4)
    assert other.forward.estimate == pytest.approx(related.backward.estimate)
    assert other.matched.estimate == pytest.approx(related.matched.estimate)


def test_it_prints_as_table_text_latex_and_figure(related):
    table = related.tidy()
    assert tuple(table.columns) == RESULT_COLUMNS
    assert table["term"].iloc[0] == "large|small"
    assert len(table) == 8
    assert "permut" not in related.matching.null
    assert "matching: statistic" in related.summary()
    assert r"\toprule" in related.to_latex()
    assert isinstance(related.plot(), Figure)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_permutations": 200}, "n_permutations is 200"),
        ({"n_directions": 5}, "n_directions is 5"),
        ({"F2": np.zeros((N, 3))}, "F2 does not vary"),
        ({"F2": np.ones((3, 2))}, "F2 has 3 rows"),
        ({"F2": decompose_states(two_models()[1], seed=9)}, "F2 was decomposed with other"),
        ({"F2": np.eye(N)[:, :1] @ np.ones((1, 4))}, "vary in only"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    first, second = two_models()
    arguments = {"F1": first, "F2": second, "n_directions": 2} | arguments
    with pytest.raises(InputError, match=message):
        cross_model(**arguments)


def test_the_p_value_of_a_direction_speaks_of_a_relation_and_of_none():
    rng = np.random.default_rng(8)
    states = decompose_states(rng.normal(size=(100, 1)))
    a, noise = rng.normal(size=(2, 100))
    assert no_relation_p_value(a, a + 0.5 * noise, states.design) < 0.01
    assert no_relation_p_value(a, -a + 0.5 * noise, states.design) == 1.0
    rejected = sum(
        no_relation_p_value(*rng.normal(size=(2, 100)), states.design) < 0.05 for _ in range(200)
    )
    assert rejected <= 20  # Binomial(200, .05): more with probability 1e-3
