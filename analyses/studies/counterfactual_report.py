"""The report of a counterfactual study: what was asked, what came out, beside every control."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from concept_ppl.reports import KeyFigure, Report, Section, Table, Tone, Verdict, interval, p_value

from .claim_sections import written
from .counterfactual_sections import (
    controls_section,
    identity_section,
    layers_section,
    matrix_section,
    published_section,
    shown,
    tokens_section,
)
from .pair_analyses import (
    BAG_OF_TOKENS,
    HEADLINE,
    HEADLINE_SITE,
    MODEL,
    RANDOM,
    TABLE,
    PairAnswers,
)
from .pair_comparison import ModelComparison
from .pair_hygiene import PairHygiene
from .pair_states import ModelWords
from .side_by_side import agreement_table, results_of, sections_of
from .state_report import OPENINGS

QUESTION = (
    "Do the states of {models} change alike for word pairs that differ alike, and was it learned?"
)


def counterfactual_report(
    models: Sequence[ModelWords],
    answers: Mapping[str, PairAnswers],
    hygiene: PairHygiene,
    comparison: ModelComparison | None,
    manifest: Mapping[str, Any],
) -> Report:
    """Compose the report; see :class:`concept_ppl.reports.Report`."""
    names = " and ".join(model.name for model in models)
    first = answers[models[0].name]
    sections = [] if comparison is None else [_comparison_section(comparison)]
    frames = [] if comparison is None else [comparison.tidy()]
    for number, model in enumerate(models, 1):
        own = answers[model.name]
        shown_sections, table = _model_sections(model, own), own.tidy()
        if len(models) > 1:
            shown_sections = sections_of(shown_sections, model.name, number)
            table = results_of(table, model.name)
        sections += shown_sections
        frames.append(table)
    return Report(
        title=f"Counterfactual study: {names}",
        question=QUESTION.format(models=names),
        verdict=_verdict(answers),
        key_figures=_key_figures(first),
        sections=[*sections, _pairs_section(hygiene)],
        results=pd.concat(frames, ignore_index=True),
        manifest=manifest,
        methods=_methods(first, hygiene),
    )


def _model_sections(model: ModelWords, own: PairAnswers) -> list[Section]:
    return [
        matrix_section(own),
        published_section(own),
        controls_section(own),
        layers_section(own),
        identity_section(own),
        tokens_section(model, own),
    ]


def _verdict(answers: Mapping[str, PairAnswers]) -> Verdict:
    name, own = next(iter(answers.items()))
    difference = own.differences[own.best_control].mean
    tone: Tone = "undecided"
    relation = "cannot be told apart from"
    if difference.ci_low > 0:
        tone, relation = "supported", "is more than"
    elif difference.ci_high < 0:
        tone, relation = "not supported", "is less than"
    best = own.matrices[own.best_control, HEADLINE].mean_diagonal
    subject = f"{name}'s weights" if len(answers) > 1 else "weights"
    sentence = (
        f"{OPENINGS[tone]}: at {HEADLINE_SITE}, {subject} learned from half of the words have a "
        f"mean cosine of {written(own.headline.mean_diagonal)} with the differences of new pairs, "
        f"which {relation} that of the best control, {own.best_control}, {written(best)} "
        f"(difference {written(difference)})."
    )
    return Verdict(sentence, tone, f"{_best_layer(own)}\n\n{_published(own)}")


def _best_layer(own: PairAnswers) -> str:
    table = own.layer_difference_table()
    rival = max(
        (TABLE, BAG_OF_TOKENS),
        key=lambda control: own.matrices[control, HEADLINE].mean_diagonal.estimate,
    )
    rows = table[table["control"] == rival]
    row = rows.sort_values("estimate").to_dict("records")[-1]
    low, high = float(row["ci_low"]), float(row["ci_high"])
    return (
        f"Along the layers the largest difference from the {rival} is that of {row['layer']}: "
        f"{interval(float(row['estimate']), low, high)}, "
        f"{p_value(float(row['p_value']), symbol=True)} adjusted over the layers. This layer was "
        "picked after the fact; the verdict speaks of the one that was named before."
    )


def _published(own: PairAnswers) -> str:
    numbers = "; ".join(
        f"{name} {product.mean:.3f}" for name, product in own.published.products.items()
    )
    return (
        f"The product of weights and offsets as it is published, in sample, has mean diagonals of: "
        f"{numbers}. It is near 1 whatever the states are, and says nothing."
    )


def _key_figures(own: PairAnswers) -> list[KeyFigure]:
    mean = own.headline.mean_diagonal
    difference = own.differences[own.best_control].mean
    strip = [
        KeyFigure("Cosine, new pairs", mean.estimate, mean.ci_low, mean.ci_high, "mean diagonal"),
        KeyFigure(
            "Minus best control",
            difference.estimate,
            difference.ci_low,
            difference.ci_high,
            "paired difference",
        ),
    ]
    order = own.headline.mean_order
    strip.append(
        KeyFigure("New pairs in order", order.estimate, order.ci_low, order.ci_high, "chance is .5")
    )
    inverse = own.inverses.get((MODEL, HEADLINE_SITE))
    if inverse is not None:
        far = inverse.distance
        strip.append(
            KeyFigure(
                "Distance from I",
                far.estimate,
                far.ci_low,
                far.ci_high,
                f"{len(inverse.names)} concepts of {len(own.headline.names)}",
            )
        )
    return strip


def _comparison_section(comparison: ModelComparison) -> Section:
    difference, agreement = comparison.difference, comparison.agreement
    first, second = difference.first, difference.second
    rows = difference.tidy()
    concepts = rows[rows["quantity"] == "cosine_diagonal"].assign(
        concept=[shown(name) for name in difference.names]
    )
    table = Table(
        f"{first} minus {second}, concept by concept",
        concepts[["concept", "estimate", "ci_low", "ci_high", "p_value"]],
        headings={"estimate": "difference in cosine"},
        note="Paired: the same words, the same splits. p adjusted by Holm over the concepts.",
    )
    return Section(
        "Two models side by side",
        f"On the same pairs and splits the mean cosine of {first} differs from that of {second} by "
        f"{written(difference.mean)}, and the share of new pairs in order by "
        f"{written(difference.mean_order)}.\n\n"
        f"How far are the states of the words one affine image of each other? Between the leading "
        f"principal components of both, held out by sets of linked words: R²({second}|{first}) is "
        f"{written(agreement.forward)} and R²({first}|{second}) {written(agreement.backward)}; "
        f"their shared directions have a mean squared correlation of {written(agreement.mean)}.",
        tables=[table, agreement_table("The affine map between their states", agreement)],
    )


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
