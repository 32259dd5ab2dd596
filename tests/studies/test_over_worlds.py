"""Worlds are the unit: more seeds in a world narrow nothing that worlds do not share."""

import math

import numpy as np
import pandas as pd

from concept_ppl.analyses import RESULT_COLUMNS, hierarchical_bootstrap
from concept_ppl.analyses.studies.laboratory.over_worlds import (
    cell_frame,
    pooled,
    pooled_rows,
    row,
    tidy,
)


def frame(n_worlds=6, n_seeds=4, seed=0):
    rng = np.random.default_rng(seed)
    world, number = np.divmod(np.arange(n_worlds * n_seeds), n_seeds)
    value = rng.normal(size=n_worlds)[world]
    return pd.DataFrame({"world": world, "seed": number, "value": value, "knob": 1.0})


def test_seeds_that_agree_within_worlds_leave_the_interval_of_worlds():
    one, many = (pooled(frame(n_seeds=n), "value", 0.95) for n in (1, 8))
    np.testing.assert_allclose(one.estimate, many.estimate)
    width = [value.ci_high - value.ci_low for value in (one, many)]
    np.testing.assert_allclose(width[0], width[1])
    plain = frame(n_seeds=1)["value"]
    standard_error = plain.std(ddof=1) / math.sqrt(len(plain))
    np.testing.assert_allclose(one.std_error, standard_error)
    by_resampling = hierarchical_bootstrap(plain, {"world": np.arange(6)}, n_replicates=2000)
    np.testing.assert_allclose(one.ci_low, by_resampling.value.ci_low, rtol=0.1)


def test_a_world_with_more_seeds_does_not_count_more():
    cells = frame(n_seeds=2)
    uneven = pd.concat([cells, cells[cells["world"] == 0].assign(seed=lambda f: f["seed"] + 9)])
    np.testing.assert_allclose(
        pooled(uneven, "value", 0.95).estimate, pooled(cells, "value", 0.95).estimate
    )


def test_cells_without_a_value_are_not_counted():
    cells = frame().assign(value=lambda f: f["value"].where(f["world"] > 0))
    assert pooled(cells, "value", 0.95).n_clusters == 5
    assert math.isnan(pooled(cells, "absent", 0.95).estimate)
    assert math.isnan(pooled(frame(n_worlds=3), "value", 0.95).ci_low)


def test_an_interval_of_shares_never_passes_one_and_is_the_plain_one_far_from_it():
    rng = np.random.default_rng(0)
    near = frame(n_seeds=1).assign(value=1 - 0.004 * rng.exponential(size=6) ** 2)
    names = ["trained.rho2_smallest", "agreement.forward", "control.best", "held_out.r2_backward"]
    plain = pooled(near, "value", 0.95)
    assert plain.ci_high > 1
    for name in names:
        share = pooled(near.rename(columns={"value": name}), name, 0.95)
        assert share.estimate == plain.estimate
        assert share.ci_low < plain.ci_low
        assert share.estimate < share.ci_high < 1
    lost = near.assign(kl=1 - near["value"], **{"gap.share": 1 - near["value"]})
    divergence, gap = (pooled(lost, name, 0.95) for name in ("kl", "gap.share"))
    of_logarithm = [divergence.ci_low, divergence.ci_high]
    np.testing.assert_allclose(of_logarithm, [1 - share.ci_high, 1 - share.ci_low])
    np.testing.assert_allclose([gap.ci_low, gap.ci_high], of_logarithm, rtol=0.05)
    most = pooled(near.rename(columns={"value": "gap.share"}), "gap.share", 0.95)
    np.testing.assert_allclose(
        [1 - most.ci_high, 1 - most.ci_low], [gap.ci_low, gap.ci_high], rtol=1e-6
    )
    far = frame(n_seeds=1).assign(value=0.5 + 0.001 * rng.normal(size=6))
    share = pooled(far.rename(columns={"value": names[0]}), names[0], 0.95)
    np.testing.assert_allclose(share.ci_low, pooled(far, "value", 0.95).ci_low, atol=1e-5)


def test_rows_are_tidy_and_name_their_group():
    cells = pd.concat([frame(), frame(seed=1).assign(knob=2.0)])
    rows = pooled_rows(cells, ["value", "absent"], ["knob"], 0.9, study="theory")
    assert list(rows["term"]) == ["knob=1.0", "knob=2.0"]
    whole = tidy([rows, row("theory", "value", "all", pooled(cells, "value", 0.9))])
    assert list(whole.columns) == list(RESULT_COLUMNS)
    assert len(whole) == 3


def test_a_cell_becomes_a_row_of_its_knobs_and_answers():
    training = {"architecture": "mlp", "width": 64}
    cells = [
        {"knobs": {"density": 2.0, "world": 1}, "world": {}, "training": training, "seed": 3}
        | {"recovery": True, "revision": 1, "kl": 0.5},
        {"knobs": {"density": 1.0, "world": 0}, "world": {}, "training": None, "seed": 0}
        | {"recovery": False, "revision": 1, "gap": 0.1},
    ]
    rows = cell_frame(cells)
    assert list(rows["trained"]) == [True, False]
    assert rows.loc[0, ["density", "world", "seed", "kl"]].tolist() == [2.0, 1, 3, 0.5]
