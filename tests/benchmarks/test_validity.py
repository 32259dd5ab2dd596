"""A small part of the validity grid: planted worlds where every method says that it is valid."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from validity import run
from validity_cells import AT_ONCE, published
from validity_checks import CHECKS, Case, applies, replicate
from validity_page import EXPLANATION, NOMINAL, TABLE, quote, with_rates
from validity_truths import fold_maps, true_r2
from validity_verdicts import WORLDS, Planted
from validity_worlds import Cell, D, draw

from concept_ppl.analyses.designs.cross_fits import cross_fit
from concept_ppl.distributed import Machines, Store

FAILURE_RATE = 2e-5
CELLS = (
    Cell(heavy=False, heteroscedastic=False, n=200, lost=0, r2=0.95, n_clusters=0),
    Cell(heavy=True, heteroscedastic=True, n=1000, lost=1, r2=0.5, n_clusters=50),
    Cell(heavy=False, heteroscedastic=False, n=200, lost=1, r2=0.5, n_clusters=0),
)


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_intervals_cover_and_tests_keep_their_size(cell):
    replications = 40
    checks = tuple(check for check in CHECKS if applies(check, cell))
    counts = replicate(cell, checks, range(replications))
    rows = {quantity: row for found in counts.values() for quantity, row in found.items()}
    assert len(rows) >= 8
    for quantity, (held, answered, asked) in rows.items():
        if quantity.startswith("canonical_tests") and cell.n_clusters:
            assert answered == 0  # they say themselves that clusters are not for them
            continue
        assert answered == asked >= replications // 2, quantity
        nominal = NOMINAL[quantity.rpartition(": ")[2]]
        low, high = stats.binom.interval(1 - FAILURE_RATE, answered, nominal)
        # A test may reject less often than it says: that of equivalence does.
        is_size = quantity.endswith("size")
        assert held <= high if is_size else low <= held <= high, (quantity, held)


def test_a_direction_that_is_unrelated_by_chance_is_weak_and_no_error():
    """With this seed a training set explains 1e-14 of a contrast that is noise."""
    cell = Cell(heavy=True, heteroscedastic=True, n=200, lost=2, r2=0.99, n_clusters=0)
    [found] = replicate(cell, ("models",), range(20, 21)).values()
    assert {tuple(row[1:]) for row in found.values()} == {(1, 1)}


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
def test_planted_worlds_get_their_verdict(world):
    [[right, _, asked]] = replicate(Planted(world), ("verdicts",), range(10))["verdicts"].values()
    assert right >= 0.8 * asked  # at .97 right, 7 of 10 or fewer come with probability .003


def test_figures_in_the_explanation_are_those_of_the_counts():
    text = EXPLANATION.read_text()
    counts = pd.read_csv(TABLE)[["check", "quantity", "cell", "held", "answered", "asked"]]
    assert text.count('validity.md "') >= 10
    assert quote(text, with_rates(counts)) == text


def test_the_population_r2_is_that_of_a_million_new_rows():
    cell = Cell(heavy=True, heteroscedastic=True, n=200, lost=0, r2=0.5, n_clusters=0)
    case = Case(draw(cell, 1), 0)
    big = Cell(**{**vars(cell), "n": 400_000})
    new = draw(big, 1)
    np.testing.assert_array_equal(new.truth.A, case.sample.truth.A)
    errors = spread = 0.0
    for one in fold_maps(case.F, case.Z, case.states, cross_fit(case.states, case.Z)):
        residuals = new.Z - one.y0 - (new.F - one.x0) @ one.B
        errors += one.n_test * np.square(residuals).sum()
        spread += one.n_test * np.square(new.Z - one.y0).sum()
    assert case.backward == pytest.approx(1 - errors / spread, abs=0.004)


def test_a_map_that_knows_nothing_explains_nothing():
    cell = CELLS[0]
    case = Case(draw(cell, 2), 0)
    maps = list(fold_maps(case.F, case.Z, case.states, cross_fit(case.states, case.Z)))
    zero = [type(m)(m.x0, m.y0, np.zeros((D, case.Z.shape[1])), m.n_test) for m in maps]
    assert true_r2(iter(zero), *case.moments) == pytest.approx(0.0, abs=1e-12)


def test_blocks_are_added_to_what_is_published_and_asked_once(tmp_path, monkeypatch):
    cell, check = CELLS[0], ("linear_map",)
    key = "linear_map HC3 slope: covers"

    def asked(replications: int) -> tuple[int, int]:
        table = run([cell], check, replications, Machines(), Store(tmp_path))
        rows = table[(table["cell"] == str(cell)) & (table["quantity"] == key)]
        return int(rows["asked"].sum()), len(list(tmp_path.iterdir()))

    before = published()
    before = before[(before["cell"] == str(cell)) & (before["quantity"] == key)]["asked"].sum()
    assert asked(int(before)) == (before, 0)
    assert asked(int(before) + AT_ONCE) == (before + AT_ONCE, 1)
    monkeypatch.setattr("validity_cells.replicate", None)
    assert asked(int(before) + AT_ONCE) == (before + AT_ONCE, 1)
