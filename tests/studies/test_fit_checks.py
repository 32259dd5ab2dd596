"""What the report of a check says of p-values, and how often it is wrong about a right model."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from concept_ppl.analyses.fits.predictive_checks import predictive_check
from concept_ppl.analyses.studies.fits.report import ALPHA, HINT, _adjusted, _level, _verdict
from concept_ppl.analyses.studies.fits.study import N_REPLICATES

NAMES = ("token frequency", "contexts with a pair of tokens", "mean number of different tokens")


@dataclass
class Answers:
    checks: list
    n_replicates: int = N_REPLICATES
    has_converged: bool = True
    file: SimpleNamespace = field(default_factory=SimpleNamespace)


def answers(p_values, n_replicates=N_REPLICATES):
    """Checks with these p-values."""
    checks = [
        SimpleNamespace(name=n, test=SimpleNamespace(p_value=p))
        for n, p in zip(NAMES, p_values, strict=True)
    ]
    return Answers(checks, n_replicates)


@pytest.mark.parametrize(
    ("p_values", "tone", "words"),
    [
        ((0.6, 0.4, 0.9), "supported", "Nothing speaks against it"),
        ((0.6, 0.005, 0.9), "supported", "pair of tokens (p = .015) near the edge"),
        ((0.6, 0.002, 0.9), "partly", "does not reproduce contexts with a pair"),
        ((0.002, 0.002, 0.002), "not supported", "Not in everything"),
    ],
)
def test_the_tone_follows_the_adjusted_p_values(p_values, tone, words):
    found = _verdict(answers(p_values))
    assert found.tone == tone
    assert words in found.sentence
    assert "at most one in 100" in found.remark
    assert "one right model in 7 would fail" in found.remark


def test_a_fit_that_has_not_converged_supports_nothing():
    one = answers((0.6, 0.4, 0.9))
    one.has_converged = False
    assert _verdict(one).tone == "not supported"


def test_few_replicates_cannot_reach_the_level_and_it_is_said():
    assert _level(answers((1, 1, 1))) == ALPHA
    few = answers((0.6, 1 / 61, 0.9), 60)
    assert _level(few) == HINT
    assert "at most one in 20" in _verdict(few).remark
    assert _verdict(few).tone == "partly"


@pytest.mark.slow
def test_right_models_are_called_right_but_for_one_in_a_hundred():
    """Exchangeable observed and replicated data sets, whatever the seed."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(75):
        checks = []
        for name in NAMES:
            drawn = rng.normal(size=(300 + 1, 6))
            checks.append(
                predictive_check(drawn[0], drawn[1:], name, [str(k) for k in range(6)], n=50)
            )
        one = Answers(checks, 300)
        wrong += _verdict(one).tone != "supported"
        assert min(_adjusted(one).values()) > 0
    assert wrong <= 3  # of 0.75 expected, with probability .993
