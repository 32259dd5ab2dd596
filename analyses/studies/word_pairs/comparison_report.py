"""What a counterfactual report says of two models on the same pairs: verdict, strip and section."""

from collections.abc import Mapping

from concept_ppl.analyses.studies.stages.claim_sections import written
from concept_ppl.analyses.studies.stages.side_by_side import (
    agreement_table,
    two_depths,
    two_models_forest,
)
from concept_ppl.analyses.studies.stages.state_report import key_figure, weaker
from concept_ppl.reports import Figure, KeyFigure, Section, Table, Verdict, p_value

from .answers import PairAnswers
from .comparison import ModelComparison
from .plan import HEADLINE
from .sections import shown
from .verdicts import best_layer, pair_verdict, published_sentence

Answers = Mapping[str, PairAnswers]
"""The answers on each model by its name."""


def joint_pair_verdict(answers: Answers, comparison: ModelComparison) -> Verdict:
    """Answer for each model, then say which has the larger cosines."""
    first, second = (pair_verdict(own, name) for name, own in answers.items())
    remarks = [compared_pairs(comparison)]
    remarks.append(" ".join(best_layer(own, name) for name, own in answers.items()))
    remarks.append(" ".join(published_sentence(own, name) for name, own in answers.items()))
    tone = weaker(first.tone, second.tone)
    return Verdict(f"{first.sentence} {second.sentence}", tone, "\n\n".join(remarks))


def compared_pairs(comparison: ModelComparison) -> str:
    """Say how the two models differ on the same pairs and splits."""
    difference = comparison.difference
    return (
        f"On the same pairs and splits the mean cosine of {difference.first} differs from that of "
        f"{difference.second} by {written(difference.mean)} "
        f"({p_value(difference.mean.p_value, symbol=True)}), and the share of new pairs in order "
        f"by {written(difference.mean_order)} "
        f"({p_value(difference.mean_order.p_value, symbol=True)}). A cosine also falls with the "
        f"number of directions in which states vary, so compare each with its own controls."
    )


def joint_pair_key_figures(answers: Answers, comparison: ModelComparison) -> list[KeyFigure]:
    """Return the strip: both mean cosines, and the paired differences."""
    difference = comparison.difference
    note = f"{difference.first} − {difference.second}, paired"
    cosines = [
        key_figure(f"Cosine, {name}", own.headline.mean_diagonal, "new pairs, mean diagonal")
        for name, own in answers.items()
    ]
    return [
        *cosines,
        key_figure("Difference in cosine", difference.mean, note),
        key_figure("In pairs in order", difference.mean_order, note),
    ]


def pair_comparison_section(answers: Answers, comparison: ModelComparison) -> Section:
    """Return which model has the larger cosines, of which concepts, and what they share."""
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
    text = (
        f"{compared_pairs(comparison)}\n\n"
        f"How far are the states of the words one affine image of each other? Between the leading "
        f"principal components of both, held out by sets of linked words: R²({second}|{first}) is "
        f"{written(agreement.forward)} and R²({first}|{second}) {written(agreement.backward)}; "
        f"their shared directions have a mean squared correlation of {written(agreement.mean)}."
    )
    return Section(
        "Two models side by side",
        text,
        [_forest(answers, comparison), _depth(answers)],
        [table, agreement_table("The affine map between their states", agreement)],
    )


def _forest(answers: Answers, comparison: ModelComparison) -> Figure:
    difference = comparison.difference
    levels = []
    for name, own in answers.items():
        best = own.matrices[own.best_control, HEADLINE].mean_diagonal
        levels += [(name, own.headline.mean_diagonal), (f"{name}: {own.best_control}", best)]
    own_gains = [
        (f"{name} − {own.best_control}", own.differences[own.best_control].mean)
        for name, own in answers.items()
    ]
    differences = [(f"{difference.first} − {difference.second}", difference.mean), *own_gains]
    titles = ("Mean cosine with new pairs", "Paired differences in mean cosine")
    return two_models_forest(levels, differences, titles, layer=difference.layer)


def _depth(answers: Answers) -> Figure:
    curves = {}
    for name, own in answers.items():
        rows = own.curve_table()
        curves[name] = rows[rows["control"] == ""]
    quantities = {
        "mean_diagonal": "Mean cosine with new pairs",
        "mean_order": "New pairs in order",
    }
    return two_depths(curves, quantities)
