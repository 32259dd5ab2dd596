"""Default fits reach the best likelihood known, and the script that counts them says so."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from em_optima import judge, wilson, worlds


@pytest.mark.parametrize("name", ["5 topics", "4 classes", "2 binary concepts"])
def test_a_default_fit_reaches_the_best_likelihood_known(name):
    number, world = next((k, w) for k, w in enumerate(worlds(1)) if w.name == name)
    found = judge(world, number, starts=3)
    assert found["reached"], found


def test_the_share_has_the_interval_of_wilson():
    low, high = wilson(24, 24)
    assert high == 1.0
    assert low == pytest.approx(24 / (24 + 1.96**2), abs=1e-3)
