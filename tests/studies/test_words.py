"""The study of words finds what is there, and says so only then."""

import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from concept_ppl.analyses.studies.words.report import verdict
from concept_ppl.analyses.studies.words.study import WordsStudy, analyse_words, run_words_study
from concept_ppl.errors import InputError
from concept_ppl.reports import RESULT_COLUMNS

SMALL = WordsStudy(
    languages=("en", "fr", "de"),
    n_contexts=150,
    n_new=300,
    top=15,
    most_components=3,
    restarts=5,
    warmup=40,
    draws=60,
    n_replicates=20,
)
pytestmark = pytest.mark.slow


@contextmanager
def stage(name):
    yield lambda done, total: None


@pytest.fixture(scope="module")
def answers():
    return analyse_words(SMALL, stage)


def test_three_languages_are_found_without_a_label(answers):
    assert answers.agreement.adjusted_rand.estimate > 0.95
    assert answers.leave_one_out.best == "3"
    assert answers.held_out.best == "3"
    assert answers.leave_one_out.differences["2"].ci_high < 0
    assert set(answers.distances) == {"en", "fr", "de"}
    assert max(answers.distances.values()) < 0.3
    top = [answers.words[own.argmax()] for own in answers.emission]
    assert top == ["the", "de", "die"] or top[:2] == ["the", "de"]


def test_the_truth_is_calibrated_and_no_fit_exceeds_it_much(answers):
    assert answers.exact_calibration.excess < 0.03
    index, ceiling = answers.agreement.adjusted_rand, answers.ceiling.adjusted_rand
    assert index.estimate < ceiling.estimate + 0.02


def moved(value, low, high):
    return replace(value, estimate=(low + high) / 2, ci_low=low, ci_high=high)


@pytest.mark.parametrize(
    ("index", "gap", "tone", "words"),
    [
        ((0.96, 0.99), (-0.01, 0.01), "supported", ["Yes:", "surely within"]),
        ((0.93, 0.99), (-0.01, 0.01), "undecided", ["Not in everything:"]),
        ((0.96, 0.99), (0.01, 0.03), "undecided", ["not surely within"]),
        ((0.80, 0.90), (-0.01, 0.01), "not supported", ["No:", "0.850 [0.800, 0.900]"]),
        ((0.96, 0.99), (0.03, 0.05), "not supported", ["No:"]),
    ],
)
def test_the_verdict_says_what_the_intervals_allow(answers, index, gap, tone, words):
    agreement = replace(
        answers.agreement, adjusted_rand=moved(answers.agreement.adjusted_rand, *index)
    )
    found = verdict(replace(answers, agreement=agreement, gap=moved(answers.gap, *gap)))
    assert found.tone == tone
    assert all(word in found.sentence for word in words), found.sentence


def test_the_report_holds_every_number(answers, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "concept_ppl.analyses.studies.words.study.analyse_words", lambda study, stage: answers
    )
    page = run_words_study(SMALL, tmp_path / "r", command=["words"], stage=stage)
    results = pd.read_csv(page.parent / "results.csv")
    assert tuple(results.columns) == RESULT_COLUMNS
    assert {"elpd_loo", "elpd_held_out", "adjusted_rand", "calibration_error"} <= set(
        results["quantity"]
    )
    drawings = {path.stem for path in (page.parent / "figures").iterdir()}
    assert drawings == {"components", "reliability", "pairs", "history"}
    manifest = json.loads((page.parent / "manifest.json").read_text())
    assert manifest["arguments"]["n_contexts"] == 150
    assert "the" in Path(page).read_text()


def test_bad_arguments_are_refused_before_any_work(tmp_path):
    with pytest.raises(InputError, match="most_components is 2"):
        run_words_study(
            replace(SMALL, most_components=2), tmp_path / "r", command=["w"], stage=stage
        )
    with pytest.raises(InputError, match="draws must be at least 50"):
        run_words_study(replace(SMALL, draws=20), tmp_path / "r", command=["w"], stage=stage)
    assert not np.any([p.name == "r" for p in tmp_path.iterdir()])
