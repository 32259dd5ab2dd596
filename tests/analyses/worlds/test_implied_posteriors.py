"""The weights that Bayes's predictive implies are the exact posterior; others have errors."""

import math
import warnings

import numpy as np
import pytest
import torch
from scipy import optimize, special, stats

from concept_ppl import load_model, posterior, predictive, simulate
from concept_ppl.analyses import implied_posterior
from concept_ppl.analyses.worlds import mixture_likelihoods
from concept_ppl.errors import InputError
from concept_ppl.inference import next_token_emission

EXACT = 1e-6
LOG_EXACT = 1e-4


def rows_of(rng, n_values, n_tokens, *, concentration=0.5, n=None):
    size = n_values if n is None else (n, n_values)
    return rng.dirichlet(np.full(n_tokens, concentration), size)


def logs(p):
    with np.errstate(divide="ignore"):
        return np.log(p)


def misfitted(rng, weights, P, sigma):
    """The mixture times a factor of each token's own, of mean one, normalised."""
    m = weights @ P
    q = m * np.exp(sigma * rng.normal(size=m.shape) - sigma**2 / 2)
    return q / q.sum(axis=1, keepdims=True)


WORLDS = {
    "hidden_concepts": ({"seed": 1}, "y", None, 6),
    "hidden_concepts, next token of the context": ({"seed": 2}, "x", None, 6),
    "codebook": ({}, "y", "colour", 15),
    "concept_dag": ({}, "y", None, 4),
}


@pytest.mark.parametrize("world", WORLDS)
def test_of_a_bayes_optimal_predictor_they_are_the_exact_posterior(world):
    options, site, concept, length = WORLDS[world]
    model = load_model(world.partition(",")[0], **options, lengths=(length, length))
    contexts = simulate(model, 200, seed=3)
    exact = posterior(model, contexts, joint=True)
    emission = next_token_emission(model, length, concept, site=site)
    found = implied_posterior(
        predictive(model, contexts, site=site), emission.log_p, values=emission.values
    )
    log_p = emission.log_posterior(exact).numpy()
    assert np.abs(np.exp(found.log_weights) - np.exp(log_p)).max() < EXACT
    clear = log_p > math.log(EXACT)
    assert np.abs(found.log_weights - log_p)[clear].max() < LOG_EXACT
    assert found.kl.estimate < 1e-12
    assert found.explained.estimate > 1 - 1e-9
    assert found.largest_gap < 1e-9


def test_a_world_whose_next_token_cannot_tell_its_concept_is_refused():
    """A fair die throws as one does that is low or high with equal chances."""
    dice = load_model("hidden_dice")
    contexts = simulate(dice, 20, seed=0)["x"].map(lambda x: list(x)[:10])
    emission = next_token_emission(dice, 10, "die")
    with pytest.raises(InputError, match="have rank 2") as caught:
        implied_posterior(
            predictive(dice, contexts.tolist()), emission.log_p, values=emission.values
        )
    assert all(f"'{die}'" in str(caught.value) for die in ("fair", "low", "high"))


