"""Two models of the same contexts: which tells more, paired, and what each knows alone."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from concept_ppl.analyses import (
    RESULT_COLUMNS,
    canonical_correlations,
    compare_controls,
    decompose_states,
    goodness_of_fit,
    model_difference,
)
from concept_ppl.errors import InputError


def planted(n=300, seed=0, noise=(0.5, 1.0), width=6):
    """Two models that show both contrasts with noise of their own: population R² 1 / (1 + σ²)."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, 2))
    pair = []
    for sigma in noise:
        A = np.linalg.qr(rng.normal(size=(width, 2)))[0].T
        pair.append((Z + sigma * rng.normal(size=(n, 2))) @ A)
    return *pair, Z


def test_each_model_has_the_numbers_that_it_has_alone():
    F1, F2, Z = planted(120)
    found = model_difference(F1, F2, Z, seed=1)
    fits = [goodness_of_fit(F, Z, seed=1) for F in (F1, F2)]
    assert found.shares == tuple(fit.backward for fit in fits)
    assert found.r2.estimate == pytest.approx(
        fits[0].backward.estimate - fits[1].backward.estimate, abs=1e-12
    )
    for (name, value), one, other in zip(
        found.per_contrast, *(fit.per_contrast for fit in fits), strict=True
    ):
        assert name == one[0] == other[0]
        assert value.estimate == pytest.approx(one[1].estimate - other[1].estimate, abs=1e-12)
    ours, theirs = (canonical_correlations(F, Z, seed=1) for F in (F1, F2))
    assert found.smallest.estimate == pytest.approx(
        ours.smallest.estimate - theirs.smallest.estimate, abs=1e-12
    )
    assert found.mean.estimate == pytest.approx(
        ours.mean.estimate - theirs.mean.estimate, abs=1e-12
    )
    beside = compare_controls(F1, Z, {"second": F2}, seed=1)
    assert (found.r2, found.increments[0]) == (beside.difference, beside.increment)


def test_a_model_does_not_differ_from_its_affine_image():
    F1, _, Z = planted(150)
    turned = 3.0 * F1 @ np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0] + 1.0
    found = model_difference(F1, turned, Z)
    for value in (found.r2, found.smallest, found.mean):
        assert value.estimate == pytest.approx(0.0, abs=1e-10)
    assert all(abs(value.estimate) < 0.005 for value in found.increments)


def test_the_other_way_round_is_the_negative():
    F1, F2, Z = planted(150)
    forth, back = model_difference(F1, F2, Z), model_difference(F2, F1, Z)
    for one, other in ((forth.r2, back.r2), (forth.smallest, back.smallest)):
        assert one.estimate == pytest.approx(-other.estimate, abs=1e-12)
        assert one.ci_low == pytest.approx(-other.ci_high, abs=1e-12)
        assert one.p_value == pytest.approx(other.p_value)
    assert forth.increments == back.increments[::-1]


def test_what_models_share_makes_the_difference_surer_than_its_parts():
    rng = np.random.default_rng(3)
    F1, _, Z = planted(300, noise=(1.0, 1.0))
    F2 = F1 + 0.1 * rng.normal(size=F1.shape)
    found = model_difference(F1, F2, Z)
    assert found.r2.std_error < 0.5 * found.shares[0].std_error
    ours = canonical_correlations(F1, Z)
    assert found.smallest.std_error < 0.5 * ours.smallest.std_error


def test_two_models_that_know_different_contrasts_add_to_each_other():
    rng = np.random.default_rng(4)
    Z = rng.normal(size=(300, 2))
    F1, F2 = (
        np.hstack([Z[:, [i]] + 0.1 * rng.normal(size=(300, 1)), rng.normal(size=(300, 3))])
        for i in range(2)
    )
    found = model_difference(F1, F2, Z, names=("a", "b"))
    assert found.r2.ci_low < 0 < found.r2.ci_high
    assert min(value.ci_low for value in found.increments) > 0.4
    differences = dict(found.per_contrast)
    assert differences["a"].ci_low > 0.8
    assert differences["b"].ci_high < -0.8


def test_repeated_contexts_count_once():
    F1, F2, Z = planted(100)
    once = model_difference(F1, F2, Z)
    thrice = model_difference(
        *(np.tile(part, (3, 1)) for part in (F1, F2, Z)), clusters=np.tile(np.arange(100), 3)
    )
    assert (thrice.r2.n, thrice.r2.n_clusters) == (300, 100)
    for one, other in ((once.r2, thrice.r2), (once.smallest, thrice.smallest)):
        assert other.std_error == pytest.approx(one.std_error, rel=0.15)


@pytest.mark.slow
def test_intervals_of_the_differences_cover():
    """Both models' maps are close to the best of six coordinates, whose R² and ρ² are known."""
    n_samples, hits = 200, np.zeros(3, dtype=int)
    truth = 1 / 1.25 - 1 / 2
    for seed in range(n_samples):
        found = model_difference(*planted(400, seed), seed=seed)
        for i, value in enumerate((found.r2, found.smallest, found.mean)):
            hits[i] += value.ci_low <= truth <= value.ci_high
    # Binomial(200, .95): fewer than 178 with probability 3e-4, 199 or more with probability 4e-4.
    assert (hits >= 178).all()
    assert (hits <= 198).all()


def test_tidy_summary_and_plot():
    F1, F2, Z = planted(60)
    found = model_difference(
        F1, F2, Z, names=("u", "v"), models=("large", "small"), layer="final_norm"
    )
    table = found.tidy()
    assert tuple(table.columns) == RESULT_COLUMNS
    assert not table.duplicated(["analysis", "quantity", "term", "layer", "control"]).any()
    own = table[table["term"].str.contains(":u|:v")]
    assert list(own["term"]) == ["large: log_odds:u", "large: log_odds:v"]
    assert set(own["control"]) == {"small"}
    raw = pd.Series([value.p_value for _, value in found.per_contrast])
    assert own["p_value"].min() == pytest.approx(min(2 * raw.min(), 1.0))
    assert "large adds to small" in found.summary()
    assert "large minus small" in found.to_latex()
    assert isinstance(found.plot(), Figure)


def test_bad_input_is_refused():
    F1, F2, Z = planted(60)
    with pytest.raises(InputError, match="F2 has 59 rows, F1 has 60"):
        model_difference(F1, F2[1:], Z)
    with pytest.raises(InputError, match="F2 was decomposed with other"):
        model_difference(F1, decompose_states(F2, seed=1), Z)
    with pytest.raises(InputError, match="F2 does not vary"):
        model_difference(F1, np.ones((60, 3)), Z)
    with pytest.raises(InputError, match="no linear map between them can be invertible"):
        model_difference(F1, F2[:, :1], Z)
