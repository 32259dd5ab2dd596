"""One intersection–union claim: its parts, its size at the margin, its two verdicts."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from concept_ppl.analyses import RESULT_COLUMNS, decoded_contrasts, equivalence, goodness_of_fit
from concept_ppl.errors import InputError


def planted(seed, rho2, n=200, d=6):
    """Gaussian pairs with these squared canonical correlations, unit contrasts rotated."""
    rng = np.random.default_rng(seed)
    rho = np.sqrt(rho2)
    q = len(rho)
    Z = rng.normal(size=(n, q))
    F = rng.normal(size=(n, d))
    F[:, :q] = Z * rho + F[:, :q] * np.sqrt(1 - rho**2)
    turns = [np.linalg.qr(rng.normal(size=(k, k)))[0] for k in (d, q)]
    return F @ turns[0], Z @ turns[1]


def test_the_bound_of_r_squared_is_that_of_a_two_sided_interval_with_both_tails():
    F, Z = planted(0, [0.97, 0.99], n=800)
    clusters = np.arange(800) // 2
    found = equivalence(F, Z, clusters=clusters, level=0.95)
    both = {"clusters": clusters, "level": 0.9}
    share = goodness_of_fit(F, Z, **both).backward
    assert found.backward.ci_low == pytest.approx(share.ci_low, abs=1e-12)
    assert np.isnan([found.worst.ci_high, found.backward.ci_high]).all()
    assert f"95% bound ≥ {found.worst.ci_low:.3f}" in found.summary()
    assert "1.000]" not in found.to_markdown()


@pytest.mark.parametrize("n", [120, 400])
def test_p_value_and_bound_agree_at_every_margin(n):
    F, Z = planted(1, [0.9, 0.97], n=n)
    bound = equivalence(F, Z).worst.ci_low
    at_bound = equivalence(F, Z, margin=bound)
    assert at_bound.worst.p_value == pytest.approx(0.05, abs=1e-10)
    assert at_bound.p_value == max(at_bound.worst.p_value, at_bound.backward.p_value)
    assert equivalence(F, Z, margin=bound - 1e-6).shown
    assert not equivalence(F, Z, margin=bound + 1e-6).shown


def test_the_p_value_of_r_squared_is_a_t_tail_on_the_log_scale():
    found = equivalence(*planted(2, [0.96], n=400), margin=0.94).backward
    error = found.std_error / (1 - found.estimate)
    distance = np.log1p(-0.94) - np.log1p(-found.estimate)
    assert found.p_value == pytest.approx(stats.t.sf(distance / error, found.df), rel=1e-9)
    assert 50 < found.df <= 399


@pytest.mark.parametrize("n", [60, 300])
def test_at_the_margin_the_claim_is_shown_rarely(n):
    shown = sum(equivalence(*planted(seed, [0.95, 0.99], n=n)).shown for seed in range(50))
    # Binomial(50, .05): more than 8 with probability 8e-4; bounds read at the wrong end of the
    # interval would show all of them, point estimates half.
    assert shown <= 8


@pytest.mark.parametrize(
    ("rho2", "verdict"),
    [([0.995, 0.995], "shown"), ([0.99, 0.8], "not shown"), ([0.0, 0.0], "not shown")],
)
def test_planted_worlds_get_their_verdict(rho2, verdict):
    right = [equivalence(*planted(seed, rho2)).verdict == verdict for seed in range(20)]
    assert np.mean(right) >= 0.95


def test_both_parts_must_hold():
    rng = np.random.default_rng(3)
    Z = rng.normal(size=(400, 2)) * [10.0, 1.0]
    F = np.c_[Z, rng.normal(size=(400, 3))] + rng.normal(size=(400, 5)) * [0.1, 0.7, 1, 1, 1]
    found = equivalence(F, Z)
    assert found.backward.p_value < 1e-6
    assert not found.shown
    assert found.p_value == found.worst.p_value > 0.9


def test_a_perfect_map_is_shown_and_never_called_nonlinear():
    Z = np.random.default_rng(0).normal(size=(100, 2))
    found = equivalence(Z @ np.array([[1.0, 2.0, 0.5], [0.0, 1.0, -3.0]]), Z, margin=0.999)
    assert found.shown
    lost = equivalence(*planted(0, [0.2, 0.3]))
    assert "not shown" in lost.summary()
    assert "not linear" not in lost.summary()


def test_rotation_scale_translation_of_states_and_rotation_of_contrasts_change_nothing():
    F, Z = planted(4, [0.96, 0.98])
    rng = np.random.default_rng(5)
    turns = [np.linalg.qr(rng.normal(size=(k, k)))[0] for k in (6, 2)]
    before, after = equivalence(F, Z), equivalence(9 * F @ turns[0] + 2, 0.1 * Z @ turns[1] - 4)
    columns = ["estimate", "ci_low", "p_value"]
    np.testing.assert_allclose(after.tidy()[columns], before.tidy()[columns], rtol=0, atol=1e-8)


def test_a_margin_outside_the_unit_interval_is_refused():
    with pytest.raises(InputError, match=r"margin is 1\.0"):
        equivalence(*planted(0, [0.9]), margin=1.0)


def test_results_read_alike():
    found = equivalence(*planted(0, [0.97, 0.99]), layer="final_norm")
    table = found.tidy()
    assert tuple(table.columns) == RESULT_COLUMNS
    assert table["quantity"].iloc[-1] == "linear_and_invertible"
    assert table["p_value"].iloc[-1] == found.p_value
    assert r"\toprule" in found.to_latex()
    assert isinstance(found.plot(), Figure)


def test_the_worst_direction_is_the_least_r_squared_that_any_mixture_of_contrasts_has():
    F, Z = planted(6, [0.99, 0.97, 0.9])
    decoded = decoded_contrasts(F, Z)
    found = equivalence(F, Z).worst
    rng = np.random.default_rng(0)
    for v in rng.normal(size=(200, 3)):
        mixture, guess = Z @ v, decoded @ v
        share = 1 - np.square(mixture - guess).sum() / np.square(mixture - mixture.mean()).sum()
        assert found.estimate < share + 0.01  # their means are those of the training folds


@pytest.mark.slow
def test_directions_that_are_alike_do_not_hide_the_worst():
    """With the direction that training rows call the worst, 40 to 50 of 200 would be shown."""
    shown = sum(
        equivalence(*planted(s, np.linspace(0.95, 0.96, 5), 400, 8)).shown for s in range(99)
    )
    assert shown <= 8


def test_a_true_claim_is_shown_with_sixty_rows():
    shown = [equivalence(*planted(seed, [0.99] * 3, n=60)).shown for seed in range(20)]
    assert np.mean(shown) >= 0.9


def test_two_clusters_a_fold_leave_no_bound_and_no_error():
    """One degree of freedom: intervals reach the edge of the scale, and nothing is shown."""
    rng = np.random.default_rng(5)
    clusters = np.repeat(np.arange(10), 5)
    Z = rng.normal(size=(50, 2))
    F = Z @ rng.normal(size=(2, 4)) + 1e-3 * rng.normal(size=(50, 4))
    result = equivalence(F, Z, clusters=clusters, margin=0.5)
    assert -1.0 <= result.worst.ci_low <= result.worst.estimate
    assert 0.0 <= result.p_value <= 1.0
    assert not equivalence(rng.normal(size=(50, 4)), Z, clusters=clusters).shown