def test_they_are_the_most_likely_weights_by_another_solver():
    rng = np.random.default_rng(0)
    P = rows_of(rng, 4, 12)
    q = misfitted(rng, rng.dirichlet([0.4] * 4, 25), P, 0.8)
    found = implied_posterior(logs(q), logs(P))
    weights = np.exp(found.log_weights)
    assert 0 < (weights == 0).mean() < 0.6
    for row, mine in zip(q, weights, strict=True):
        other = optimize.minimize(
            lambda w, row=row: -row @ np.log(w @ P),
            np.full(4, 0.25),
            bounds=[(1e-12, 1)] * 4,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert row @ np.log(mine @ P) >= -other.fun - 1e-12
        np.testing.assert_allclose(mine, other.x, atol=2e-5)
    slopes = (q / (weights @ P)) @ P.T
    assert slopes.max() - 1 == pytest.approx(found.largest_gap, abs=1e-12)
    np.testing.assert_allclose(
        found.kl_of_each, (q * np.log(q / (weights @ P))).sum(axis=1), atol=1e-12
    )


@pytest.mark.parametrize("sigma", [0.3, 2.0])
def test_a_gap_is_certified_where_tokens_are_rare_zero_or_one_concepts_own(sigma):
    rng = np.random.default_rng(1)
    own = np.kron(np.eye(6), np.ones(5)) * np.geomspace(1, 1e-9, 30)
    P = rng.dirichlet(np.full(30, 0.05), 6) * (rng.random((6, 30)) < 0.5) + own
    P /= P.sum(axis=1, keepdims=True)
    q = misfitted(rng, rng.dirichlet([0.05] * 6, 300), P, sigma)
    q[:40, rng.integers(30)] = 0.0
    q /= q.sum(axis=1, keepdims=True)
    found = implied_posterior(logs(q), logs(P))
    assert found.largest_gap <= 1e-9
    assert np.isfinite(found.kl_of_each).all()


def test_rows_that_depend_on_the_context_give_what_each_context_gives_alone():
    rng = np.random.default_rng(2)
    P = rows_of(rng, 3, 20, n=7)
    q = np.einsum("nc,ncv->nv", rng.dirichlet([0.5] * 3, 7), P) * rng.uniform(0.5, 2, (7, 20))
    q /= q.sum(axis=1, keepdims=True)
    together = implied_posterior(logs(q), logs(P))
    assert together.explained is None
    for i in range(7):
        alone = implied_posterior(logs(q[[i] * 3]), logs(P[i]))
        assert alone.explained.estimate == pytest.approx(0, abs=1e-12)  # all three are the same
        for name in ("log_weights", "std_errors", "df"):
            mine, other = getattr(together, name)[i], getattr(alone, name)[0]
            np.testing.assert_allclose(mine, other, rtol=1e-6)


def test_a_tensor_of_torch_and_chunks_change_nothing(monkeypatch):
    rng = np.random.default_rng(3)
    P = rows_of(rng, 3, 20)
    q = misfitted(rng, rng.dirichlet([1.0] * 3, 50), P, 0.5)
    whole = implied_posterior(logs(q), logs(P))
    monkeypatch.setitem(mixture_likelihoods.CELLS, "cpu", 70)
    pieces = implied_posterior(torch.tensor(logs(q)), torch.tensor(logs(P)))
    np.testing.assert_allclose(pieces.log_weights, whole.log_weights, atol=1e-9)
    np.testing.assert_allclose(pieces.std_errors, whole.std_errors, rtol=1e-6)


def test_mass_on_other_tokens_is_reported_and_left_out():
    rng = np.random.default_rng(4)
    P = np.pad(rows_of(rng, 3, 10), ((0, 0), (0, 2)))  # the last two, no value emits
    weights = rng.dirichlet([1.0] * 3, 20)
    q = 0.4 * weights @ P
    q[:, 10] = 0.1
    found = implied_posterior(logs(q), logs(P))
    np.testing.assert_allclose(np.exp(found.log_weights), weights, atol=1e-9)
    assert found.mass.estimate == pytest.approx(0.4)
    np.testing.assert_allclose(found.mass_of_each, 0.4)


def test_what_no_weights_account_for_is_told_from_what_differs_between_contexts():
    """A token that every context likes better than the mixtures costs KL, alike in all contexts."""
    rng = np.random.default_rng(5)
    P = rows_of(rng, 3, 40)
    q = rng.dirichlet([0.5] * 3, 100) @ P
    q[:, 7] += 0.5
    q /= q.sum(axis=1, keepdims=True)
    found = implied_posterior(logs(q), logs(P))
    one = optimize.minimize(
        lambda t: -(q.mean(axis=0) @ np.log(special.softmax(t) @ P)), np.zeros(3), tol=1e-12
    )
    base = (q * np.log(q / (special.softmax(one.x) @ P))).sum(axis=1).mean()
    assert found.kl.estimate > 0.1
    assert found.explained.estimate == pytest.approx(1 - found.kl.estimate / base, abs=1e-6)


# Errors.


def test_sampling_errors_of_tokens_that_name_the_value_are_the_binomial_ones():
    q = np.array([[0.2, 0.3, 0.5], [0.6, 0.4, 0.0], [0.1, 0.1, 0.8]])
    found = implied_posterior(logs(q), logs(np.eye(3)), n_draws=[50, 100, 200])
    expected = np.sqrt(q * (1 - q) / np.array([[50], [100], [200]]))
    expected[1, 2] = math.nan
    np.testing.assert_allclose(found.std_errors, expected, rtol=1e-10)
    low, high = found.intervals(0.95)
    assert np.isnan(low[1, 2])
    half = stats.norm.ppf(0.975) * expected[0] / (q[0] * (1 - q[0]))
    np.testing.assert_allclose(special.logit(high[0]) - special.logit(q[0]), half, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.05])
