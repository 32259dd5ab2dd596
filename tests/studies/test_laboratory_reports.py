"""Reports say of invented numbers what these mean, and nothing where there is no interval."""

import importlib.util
from pathlib import Path

import pytest

from concept_ppl.analyses.studies.families.plan import FAMILIES
from concept_ppl.analyses.studies.laboratory.runs import Extent
from concept_ppl.analyses.studies.regimes.plan import NOISY, REGIMES
from concept_ppl.analyses.studies.theory.plan import THEORY
from concept_ppl.reports import write_report

from .invented import invented

MANIFEST = {"command": "concept-ppl study"}


def regime(settings):
    noisy = settings["knobs"]["y_determinism"] == NOISY
    return {
        "trained.alpha": 0.8 if noisy else 0.0,
        "trained.rho2_smallest": 0.6 if noisy else 0.995,
        "held_out.rho2_smallest": 0.6 if noisy else 0.995,
        "difference": 0.1 if settings["knobs"]["family"] == "hidden_concepts" else -0.1,
    }


def table_of(report, caption):
    tables = [table for section in report.sections for table in section.tables]
    return next(table.frame for table in tables if table.caption == caption)


@pytest.fixture(scope="module")
def regimes():
    return REGIMES.compose(invented(REGIMES, Extent(), regime), Extent(), MANIFEST)


def test_the_map_says_only_where_y_names_c_and_meets_its_bars(regimes):
    assert regimes.verdict.sentence.startswith("Only where the next token tells the concept")
    assert regimes.verdict.tone == "partly"
    assert set(table_of(regimes, "Bar by bar")["met"]) == {"yes"}


def test_learned_is_said_of_the_worlds_whose_gain_is_above_zero_alone(regimes):
    rows = table_of(regimes, "Trained minus best control")
    moves = rows["world"].str.contains("moves")
    assert set(rows.loc[moves, "verdict"]) == {"learned"}
    assert set(rows.loc[~moves, "verdict"]) == {"control is better"}


def test_a_positive_control_that_fails_is_a_bar_that_is_not_met():
    worse = {"trained.rho2_smallest": 0.97, "held_out.rho2_smallest": 0.97}
    frame = invented(REGIMES, Extent(), lambda settings: regime(settings) | worse)
    report = REGIMES.compose(frame, Extent(), MANIFEST)
    assert list(table_of(report, "Bar by bar")["met"])[:2] == ["no", "no"]
    assert report.verdict.tone == "not supported"
    assert report.verdict.sentence.startswith("Not even where the next token tells the concept")


@pytest.mark.parametrize("study", [THEORY, REGIMES, FAMILIES])
def test_one_world_and_one_network_make_a_page_without_intervals(study, tmp_path):
    extent = Extent(worlds=1, seeds=1)
    report = study.compose(invented(study, extent), extent, MANIFEST)
    write_report(report, tmp_path / "r")
    page = (tmp_path / "r" / "index.html").read_text()
    assert "Bars" in page
    assert "learned</td>" not in page
    assert report.results["ci_low"].isna().all()


def test_the_page_on_when_it_holds_has_a_number_for_each_name_and_no_other():
    path = Path(__file__).parents[2] / "benchmarks" / "when_it_holds.py"
    specification = importlib.util.spec_from_file_location("when_it_holds", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    extent = Extent(worlds=1, seeds=1)
    frames = (invented(study, extent) for study in (THEORY, REGIMES, FAMILIES))
    page = module.TEXT.read_text(encoding="utf-8").format(**module.numbers(*frames))
    assert "nan" not in page
    assert "{" not in page
