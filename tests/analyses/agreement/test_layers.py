"""The layer curve is the single analyses side by side, on the same folds, adjusted as a scan."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from concept_ppl.analyses import (
    RESULT_COLUMNS,
    benjamini_hochberg,
    canonical_correlations,
    decompose_states,
    goodness_of_fit,
    layer_curve,
    result_frame,
)
from concept_ppl.errors import InputError


def world(n=100):
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(n, 2))
    A = rng.normal(size=(2, 8))
    noise = {"embedding": 30.0, "resid.1": 4.0, "resid.2": 0.5}
    return {name: Z @ A + s * rng.normal(size=(n, 8)) for name, s in noise.items()}, Z


def test_each_point_is_the_single_analysis_of_its_layer():
    states, Z = world()
    clusters = np.arange(100) // 2
    curve = layer_curve(states, Z, clusters=clusters, seed=3)
    for fit in curve.fits:
        single = canonical_correlations(states[fit.layer], Z, clusters=clusters, seed=3)
        share = goodness_of_fit(states[fit.layer], Z, clusters=clusters, seed=3).backward
        assert (fit.smallest, fit.mean, fit.backward) == (single.smallest, single.mean, share)


def test_p_values_are_adjusted_across_layers():
    states, Z = world()
    curve = layer_curve(states, Z)
    table = curve.tidy()
    assert tuple(table.columns) == RESULT_COLUMNS
    raw = result_frame(curve.rows())
    np.testing.assert_allclose(table["p_value"], benjamini_hochberg(raw)["p_value"])
    one = table["layer"].eq("embedding") & table["quantity"].eq("r2_backward")
    assert float(table.loc[one, "p_value"].iloc[0]) >= float(raw.loc[one, "p_value"].iloc[0])
    assert set(table["layer"]) == set(states)


def test_fit_grows_as_noise_shrinks():
    states, Z = world(300)
    fits = layer_curve({name: decompose_states(F) for name, F in states.items()}, Z).fits
    assert fits[0].smallest.estimate < fits[1].smallest.estimate < fits[2].smallest.estimate
    assert fits[2].backward.ci_low > 0.9


def test_summary_and_plot():
    curve = layer_curve(*world(), target="posterior")
    assert curve.summary().count("\n") == 3
    assert isinstance(curve.plot(), Figure)


def test_the_refused_layer_is_named():
    states, Z = world()
    states["resid.1"][4, 0] = np.inf
    with pytest.raises(InputError, match=r"Layer resid.1: F holds inf at row 4, column 0"):
        layer_curve(states, Z)
    with pytest.raises(InputError, match="no layer"):
        layer_curve({}, Z)