def test_errors_of_misfit_are_those_of_moving_each_token_by_its_residual(smoothing):
    """HC2 by brute force: weights are refitted with one token after the other moved a little."""
    rng = np.random.default_rng(6)
    P = rows_of(rng, 3, 15, concentration=1.0)
    q = misfitted(rng, np.array([[0.2, 0.3, 0.5]] * 3), P, 0.4)
    found = implied_posterior(logs(q), logs(P), smoothing=smoothing)
    w = np.exp(found.log_weights[0])
    m, step, slopes = w @ P, 1e-5, np.zeros((15, 3))
    for y in range(15):
        moved = []
        for sign in (1, -1):
            near = q[0].copy()
            near[y] *= math.exp(sign * step)
            again = implied_posterior(logs([near / near.sum()] * 3), logs(P), smoothing=smoothing)
            moved.append(np.exp(again.log_weights[0]))
        slopes[y] = (moved[0] - moved[1]) / (2 * step)
    # A token's leverage: its derivative along its own score, the move by normalisation put back.
    scores = P.T / m[:, None]
    A = (q[0] * scores.T) @ scores + np.diag(smoothing / 3 / w**2)
    normalised = np.linalg.solve(A, q[0] @ scores)
    leverage = ((slopes + q[0][:, None] * normalised) * scores).sum(axis=1)
    variance = ((slopes * (1 - m / q[0])[:, None]) ** 2 / (1 - leverage)[:, None]).sum(axis=0)
    np.testing.assert_allclose(found.std_errors[0], np.sqrt(variance), rtol=1e-3)


def test_as_many_weights_as_tokens_leave_no_misfit_to_be_seen():
    rng = np.random.default_rng(13)
    P = np.eye(3) * 0.7 + 0.1
    q = rng.dirichlet([5.0] * 3, 10) @ P
    found = implied_posterior(logs(q), logs(P))
    assert np.isnan(found.std_errors).all()
    assert math.isnan(found.median_std_error)
    assert np.isfinite(implied_posterior(logs(q), logs(P), n_draws=9).std_errors).all()


def covered(found, weights):
    low, high = found.intervals(0.95)
    inside = (low <= weights) & (weights <= high)
    return inside[np.isfinite(low)].mean(), np.isnan(low).mean()


def test_intervals_of_counted_predictives_cover():
    rng = np.random.default_rng(7)
    P = rows_of(rng, 4, 60)
    weights = rng.dirichlet([3.0] * 4, 2000)
    q = np.array([rng.multinomial(2000, m / m.sum()) for m in weights @ P]) / 2000
    found = implied_posterior(logs(q), logs(P), n_draws=2000)
    rate, at_zero = covered(found, weights)
    assert 0.93 <= rate <= 0.97
    assert at_zero < 0.01


@pytest.mark.parametrize(("n_tokens", "sigma"), [(60, 0.1), (60, 0.3), (500, 0.3), (500, 0.5)])
@pytest.mark.parametrize("zipf", [False, True])
def test_intervals_of_planted_softmax_mixtures_cover(n_tokens, sigma, zipf):
    """Logits are those of a mixture plus noise of each token's own, of differing sizes."""
    rng = np.random.default_rng(8)
    P = rows_of(rng, 4, n_tokens)
    if zipf:
        P = np.exp(rng.normal(size=(4, n_tokens))) / np.arange(1, n_tokens + 1)
        P /= P.sum(axis=1, keepdims=True)
    weights = rng.dirichlet([3.0] * 4, 1000)
    q = misfitted(rng, weights, P, sigma * rng.uniform(0.5, 1.5, n_tokens))
    rate, at_zero = covered(implied_posterior(logs(q), logs(P)), weights)
    assert 0.93 <= rate <= 0.97
    assert at_zero < 0.03


@pytest.mark.parametrize("smoothing", [1e-4, 0.1])
def test_smoothing_keeps_every_weight_above_zero_where_its_own_likelihood_is_highest(smoothing):
    rng = np.random.default_rng(14)
    P = rows_of(rng, 4, 12)
    q = misfitted(rng, rng.dirichlet([0.3] * 4, 40), P, 0.8)
    plain, found = (implied_posterior(logs(q), logs(P), smoothing=s) for s in (0.0, smoothing))
    assert plain.boundary.estimate > 0.2
    assert found.interior.all()
    assert found.boundary.estimate == 0
    w = np.exp(found.log_weights)
    slopes = (q / (w @ P)) @ P.T + smoothing / 4 / w
    np.testing.assert_allclose(slopes, 1 + smoothing, rtol=1e-6)
    np.testing.assert_allclose(found.kl_of_each, (q * np.log(q / (w @ P))).sum(axis=1), atol=1e-12)
    assert found.kl.estimate > plain.kl.estimate
    assert np.isfinite(found.std_errors).all()
    assert np.abs(w - np.exp(plain.log_weights)).max() < 100 * smoothing


def test_smoothed_sampling_errors_are_the_spread_over_draws():
    rng = np.random.default_rng(15)
    P = rows_of(rng, 3, 20)
    m = np.array([0.05, 0.25, 0.7]) @ P
    q = rng.multinomial(500, m / m.sum(), 4000) / 500
    found = implied_posterior(logs(q), logs(P), n_draws=500, smoothing=0.05)
    spread = np.exp(found.log_weights).std(axis=0)
    np.testing.assert_allclose(np.median(found.std_errors, axis=0), spread, rtol=0.05)


