"""Rank and conditioning of the way there and back: exact worlds, planted ranks, coverage."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from concept_ppl.analyses import RESULT_COLUMNS, decompose_states, invertibility
from concept_ppl.analyses.claim.invertible_maps import round_trip, singular_values
from concept_ppl.analyses.claim.prequential import prequential_variates
from concept_ppl.analyses.designs.cross_fits import cross_fit, whitener
from concept_ppl.analyses.designs.decomposition import decompose
from concept_ppl.errors import InputError


def slopes(seed, rank, q=3, d=30):
    rng = np.random.default_rng(seed)
    bases = [np.linalg.qr(rng.normal(size=(side, side)))[0][:, :rank] for side in (q, d)]
    return bases[0] @ bases[1].T


def planted(seed, n=300, rank=3, noise=0.5, q=3, d=30):
    rng = np.random.default_rng(seed + 1000)
    Z = rng.normal(size=(n, q))
    return Z @ slopes(seed, rank, q, d) + noise * rng.normal(size=(n, d)), Z


def test_an_exact_affine_map_is_read_back_with_condition_number_one():
    F, Z = planted(0, noise=0.0)
    stretched = F * np.geomspace(1, 30, 30) + 4.0
    found = invertibility(stretched, Z)
    assert found.estimated_rank == 3
    np.testing.assert_allclose([s.estimate for s in found.singular_values], 1.0, atol=1e-4)
    assert found.condition_number.estimate == pytest.approx(1.0, abs=1e-4)


def test_the_way_there_and_back_has_squared_canonical_correlations_as_singular_values():
    rho = np.array([0.95, 0.8, 0.6])
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(5_000, 3))
    F = Z * rho + rng.normal(size=Z.shape) * np.sqrt(1 - rho**2)
    found = invertibility(F @ rng.normal(size=(3, 3)), Z @ rng.normal(size=(3, 3)))
    np.testing.assert_allclose([s.estimate for s in found.singular_values], rho**2, atol=0.03)
    assert found.condition_number.estimate == pytest.approx((0.95 / 0.6) ** 2, rel=0.08)


@pytest.mark.parametrize("variant", ["decoded", "direct"])
@pytest.mark.parametrize("rank", [0, 2, 3])
def test_the_planted_rank_is_found_and_never_exceeded(variant, rank):
    found = [
        invertibility(*planted(seed, rank=rank), variant=variant, level=0.99) for seed in range(20)
    ]
    assert np.mean([f.estimated_rank == rank for f in found]) >= 0.95
    touched = [math.isinf(f.condition_number.ci_high) for f in found]
    assert np.mean(np.array(touched) == (rank < 3)) >= 0.95


@pytest.mark.parametrize(("q", "rank", "most"), [(1, 0, 11), (3, 2, 11)])
def test_the_decoded_rank_test_keeps_its_size(q, rank, most):
    """Folds that train each other, pooled, would reject a third; unwhitened ones a seventh."""
    rejected = 0
    for seed in range(100):
        F, Z = planted(seed, n=100, rank=rank, q=q, d=20)
        rejected += invertibility(F, Z, variant="decoded").tests[rank].p_value < 0.05
    assert rejected <= most  # Binomial(100, .05): more with probability .004


def test_the_decoded_rank_test_sees_a_direction_that_is_there():
    """A third direction of squared correlation .2: twice the median of five folds sees it in 6%."""
    seen = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        Z = rng.normal(size=(200, 3))
        F = rng.normal(size=(200, 8))
        rho = np.sqrt([0.9, 0.8, 0.2])
        F[:, :3] = Z * rho + F[:, :3] * np.sqrt(1 - rho**2)
        seen += invertibility(F, Z, variant="decoded").full_rank.p_value < 0.05
    assert seen >= 36


@pytest.mark.parametrize(("q", "rank"), [(1, 0), (2, 1), (3, 3)])
def test_weyl_intervals_cover_the_singular_values_given_the_maps(q, rank):
    n, hits = 150, 0
    for seed in range(30):
        F, Z = planted(seed, n, rank, noise=1.0, q=q, d=8)
        states = decompose_states(F, seed=seed)
        fit = cross_fit(states, Z, whiten=True)
        mean_map = np.zeros((8, q))
        for k in range(5):
            rows = states.design.folds == k
            centred = [X[rows] - X[rows].mean(axis=0) for X in (F, fit.predicted)]
            mean_map += rows.mean() * np.linalg.lstsq(*centred, rcond=None)[0]
        W = whitener(Z, states.design)
        truth = np.linalg.inv(W) @ slopes(seed, rank, q, 8) @ mean_map @ W
        exact = np.linalg.svd(truth, compute_uv=False)
        values, _ = singular_values(fit, 0.95, seed)
        inside = [v.ci_low - 1e-9 <= s <= v.ci_high for v, s in zip(values, exact, strict=True)]
        hits += all(inside)
    # Binomial(30, .95): fewer than 25 with probability 3e-3.
    assert hits >= 25


def test_influences_are_the_derivatives_of_the_slopes():
    F, Z = planted(3, n=60, q=2, rank=2, d=4)
    states = decompose_states(F)
    trip = round_trip(cross_fit(states, Z, whiten=True))
    np.testing.assert_allclose(trip.test.sum(axis=0), 0.0, atol=1e-12)
    residual_free = round_trip(cross_fit(decompose_states(Z), Z, whiten=True))
    assert np.abs(residual_free.test).max() < 1e-6 * np.abs(trip.test).max()


@pytest.mark.parametrize("variant", ["decoded", "direct"])
def test_rotation_scale_translation_and_the_basis_of_contrasts_change_nothing(variant):
    F, Z = planted(4, n=150, noise=1.0)
    rng = np.random.default_rng(5)
    rotation = np.linalg.qr(rng.normal(size=(30, 30)))[0]
    clusters = np.arange(150) // 2
    options = {"clusters": clusters, "variant": variant}
    before = invertibility(F, Z, **options).tidy()
    after = invertibility(50 * F @ rotation + 3, Z @ rng.normal(size=(3, 3)) - 1, **options).tidy()
    kept = before["quantity"] != "contrast_condition"
    columns = ["estimate", "p_value"]
    np.testing.assert_allclose(after[kept][columns], before[kept][columns], rtol=0, atol=1e-8)


def test_the_order_of_rows_changes_nothing_in_the_direct_test():
    F, Z = planted(6)
    order = np.random.default_rng(0).permutation(300)
    before = invertibility(F, Z, variant="direct").tests
    after = invertibility(F[order], Z[order], variant="direct").tests
    for a, b in zip(before, after, strict=True):
        assert b.statistic == pytest.approx(a.statistic, rel=1e-8)


def test_fewer_coordinates_than_contrasts_are_never_invertible():
    F, Z = planted(7)
    for variant in ("direct", "decoded"):
        found = invertibility(F[:, :2], Z, variant=variant)
        assert found.estimated_rank <= 2
        assert found.full_rank.p_value == 1.0


def test_states_outside_the_span_of_the_unembedding_do_not_count():
    rng = np.random.default_rng(8)
    F, Z = planted(8, d=10, noise=0.3)
    seen = np.linalg.qr(rng.normal(size=(10, 4)))[0]
    G = rng.normal(size=(50, 4)) @ seen.T + rng.normal(size=10)
    hidden = F - F @ seen @ seen.T
    assert invertibility(hidden + 1e-9 * F, Z).estimated_rank == 3
    projected = invertibility(F, Z, unembedding=G)
    assert not projected.diversity.holds
    assert projected.diversity.rank == 4
    expected = invertibility(F @ seen, Z).tidy()["estimate"]
    np.testing.assert_allclose(
        projected.tidy()["estimate"].iloc[: len(expected)], expected, atol=1e-8
    )


def test_a_map_of_earlier_folds_sees_no_later_row():
    F, Z = planted(9, n=100)
    states = decompose_states(F)
    rows = prequential_variates(states, Z).rows
    folds = states.design.folds
    np.testing.assert_array_equal(rows, np.flatnonzero(folds >= 2))
    changed = F.copy()
    changed[folds == 4] += 10.0 * np.random.default_rng(0).normal(size=(np.sum(folds == 4), 30))
    before = prequential_variates(states, Z).variates[folds[rows] < 4]
    after = prequential_variates(decompose(changed, states.design), Z).variates[folds[rows] < 4]
    np.testing.assert_allclose(after, before, atol=1e-9)


def test_contrasts_collinear_within_a_fold_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="collinear in 6 rows that are tested together"):
        invertibility(rng.normal(size=(10, 9)), rng.normal(size=(10, 7)), variant="decoded")


def test_results_read_alike():
    G = np.random.default_rng(0).normal(size=(90, 30))
    found = invertibility(*planted(0), unembedding=G, layer="final_norm")
    table = found.tidy()
    assert tuple(table.columns) == RESULT_COLUMNS
    assert "unembedding_condition" in set(table["quantity"])
    assert found.smallest.n == 300
    assert "diversity holds" in found.summary()
    assert r"\toprule" in found.to_latex()
    assert isinstance(found.plot(), Figure)
