"""The report of a counterfactual study: what was asked, what came out, beside every control."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from concept_ppl.analyses.studies.stages.side_by_side import results_of, sections_of
from concept_ppl.reports import Report, Section, Table

from .answers import PairAnswers
from .comparison import ModelComparison
from .comparison_report import joint_pair_key_figures, joint_pair_verdict, pair_comparison_section
from .hygiene import PairHygiene
from .multiverse_section import multiverse_section
from .plan import RANDOM
from .sections import (
    controls_section,
    identity_section,
    layers_section,
    matrix_section,
    published_section,
    tokens_section,
)
from .states import ModelWords
from .verdicts import pair_key_figures, pair_verdict

QUESTION = (
    "Do the states of {models} change alike for word pairs that differ alike, and was it learned?"
)
QUESTION_OF_TWO = (
    "Do the states of {models} change alike for word pairs that differ alike, was it learned, and "
    "in which of the two more?"
)


def counterfactual_report(
    models: Sequence[ModelWords],
    answers: Mapping[str, PairAnswers],
    hygiene: PairHygiene,
    comparison: ModelComparison | None,
    manifest: Mapping[str, Any],
) -> Report:
    """Compose the report; see :class:`concept_ppl.reports.Report`."""
    names = " and ".join(answers)
    first = next(iter(answers.values()))
    if comparison is None:
        question, verdict, strip = QUESTION, pair_verdict(first), pair_key_figures(first)
        sections, results = _model_sections(models[0], first), first.tidy()
    else:
        question, verdict = QUESTION_OF_TWO, joint_pair_verdict(answers, comparison)
        strip = joint_pair_key_figures(answers, comparison)
        sections = [pair_comparison_section(answers, comparison)]
        for number, model in enumerate(models, 1):
            own = _model_sections(model, answers[model.name])
            sections += sections_of(own, model.name, number)
        frames = [results_of(own.tidy(), name) for name, own in answers.items()]
        results = pd.concat([comparison.tidy(), *frames], ignore_index=True)
    return Report(
        title=f"Counterfactual study: {names}",
        question=question.format(models=names),
        verdict=verdict,
        key_figures=strip,
        sections=[*sections, _pairs_section(hygiene)],
        results=results,
        manifest=manifest,
        methods=_methods(first, hygiene),
    )


def _model_sections(model: ModelWords, own: PairAnswers) -> list[Section]:
    return [
        matrix_section(own),
        published_section(own),
        controls_section(own),
        layers_section(own),
        multiverse_section(own),
        identity_section(own),
        tokens_section(model, own),
    ]


def _pairs_section(hygiene: PairHygiene) -> Section:
    pairs = hygiene.pairs
    table = Table(
        "Concept by concept",
        hygiene.table,
        formats={"smallest p": ".2g"},
        note="Units are sets of pairs that share words across all lists: the independent "
        "observations. Smallest p: the least that sign flips of so many units can give.",
    )
    tables = [table]
    if len(hygiene.skipped):
        tables.append(Table("Lines that were left out", hygiene.skipped, formats={"line": "text"}))
    return Section(
        "The word pairs",
        f"{len(pairs):,} pairs of {len(pairs.words):,} distinct words stand for "
        f"{len(pairs.concepts)} concepts; {len(hygiene.skipped)} lines were left out. Lines are "
        f"split at tabs alone, so an entry may be a phrase.",
        tables=tables,
    )


def _methods(own: PairAnswers, hygiene: PairHygiene) -> Section:
    mean = own.headline.mean_diagonal
    level = f"{100 * mean.ci_level:g}%"
    return Section(
        "Methods",
        f"Each word is read by itself, behind the model's first token and a space. Pairs that "
        f"share a word in any list are one unit ({mean.n_clusters} units of {mean.n:,} pairs); "
        f"splits deal whole units to two halves, weights are fitted to one and judged by the other "
        f"and the other way round. States are centred and rescaled by the training half alone, and "
        f"every shrinkage and penalty is chosen there. Logistic regressions, the costliest, use "
        f"the first splits only.\n\n"
        f"An entry is the mean cosine between weights and the differences of new pairs. Its "
        f"{level} interval adds, for each unit, its influence as judged pairs and as training "
        f"pairs (infinitesimal jackknife, Fisher's z); it speaks of weights fitted to this many "
        f"words. `benchmarks/counterfactual.py` measures how often such intervals cover. On the "
        f"diagonal, p-values come from random sign flips of whole units with the weights made anew "
        f"each time, adjusted by Holm over concepts; off it, from the interval, adjusted by "
        f"Benjamini–Hochberg. Along the layers the p-values of means are adjusted by "
        f"Benjamini–Hochberg, differences from controls by Holm.\n\n"
        f"“Learned” is said of what exceeds the best control, chosen as the one with the largest "
        f"mean, which can only hurt the model. Controls: the input embedding of the word's last "
        f"token, the sum over its tokens, {RANDOM} of the same architecture, and the number of "
        f"tokens alone. Whitened cosines also fall with the number of directions in which states "
        f"vary; the share of new pairs in order does not.\n\n"
        f"{len(hygiene.skipped)} lines of the input were left out; see the word pairs.",
    )