# What is refused, and what is shown.


def test_rows_that_are_combinations_are_named():
    rng = np.random.default_rng(9)
    P = rows_of(rng, 3, 10)
    q = logs(rng.dirichlet(np.ones(10), 4))
    P = np.vstack([P, 0.3 * P[0] + 0.7 * P[2]])
    with pytest.raises(InputError, match="have rank 3") as caught:
        implied_posterior(q, logs(P), values=["red", "green", "blue", "mixed"])
    text = str(caught.value)
    assert "'green'" not in text
    assert all(f"'{name}'" in text for name in ("red", "blue", "mixed"))
    with pytest.raises(InputError, match=r"p\(y \| '\d'\) is the same as p\(y \| ·\) of '\d',"):
        implied_posterior(q, logs(P[[0, 1, 0]]))
    with pytest.raises(InputError, match="5 rows of log_emission have rank 3"):
        implied_posterior(np.log(np.full((3, 3), 1 / 3)), logs(rows_of(rng, 5, 3)))
    with pytest.raises(InputError, match=r"rows of log_emission\[1\]"):
        implied_posterior(q[:3], logs(np.stack([P[:3], P[[0, 0, 1]], P[:3]])))


def test_bad_input_is_refused_in_one_sentence():
    rng = np.random.default_rng(10)
    P, q = logs(rows_of(rng, 2, 5)), logs(rng.dirichlet(np.ones(5), 4))
    none = logs(np.tile([0.0, 0.0, 0.0, 0.0, 1.0], (4, 1)))
    for arguments, message in (
        ((q[:, :4], P), "same tokens"),
        ((q[0], P), r"log_predictive has shape \(5,\)"),
        ((q, P[0]), r"log_emission has shape \(5,\)"),
        ((q + 1.0, P), "Row 0 of log_predictive sums to 2.71"),
        ((np.where(np.eye(4, 5) > 0, np.nan, q), P), "Row 0 of log_predictive sums to nan"),
        ((q, P + 0.1), "Row 0 of log_emission sums to 1.10"),
        (
            (
                none,
                np.pad(
                    P[:, :4] - special.logsumexp(P[:, :4], 1)[:, None],
                    ((0, 0), (0, 1)),
                    constant_values=-np.inf,
                ),
            ),
            "Row 0 of log_predictive has no mass",
        ),
    ):
        with pytest.raises(InputError, match=message):
            implied_posterior(*arguments)
    with pytest.raises(InputError, match="values are 1 names"):
        implied_posterior(q, P, values=["one"])
    with pytest.raises(InputError, match="n_draws must be positive"):
        implied_posterior(q, P, n_draws=0)
    with pytest.raises(InputError, match="smoothing is -1"):
        implied_posterior(q, P, smoothing=-1)


def test_weights_that_were_not_found_are_not_passed_off(monkeypatch):
    rng = np.random.default_rng(11)
    P = rows_of(rng, 4, 20)
    q = misfitted(rng, rng.dirichlet([0.3] * 4, 10), P, 1.0)
    monkeypatch.setattr(mixture_likelihoods, "MOST_STEPS", 0)
    with pytest.warns(UserWarning, match="contexts are not found to the tolerance of 1e-09"):
        implied_posterior(logs(q), logs(P))


def test_contexts_with_a_weight_at_zero_have_no_log_odds_and_are_counted():
    q = np.array([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
    found = implied_posterior(logs(q), logs(np.eye(3)))
    assert found.interior.tolist() == [False, True, True, True]
    np.testing.assert_allclose(found.log_odds(), np.log(q[1:, 1:] / q[1:, :1]), atol=1e-9)
    assert found.boundary.estimate == 0.25
    assert 0 < found.boundary.ci_low < 0.25 < found.boundary.ci_high < 1


def test_the_result_speaks_for_itself():
    rng = np.random.default_rng(12)
    P = rows_of(rng, 3, 30)
    q = misfitted(rng, rng.dirichlet([1.0] * 3, 60), P, 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = implied_posterior(
            0.0 + logs(q),
            logs(P),
            rng.uniform(0.5, 2, 60),
            np.arange(60) // 3,
            values=["en", "fr", "de"],
            layer="final",
        )
    table = found.tidy().set_index(["quantity", "term"])
    assert table.loc[("rank", "weights"), "estimate"] == 3
    assert table.loc[("mean_weight", "fr"), "n_clusters"] == 20
    assert set(table["layer"]) == {"final"}
    assert "mean weight of de" in found.summary()
    assert "log_weights" not in repr(found)
    assert "Posterior that the predictive implies" in found.to_latex()
    assert found.plot().axes
