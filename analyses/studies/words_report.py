"""The report of the study of words: which mixture was found, and what it knows of the languages."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from concept_ppl.analyses.predictive_accuracy import PredictiveAccuracy, total
from concept_ppl.analyses.results import Estimate, Row, result_frame
from concept_ppl.reports import (
    KeyFigure,
    Report,
    Section,
    Table,
    Tone,
    Verdict,
    number,
)
from concept_ppl.reports.fit_figures import (
    criterion_curve,
    fit_history,
    reliability_curves,
    replicate_ranges,
)

from .claim_sections import tested, written

if TYPE_CHECKING:
    from concept_ppl.analyses.calibration import Calibration
    from concept_ppl.analyses.model_ranking import ModelRanking

    from .words import WordsAnswers

QUESTION = (
    "Does a mixture that is fitted to unlabelled words find the {n} languages that they come from, "
    "and are its probabilities right?"
)
MARGIN = 0.95
CALIBRATION_MARGIN = 0.02
"""How far confidence may be from accuracy, on average, to be called right."""
N_TOP = 8
N_EXAMPLES = 6


def words_report(answers: "WordsAnswers", manifest: Mapping[str, Any]) -> Report:
    """Compose the report; see :class:`concept_ppl.reports.Report`."""
    n = len(answers.study.languages)
    return Report(
        title=f"Words of {n} languages, and no labels",
        question=QUESTION.format(n=n),
        verdict=verdict(answers),
        key_figures=_key_figures(answers),
        sections=[
            _number_section(answers),
            _languages_section(answers),
            _calibration_section(answers),
            _checks_section(answers),
            _convergence_section(answers),
            _world_section(answers),
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


def verdict(answers: "WordsAnswers") -> Verdict:
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


def _key_figures(answers: "WordsAnswers") -> list[KeyFigure]:
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


def _number_section(answers: "WordsAnswers") -> Section:
    rankings = {"leave-one-out": answers.leave_one_out, "new contexts": answers.held_out}
    parts = []
    for criterion, ranking in rankings.items():
        for name, value in ranking.differences.items():
            per = len(ranking.accuracies[name].pointwise)
            parts.append(
                {
                    "criterion": criterion,
                    "term": int(name),
                    "estimate": value.estimate / per,
                    "ci_low": value.ci_low / per,
                    "ci_high": value.ci_high / per,
                }
            )
    figure = criterion_curve(
        pd.DataFrame(parts),
        label="nats per context, from the best",
        axis="components",
        name="components",
        caption="Expected log predictive density of a context against the number of components, as "
        "its difference from the best, by leave-one-out on the contexts that were fitted and on "
        "new ones. Bars: intervals of paired differences.",
    )
    rows = [
        {
            "components": int(name),
            "elpd": accuracy.elpd.estimate,
            "difference": answers.leave_one_out.differences[name].estimate,
            "std_error": answers.leave_one_out.differences[name].std_error,
            "p_effective": accuracy.p_effective,
            "untrusted": accuracy.n_untrusted,
        }
        for name, accuracy in answers.leave_one_out.accuracies.items()
    ]
    table = Table(
        "Leave-one-out, best first (nats)",
        pd.DataFrame(rows),
        headings={
            "difference": "from the best",
            "std_error": "its SE",
            "p_effective": "effective",
            "untrusted": "k too high",
        },
        formats=dict.fromkeys(("elpd", "difference", "std_error", "p_effective"), ".1f"),
        note="Effective: parameters. k too high: contexts whose importance ratios have a heavy "
        "tail (Pareto k), so that their terms are not to be trusted; new contexts, which need no "
        "such ratios, are the check.",
    )
    text = (
        "Every number of components was fitted to the same contexts. Leave-one-out asks how well "
        "each context is foretold by the others, with the exact evidence of each context in "
        "which the component is summed out."
    )
    return Section("How many components", text, [figure], [table])


def _languages_section(answers: "WordsAnswers") -> Section:
    study, matched = answers.study, answers.fitted[len(answers.study.languages)].agreement.matched
    counts = answers.fitted[len(study.languages)].agreement.counts
    rows = []
    for place, code in enumerate(study.languages):
        own = answers.emission[place]
        top = [answers.words[i] for i in np.argsort(-own, kind="stable")[:N_TOP]]
        rows.append(
            {
                "language": code,
                "contexts": int(counts[:, place].sum()),
                "in its component": int(counts[matched[place], place]),
                "distance": answers.distances[code],
                "its top words": ", ".join(top),
            }
        )
    table = Table(
        "Components, named by the language that most of their contexts are of",
        pd.DataFrame(rows),
        note="Contexts: of those that were fitted. Distance: total variation between the "
        "component's word frequencies (posterior mean) and the language's true ones, at most 1.",
    )
    train = answers.fitted[len(study.languages)].agreement.adjusted_rand
    text = (
        f"Nobody told the mixture any language: the names below were given afterwards, by the best "
        f"assignment. On the contexts that were fitted the index is {written(train)}, on new ones "
        f"{written(answers.agreement.adjusted_rand)}; classified by the exact posterior under the "
        f"true frequencies, new contexts reach {written(answers.ceiling.adjusted_rand)}."
    )
    return Section("Which languages it found", text, tables=[table])


def _calibration_section(answers: "WordsAnswers") -> Section:
    curves = {
        "fitted mixture": _points(answers.calibration),
        "true frequencies": _points(answers.exact_calibration),
    }
    figure = reliability_curves(
        curves,
        model="fitted mixture",
        caption="How often the most probable language of a new context of one or two words was its "
        "language, in bins of equal mass. Dashed: probabilities that are right as often as they "
        "say.",
    )
    text = (
        f"Contexts of one or two new words leave doubt, which can be wrong. The posterior of the "
        f"component, averaged over the draws of the tables: {_calibrated(answers.calibration)}. "
        f"The exact posterior under the true frequencies, which is calibrated by construction: "
        f"{_calibrated(answers.exact_calibration)}."
    )
    return Section("Are its probabilities right", text, [figure])


def _points(found: "Calibration") -> "np.ndarray[Any, np.dtype[np.float64]]":
    return np.array([(each.mass, each.confidence, each.accuracy) for each in found.bins])


def _calibrated(found: "Calibration") -> str:
    mass = _points(found)
    said, right = float(mass[:, 0] @ mass[:, 1]), float(mass[:, 0] @ mass[:, 2])
    return (
        f"it said {number(said)} on average and was right in {number(right)}; expected calibration "
        f"error {number(found.error)}, of which {number(found.floor)} is what right probabilities "
        f"show by chance ({tested(found.test)})"
    )


def _checks_section(answers: "WordsAnswers") -> Section:
    n = len(answers.study.languages)
    chosen = answers.fitted[n].checks
    names = [check.name for check in chosen]
    table = pd.DataFrame(
        [
            {"components": k, **{check.name: check.test.p_value for check in one.checks}}
            for k, one in answers.fitted.items()
        ]
    )
    pairs = chosen[1]
    figure = replicate_ranges(
        pairs.tidy().iloc[1:],
        label=pairs.name,
        name="pairs",
        caption=f"Contexts that hold both of two frequent words, for {n} components: as observed "
        f"(blue; a diamond where outside) and the range of replicated data sets (grey).",
    )
    text = (
        "A mixture with too few components can have the frequency of every word right. What it "
        "cannot have is which words stand together: words of one language do, words of two do not."
    )
    shown = Table(
        "Posterior predictive p-values of each family of statistics",
        table,
        formats=dict.fromkeys(names, "p_value"),
    )
    return Section("What the mixtures reproduce", text, [figure], [shown])


def _convergence_section(answers: "WordsAnswers") -> Section:
    rows = []
    for k, one in answers.fitted.items():
        table = one.estimates.table
        n_best = int((one.point.restarts > one.point.restarts.max() - 1e-3).sum())
        rows.append(
            {
                "components": k,
                "starts at the best": f"{n_best} of {len(one.point.restarts)}",
                "highest R-hat": table["r_hat"].max(),
                "fewest effective draws": int(table["ess_bulk"].min()),
                "divergences": int(one.draws.sample_stats["diverging"].sum()),
                "labels switched": one.draws.switched["topic"],
            }
        )
    chosen = answers.fitted[len(answers.study.languages)].draws
    figure = fit_history(
        chosen.history,
        caption=f"Log-evidence per token along the {len(chosen.history)} chains of the mixture "
        f"with {len(answers.study.languages)} components, warm-up included.",
    )
    text = (
        "EM climbs from several random starts; the chains of NUTS begin at the best point, so they "
        "say how wide its surroundings are, not whether there are others: for that, look at how "
        "many starts reached the best. R-hat and effective draws are those of the shares and of "
        "each component's frequent words; of words that a component hardly has, whose "
        "log-frequencies mix slowly, nothing is claimed."
    )
    return Section("Has it converged", text, [figure], [Table("Fits", pd.DataFrame(rows))])


def _world_section(answers: "WordsAnswers") -> Section:
    study = answers.study
    lengths = answers.contexts["x"].map(len)
    table = Table(
        "The first contexts",
        answers.contexts[["text", "language"]].head(N_EXAMPLES),
        note="The column of the language was not given to any fit.",
    )
    text = (
        f"{study.n_contexts:,} contexts of {lengths.min()} to {lengths.max()} words, each of one "
        f"of {len(study.languages)} languages, equally likely, drawn from its real unigram "
        f"frequencies. The vocabulary is the union of the {study.top} most frequent words of each, "
        f"{len(answers.words)} in all; many belong to several languages."
    )
    return Section("The world", text, tables=[table])


def _rows(answers: "WordsAnswers") -> list[Row]:
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


def _methods(answers: "WordsAnswers") -> Section:
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
