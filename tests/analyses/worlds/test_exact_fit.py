"""In the population R² and ρ² are what algebra says: there is no error, and no fold."""

import numpy as np
import pytest

from concept_ppl.analyses import canonical_correlations, independent_contrasts, population_fit
from concept_ppl.errors import InputError

RNG = np.random.default_rng(5)
N = 400
WEIGHTS = RNG.uniform(0.1, 3.0, N)
Z = RNG.normal(size=(N, 3)) * [1.0, 5.0, 0.2] + 2.0


def weighted_r2(y, X, w):
    """R² by weighted least squares written out."""
    A = np.column_stack([np.ones(len(X)), X])
    slopes = np.linalg.solve(A.T @ (w[:, None] * A), A.T @ (w[:, None] * y))
    mean = w @ y / w.sum()
    return 1 - (w @ np.square(y - A @ slopes)).sum() / (w @ np.square(y - mean)).sum()


def test_an_invertible_affine_image_has_every_correlation_one():
    F = Z @ RNG.normal(size=(3, 8)) - 7.0
    fit = population_fit(F, Z, WEIGHTS)
    assert fit.rank == 3
    np.testing.assert_allclose(
        [fit.forward, fit.backward, *fit.rho2, *dict(fit.per_contrast).values()], 1.0, atol=1e-12
    )


def test_r2_both_ways_is_that_of_weighted_least_squares():
    F = np.column_stack([Z[:, 0] + RNG.normal(size=N), Z[:, 1] ** 2, RNG.normal(size=(N, 2))])
    fit = population_fit(F, Z, WEIGHTS)
    np.testing.assert_allclose(fit.forward, weighted_r2(F, Z, WEIGHTS), rtol=1e-10)
    np.testing.assert_allclose(fit.backward, weighted_r2(Z, F, WEIGHTS), rtol=1e-10)
    for i, (_, value) in enumerate(fit.per_contrast):
        np.testing.assert_allclose(value, weighted_r2(Z[:, [i]], F, WEIGHTS), rtol=1e-10)
    # One without weights, or a centring without them, would be another number.
    assert abs(fit.backward - weighted_r2(Z, F, np.ones(N))) > 1e-4


def test_of_one_column_each_rho2_is_the_squared_weighted_correlation():
    f = Z[:, :1] + RNG.normal(size=(N, 1))
    fit = population_fit(f, Z[:, :1], WEIGHTS)
    covariance = np.cov(f[:, 0], Z[:, 0], aweights=WEIGHTS)
    rho2 = covariance[0, 1] ** 2 / (covariance[0, 0] * covariance[1, 1])
    np.testing.assert_allclose([fit.rho2[0], fit.backward, fit.forward], rho2, rtol=1e-12)


def test_correlations_do_not_change_under_affine_maps_of_either_side():
    F = np.column_stack([Z + RNG.normal(size=(N, 3)), RNG.normal(size=(N, 2))])
    one = population_fit(F, Z, WEIGHTS)
    turned = population_fit(F @ RNG.normal(size=(5, 5)) + 3, Z @ RNG.normal(size=(3, 3)), WEIGHTS)
    np.testing.assert_allclose(turned.rho2, one.rho2, rtol=1e-8)
    assert list(one.rho2) == sorted(one.rho2, reverse=True)


def test_repeating_a_context_is_the_same_as_doubling_its_weight():
    F = Z + RNG.normal(size=(N, 3))
    twice = np.r_[np.arange(N), np.arange(20)]
    weights = np.where(np.arange(N) < 20, 2.0, 1.0)
    whole, repeated = population_fit(F, Z, weights), population_fit(F[twice], Z[twice])
    np.testing.assert_allclose(whole.rho2, repeated.rho2, rtol=1e-10)


def test_a_direction_that_narrow_states_lack_counts_zero():
    fit = population_fit(Z[:, :2], Z, WEIGHTS)
    np.testing.assert_allclose(fit.rho2, [1, 1, 0], atol=1e-12)
    assert fit.smallest == 0.0
    np.testing.assert_allclose(fit.mean, 2 / 3)


def test_held_out_correlations_lie_below_those_of_the_population():
    F = np.column_stack([Z + 0.5 * RNG.normal(size=(N, 3)), RNG.normal(size=(N, 60))])
    assert canonical_correlations(F, Z).mean.estimate < population_fit(F, Z).mean


def test_what_nothing_can_be_learned_from_is_refused():
    with pytest.raises(InputError, match="everything is affine"):
        population_fit(RNG.normal(size=(20, 30)), Z[:20])
    with pytest.raises(InputError, match="F does not vary"):
        population_fit(np.ones((N, 2)), Z)
    log_p = np.log(RNG.dirichlet(np.ones(3), N))
    with pytest.raises(InputError, match="raw log-probabilities"):
        population_fit(Z, log_p)
    with pytest.raises(InputError, match="weights must be positive"):
        population_fit(Z, Z, -WEIGHTS)


def test_collinear_contrasts_keep_their_span_and_their_distances():
    doubled = np.column_stack([Z, Z[:, 0] - 2 * Z[:, 1], np.full(N, 3.0)])
    independent = independent_contrasts(doubled, WEIGHTS)
    assert independent.shape == (N, 3)
    centred = doubled - doubled.mean(axis=0)
    own = independent - independent.mean(axis=0)
    np.testing.assert_allclose(own @ own.T, centred @ centred.T, atol=1e-9)
    np.testing.assert_allclose(population_fit(Z, independent, WEIGHTS).rho2, 1.0)
    with pytest.raises(InputError, match="does not vary"):
        independent_contrasts(np.ones((N, 2)))


def test_the_tidy_table_has_no_interval_and_every_number_of_the_summary():
    fit = population_fit(Z + RNG.normal(size=(N, 3)), Z, WEIGHTS, layer="final_norm")
    rows = fit.tidy()
    assert rows[["ci_low", "ci_high", "std_error", "p_value"]].isna().all().all()
    assert set(rows["layer"]) == {"final_norm"}
    for value in rows["estimate"]:
        assert f"{value:.6f}" in fit.summary()
    assert "population" in fit.to_latex()
    assert fit.plot().axes
