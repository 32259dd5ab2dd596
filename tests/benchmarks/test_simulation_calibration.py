"""The parts of the calibration of NUTS: what it counts, and that it goes on where it stopped."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from simulation_calibration import (
    KEPT,
    between_order_statistics,
    one,
    rank_tests,
    run,
    summarise,
)


def test_uniform_ranks_pass_and_those_of_a_narrow_posterior_do_not():
    rng = np.random.default_rng(0)
    p_value, inside = rank_tests(rng.integers(0, KEPT + 1, 500))
    assert p_value > 1e-3
    assert inside
    from scipy import stats

    truth = rng.standard_normal(500)
    narrow = np.array([(0.7 * rng.standard_normal(KEPT) < t).sum() for t in truth])
    p_value, inside = rank_tests(narrow)
    assert p_value < 1e-3
    assert not inside
    assert stats.chisquare(np.bincount(narrow // 50)).pvalue > 1e-6  # symmetric all the same


def test_the_interval_holds_95_of_100_ranks():
    assert between_order_statistics(np.arange(KEPT + 1)).sum() == 95


def line(seed):
    return {"seed": seed, "ranks": {"a": seed + 50}, "covered": {"a": True}, "diverging": 0}


def test_a_run_that_was_killed_goes_on(tmp_path):
    run(2, tmp_path, ask=line)
    asked = []
    found = run(4, tmp_path, ask=lambda seed: asked.append(seed) or line(seed))
    assert asked == [2, 3]
    assert found == [line(seed) for seed in range(4)]
    assert summarise(found)[0]["coverage"] == 1


@pytest.mark.slow
def test_a_data_set_has_a_rank_for_each_number():
    found = one(0, kept=9, warmup=30)
    assert set(found["ranks"]) == set(found["covered"])
    assert all(0 <= rank <= 9 for rank in found["ranks"].values())
