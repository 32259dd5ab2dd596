"""The report of the study of words: which mixture was found, and what it knows of the languages."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from concept_ppl.analyses.fits.model_ranking import ModelRanking
from concept_ppl.analyses.fits.predictive_accuracy import PredictiveAccuracy, total
from concept_ppl.analyses.results.rows import Estimate, Row, result_frame
from concept_ppl.analyses.studies.stages.claim_sections import tested, written
from concept_ppl.reports import KeyFigure, Report, Section, Tone, Verdict, number

from .answers import WordsAnswers
from .sections import (
    calibration_section,
    checks_section,
    convergence_section,
    languages_section,
    number_section,
    world_section,
)

QUESTION = (
    "Does a mixture that is fitted to unlabelled words find the {n} languages that they come from, "
    "and are its probabilities right?"
)
MARGIN = 0.95
CALIBRATION_MARGIN = 0.02
"""How far confidence may be from accuracy, on average, to be called right."""


def words_report(answers: WordsAnswers, manifest: Mapping[str, Any]) -> Report:
    """Compose the report; see :class:`concept_ppl.reports.Report`."""
    n = len(answers.study.languages)
    return Report(
        title=f"Words of {n} languages, and no labels",
        question=QUESTION.format(n=n),
        verdict=verdict(answers),
        key_figures=_key_figures(answers),
        sections=[
            number_section(answers),
            languages_section(answers),
            calibration_section(answers),
            checks_section(answers),
            convergence_section(answers),
            world_section(answers),
        ],
        results=result_frame(_rows(answers)),
        manifest=manifest,
        methods=_methods(answers),
    )


def fewer_components(ranking: "ModelRanking", n: int) -> dict[str, Estimate]:
    """Return how much fewer components than ``n`` lose on n, in nats; below zero, n is better."""
    right = ranking.accuracies[str(n)]
    from_right = {name: accuracy for name, accuracy in ranking.accuracies.items() if int(name) < n}
    return {name: _difference(accuracy, right) for name, accuracy in from_right.items()}


def _difference(one: PredictiveAccuracy, other: PredictiveAccuracy) -> Estimate:
    return total(one.pointwise - other.pointwise, other.weights, other.elpd.ci_level)


def verdict(answers: WordsAnswers) -> Verdict:
    """Answer in one sentence: found, by how many components, and whether calibrated."""
    n = len(answers.study.languages)
    index, gap = answers.agreement.adjusted_rand, answers.gap
    fewer = fewer_components(answers.leave_one_out, n)
    closest = max(fewer.values(), key=lambda value: value.estimate, default=None)
    found = index.ci_low >= MARGIN
    preferred = closest is None or closest.ci_high < 0
    calibrated = max(-gap.ci_low, gap.ci_high) < CALIBRATION_MARGIN
    tone: Tone = "undecided"
    if found and preferred and calibrated:
        tone = "supported"
    elif (
        index.ci_high < MARGIN
        or not preferred
        or max(gap.ci_low, -gap.ci_high) > CALIBRATION_MARGIN
    ):
        tone = "not supported"
    opening = {"supported": "Yes", "not supported": "No", "undecided": "Not in everything"}[tone]
    comparison = (
        ""
        if closest is None
        else f"; leave-one-out puts every smaller number at least {-closest.ci_high:,.0f} nats "
        f"below it"
        if preferred
        else "; leave-one-out does not prefer it to every smaller number"
    )
    sentence = (
        f"{opening}: the adjusted Rand index of {n} components with the languages of new contexts "
        f"is {written(index)}, where the true frequencies reach "
        f"{number(answers.ceiling.adjusted_rand.estimate)}{comparison}; of one or two "
        f"words it is right more often than it says by {written(gap)}, "
        f"{'' if calibrated else 'not '}surely within "
        f"{CALIBRATION_MARGIN} of what it says."
    )
    best = answers.leave_one_out.best
    remark = (
        f"The best number of components by leave-one-out is {best}, by new contexts "
        f"{answers.held_out.best}. A further component that finds nothing to explain costs little, "
        f"so that {n} and {n + 1} may be close. In bins of confidence the probabilities are off by "
        f"{number(answers.calibration.error)} on average, where right ones would seem off by "
        f"{number(answers.calibration.floor)} by chance ({tested(answers.calibration.test)})."
    )
    return Verdict(sentence, tone, remark)


def _key_figures(answers: WordsAnswers) -> list[KeyFigure]:
    index, gap = answers.agreement.adjusted_rand, answers.gap
    fewer = fewer_components(answers.leave_one_out, len(answers.study.languages))
    strip = [
        KeyFigure(
            "Adjusted Rand index",
            index.estimate,
            index.ci_low,
            index.ci_high,
            "components against languages, new contexts",
        )
    ]
    if fewer:
        name, value = max(fewer.items(), key=lambda item: item[1].estimate)
        strip.append(
            KeyFigure(
                f"{name} components, not {len(answers.study.languages)}",
                value.estimate,
                value.ci_low,
                value.ci_high,
                "leave-one-out, nats",
                decimals=0,
            )
        )
    strip.append(
        KeyFigure(
            "Accuracy − confidence",
            gap.estimate,
            gap.ci_low,
            gap.ci_high,
            "of one or two new words; 0 is calibrated",
        )
    )
    strip.append(
        KeyFigure(
            "Distance of frequencies",
            float(np.mean(list(answers.distances.values()))),
            note="total variation, mean over languages",
        )
    )
    return strip


def _rows(answers: WordsAnswers) -> list[Row]:
    rows = [
        *(row for row in answers.leave_one_out.rows()),
        *(row for row in answers.held_out.rows()),
        *answers.agreement.rows("new contexts"),
        *answers.ceiling.rows("new contexts, true frequencies"),
        *answers.calibration.rows("calibration", "fitted mixture", ""),
        *answers.exact_calibration.rows("calibration", "true frequencies", ""),
        Row("calibration", "accuracy_less_confidence", "fitted mixture", answers.gap),
    ]
    for k, one in answers.fitted.items():
        rows += one.agreement.rows(f"{k} components, fitted contexts")
    for code, value in answers.distances.items():
        n, missing = answers.study.n_contexts, float("nan")
        estimate = Estimate(value, missing, missing, missing, missing, missing, n, n)
        rows.append(Row("frequencies", "total_variation", code, estimate))
    return rows


def _methods(answers: WordsAnswers) -> Section:
    study = answers.study
    return Section(
        "Methods",
        f"Dirichlet priors: flat on the shares, of concentration {study.concentration} on each "
        f"component's word frequencies, because most words are rare in most languages; the "
        f"component of each context is summed out exactly. EM ({study.restarts} starts, flat "
        f"priors) finds a mode, two chains of NUTS ({study.warmup} + {study.draws} iterations) "
        f"start there. Labels are matched to one reference draw.\n\n"
        f"The adjusted Rand index is that of Hubert and Arabie (1985); its interval is drawn from "
        f"the posterior of the table of components by languages. Leave-one-out: "
        f"Vehtari, Gelman and Gabry (2017); differences are paired over contexts. Calibration: "
        f"bins of equal mass, the p-value by consistency resampling (Bröcker and Smith 2007). The "
        f"claim is supported when the lower bound of the index exceeds {MARGIN}, every smaller "
        f"number of components is worse by an interval that excludes zero, and the mean gap of "
        f"confidence and accuracy lies within {CALIBRATION_MARGIN} with its whole interval. "
        f"{study.n_new:,} new contexts of each kind.",
    )
