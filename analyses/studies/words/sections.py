"""Sections of the report of the study of words, a question each."""

from typing import Any

import numpy as np
import pandas as pd

from concept_ppl.analyses.regression.calibration import Calibration
from concept_ppl.analyses.studies.stages.claim_sections import tested, written
from concept_ppl.reports import Section, Table, number
from concept_ppl.reports.fit_figures import (
    criterion_curve,
    fit_history,
    reliability_curves,
    replicate_ranges,
)

from .answers import WordsAnswers

N_TOP = 8
N_EXAMPLES = 6


def number_section(answers: WordsAnswers) -> Section:
    """Return how many groups the words ask for, by prediction of unseen contexts."""
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


def languages_section(answers: WordsAnswers) -> Section:
    """Return which language each group of the fitted mixture stands for."""
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


def calibration_section(answers: WordsAnswers) -> Section:
    """Return whether the probabilities of the mixture are right, beside the exact posterior."""
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
    return np.array([(each.mass, each.confidence, each.accuracy.estimate) for each in found.bins])


def _calibrated(found: "Calibration") -> str:
    mass = _points(found)
    said, right = float(mass[:, 0] @ mass[:, 1]), float(mass[:, 0] @ mass[:, 2])
    return (
        f"it said {number(said)} on average and was right in {number(right)}; expected calibration "
        f"error {number(found.error)}, of which {number(found.floor)} is what right probabilities "
        f"show by chance ({tested(found.test)})"
    )


def checks_section(answers: WordsAnswers) -> Section:
    """Return whether the mixture would have drawn words like these."""
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


def convergence_section(answers: WordsAnswers) -> Section:
    """Return whether the chains agree."""
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


def world_section(answers: WordsAnswers) -> Section:
    """Return where the words come from, with the first contexts."""
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
