"""The report on one fit: its parameters, its convergence, and what it cannot reproduce."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from concept_ppl.analyses.fits.parameter_tables import HIGHEST_R_HAT
from concept_ppl.analyses.fits.predictive_accuracy import CRITERIA
from concept_ppl.analyses.results.hypotheses import HypothesisTest
from concept_ppl.analyses.results.multiplicity import holm
from concept_ppl.analyses.results.rows import result_frame
from concept_ppl.reports import KeyFigure, Report, Section, Table, Tone, Verdict, p_value
from concept_ppl.reports.fit_figures import fit_history, replicate_ranges

from .answers import FitCheck

QUESTION = (
    "Can the {method} fit of {model} be trusted, and does its model produce tokens like those it "
    "was fitted to?"
)
ALPHA, HINT = 0.01, 0.05
"""Adjusted p-values below which a family is a misfit, and below which it is worth a word."""
MOST_ROWS = 200
FIGURES = {
    "token frequency": "frequencies",
    "contexts with a pair of tokens": "pairs",
    "mean number of different tokens": "different",
}


def fit_check_report(answers: FitCheck, manifest: Mapping[str, Any]) -> Report:
    """Compose the report; see :class:`concept_ppl.reports.Report`."""
    fit = answers.file.fit
    rows = [row for accuracy in answers.accuracies for row in accuracy.rows()]
    rows += [row for check in answers.checks for row in check.rows()]
    return Report(
        title=f"Check of {answers.file.path.name}",
        question=QUESTION.format(method=fit.method, model=fit.model),
        verdict=_verdict(answers),
        key_figures=_key_figures(answers),
        sections=[
            _checks_section(answers),
            _convergence_section(answers),
            _parameters_section(answers),
            _accuracy_section(answers),
        ],
        results=pd.concat(
            [result_frame(answers.estimates.rows()), result_frame(rows)], ignore_index=True
        ),
        manifest=manifest,
        methods=_methods(answers),
    )


def _adjusted(answers: FitCheck) -> dict[str, float]:
    """Return the p-value of each family of statistics, adjusted for their number (Holm)."""
    tests = pd.DataFrame(
        {"name": [check.name for check in answers.checks], "family": "checks"}
    ).assign(p_value=[check.test.p_value for check in answers.checks])
    adjusted = holm(tests, family=["family"])
    return dict(zip(adjusted["name"], adjusted["p_value"], strict=True))


def _verdict(answers: FitCheck) -> Verdict:
    adjusted = _adjusted(answers)
    level = _level(answers)
    misfits = [name for name, p in adjusted.items() if p < level]
    hints = [f"{name} ({p_value(p, symbol=True)})" for name, p in adjusted.items() if p < HINT]
    if not answers.has_converged:
        sentence = "No: the fit has not converged, so nothing that it says can be relied on"
        tone: Tone = "not supported"
    elif misfits:
        sentence = f"Not in everything: its model does not reproduce {_joined(misfits)}"
        tone = "partly" if len(misfits) < len(adjusted) else "not supported"
    else:
        sentence = (
            f"Nothing speaks against it: it has converged, and {len(answers.checks)} families of "
            f"token statistics lie where {answers.n_replicates:,} replicated data sets put them"
        )
        if hints:
            sentence += f", {_joined(hints)} near the edge"
        tone = "supported"
    remark = (
        f"{_false_alarms(len(adjusted), level)} The data were used to fit, so these checks are "
        "conservative: they find what the model leaves out, and prove nothing of what they do not "
        "look at."
    )
    return Verdict(f"{sentence}.", tone, remark)


def _level(answers: FitCheck) -> float:
    """Return the level of a misfit: ALPHA, or HINT where ranks of few replicates go no lower."""
    lowest = len(answers.checks) / (1 + answers.n_replicates)
    return ALPHA if lowest < ALPHA else HINT


def _false_alarms(n_families: int, level: float) -> str:
    """Say how often a model that is right is said not to be, here and test by test."""
    loose = 1 / (1 - (1 - HINT) ** n_families)
    return (
        f"Of models that are right, at most one in {1 / level:.0f} fails a test here: p-values are "
        f"adjusted for {n_families} families, and a misfit is one below {level:g}. Unadjusted and "
        f"at {HINT:g}, one right model in {loose:.0f} would fail one of them by chance."
    )


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _key_figures(answers: FitCheck) -> list[KeyFigure]:
    fit = answers.file.fit
    strip = [
        KeyFigure(
            "Log-evidence per token",
            float(fit.log_evidence.mean()) / max(fit.n_tokens, 1),
            note=f"nats; {fit.n_contexts:,} contexts, {fit.n_parameters:,} free parameters",
        )
    ]
    table = answers.estimates.table
    if fit.method == "nuts" and table["r_hat"].notna().any():
        strip += [
            KeyFigure(
                "Highest R-hat", float(table["r_hat"].max()), note=f"≤ {HIGHEST_R_HAT} wanted"
            ),
            KeyFigure(
                "Fewest effective draws", float(table["ess_bulk"].min()), note="bulk", decimals=0
            ),
        ]
    least = min((check.test for check in answers.checks), key=lambda test: test.p_value)
    strip.append(
        KeyFigure(
            "Smallest p of the checks", least.p_value, note="before adjustment", is_p_value=True
        )
    )
    return strip


def _checks_section(answers: FitCheck) -> Section:
    adjusted = _adjusted(answers)
    figures, lines = [], []
    for check in answers.checks:
        rows = check.tidy().iloc[1:]
        figures.append(replicate_ranges(rows, label=check.name, name=FIGURES[check.name]))
        lines.append(
            f"- {check.name}: {_tested(check.test)}, {p_value(adjusted[check.name], symbol=True)} "
            f"adjusted"
        )
    text = (
        f"Statistics of the tokens beside those of {answers.n_replicates:,} data sets that the "
        f"fitted model would have produced instead, of the same lengths. Which tokens occur in one "
        f"context is what concepts explain; how many different ones a context of each length has, "
        f"tells repetition. Tests of each family as a whole:\n\n" + "\n".join(lines)
    )
    return Section("What the model reproduces", text, figures)


def _tested(test: HypothesisTest) -> str:
    return test.invalid_because or p_value(test.p_value, symbol=True)


def _convergence_section(answers: FitCheck) -> Section:
    fit = answers.file.fit
    text = [fit.summary().replace("\n", "\n\n")]
    if fit.is_point:
        state = "reached its tolerance" if fit.converged else "did not reach its tolerance"
        text.append(f"The best start {state}.")
    elif fit.method == "nuts":
        text.append(answers.estimates.summary().splitlines()[-1])
    else:
        text.append(
            "Draws are independent ones of the variational guide. They say how wide the guide is, "
            "not how close it is to the posterior: compare with `nuts`, and mind Pareto k."
        )
    figures = []
    if fit.history and all(len(own) for own in fit.history):
        best = int(np.argmax(fit.restarts)) if len(fit.restarts) == len(fit.history) else 0
        figures.append(fit_history(fit.history, best=best))
    return Section("Has it converged", "\n\n".join(text), figures)


def _parameters_section(answers: FitCheck) -> Section:
    estimates = answers.estimates
    shown = estimates.table.drop(columns="ci_level").head(MOST_ROWS)
    if answers.file.fit.method == "svi":  # of independent draws they say nothing
        shown = shown.drop(columns=["r_hat", "ess_bulk", "ess_tail"])
    more = len(estimates.table) - len(shown)
    note = f"{more:,} more rows in results.csv." if more > 0 else ""
    kind = (
        "Standard errors are those of the observed information; intervals of probabilities are "
        "normal on the scale of their log-odds. A row without one lies on the edge of its range."
        if estimates.n_chains == 0
        else "Means, standard deviations and quantiles of the draws, labels matched to one "
        "reference; R-hat and effective draws, where there are chains, are rank-normalised."
    )
    switched = [
        f"Labels of '{name}' differed from the reference in {share:.0%} of the draws."
        for name, share in answers.file.fit.switched.items()
    ]
    table = Table(
        "Parameters",
        shown,
        formats={"ess_bulk": "integer", "ess_tail": "integer", "index": "text"},
        note=note,
    )
    return Section("Parameters", "\n\n".join([kind, *switched]), tables=[table])


def _accuracy_section(answers: FitCheck) -> Section:
    if not answers.accuracies:
        return Section("Contexts not seen", "The file holds no log-likelihood of each context.")
    rows = [
        {
            "criterion": CRITERIA[accuracy.criterion],
            "estimate": accuracy.elpd.estimate,
            "ci_low": accuracy.elpd.ci_low,
            "ci_high": accuracy.elpd.ci_high,
            "p_effective": accuracy.p_effective,
            "untrusted": accuracy.n_untrusted if len(accuracy.pareto_k) else math.nan,
        }
        for accuracy in answers.accuracies
    ]
    table = Table(
        "Expected log predictive density (nats)",
        pd.DataFrame(rows),
        headings={"p_effective": "effective parameters", "untrusted": "Pareto k too high"},
        formats={"p_effective": ".1f", "untrusted": "integer"},
    )
    text = (
        "What as many new contexts would be worth, in nats, the model's fit to what it has seen "
        "taken off. Only differences between models of the same tokens mean something: "
        "`concept-ppl compare`."
    )
    return Section("Contexts not seen", text, tables=[table])


def _methods(answers: FitCheck) -> Section:
    told = answers.file.attributes
    versions = ", ".join(f"{name} {number}" for name, number in told["versions"].items())
    return Section(
        "Methods",
        f"Each p-value is the rank of the observed statistics among the replicated ones; a family "
        f"as a whole is ranked by the sum of squared standardised deviations, those of observed "
        f"and replicated data sets alike from the mean of all (Rubin 1984). A posterior's "
        f"replicates are drawn at its draws, those of a point at the point.\n\n"
        f"Fitted with {versions}; options {told['options']}.",
    )
