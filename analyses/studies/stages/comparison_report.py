"""What a report says of two models' states of the same contexts: verdict, strip and section."""

from collections.abc import Mapping

from concept_ppl.analyses import Estimate
from concept_ppl.reports import Figure, KeyFigure, Section, Table, Verdict, p_value

from .claim_sections import written
from .side_by_side import agreement_table, sections_of, two_depths, two_models_forest
from .state_analyses import StateAnalyses
from .state_comparison import StateComparison
from .state_report import LEARNED, analysis_sections, best_names, key_figure, verdict, weaker

Answers = Mapping[str, StateAnalyses]
"""The analyses of each model by its name."""


def joint_verdict(answers: Answers, comparison: StateComparison) -> Verdict:
    """Answer for each model, then say which tells more."""
    first, second = (verdict(own, name) for name, own in answers.items())
    return Verdict(
        f"{first.sentence} {second.sentence}",
        weaker(first.tone, second.tone),
        f"{compared(comparison)}\n\n{first.remark} {second.remark} {LEARNED}",
    )


def compared(comparison: StateComparison) -> str:
    """Say which model tells more of the log-odds, or that it cannot be told."""
    difference = comparison.difference
    first, second = difference.models
    relation = "cannot be told apart from"
    if difference.r2.ci_low > 0:
        relation = "tells more than"
    elif difference.r2.ci_high < 0:
        relation = "tells less than"
    return (
        f"On the same contexts and folds, {first} {relation} {second}: R² of the log-odds "
        f"differs by {written(difference.r2)} ({_tested(difference.r2)}), the smallest squared "
        f"canonical correlation by {written(difference.smallest)} ({_tested(difference.smallest)})."
    )


def _tested(value: Estimate) -> str:
    return p_value(value.p_value, symbol=True)


def joint_key_figures(comparison: StateComparison) -> list[KeyFigure]:
    """Return the strip: both R², and the paired differences."""
    difference = comparison.difference
    first, second = difference.models
    note = f"{first} − {second}, paired"
    return [
        key_figure(f"R², {first}", difference.shares[0], "of the log-odds, held out"),
        key_figure(f"R², {second}", difference.shares[1], "of the log-odds, held out"),
        key_figure("Difference in R²", difference.r2, note),
        key_figure("In smallest ρ²", difference.smallest, note),
    ]


def joint_sections(answers: Answers, comparison: StateComparison) -> list[Section]:
    """Return the comparison, then each model's own sections under its name."""
    own = [
        section
        for number, (name, one) in enumerate(answers.items(), 1)
        for section in sections_of(analysis_sections(one), name, number)
    ]
    return [comparison_section(answers, comparison), *own]


def comparison_section(answers: Answers, comparison: StateComparison) -> Section:
    """Return which model tells more, along which contrasts and depth, and what they share."""
    difference = comparison.difference
    first, second = difference.models
    said = comparison.decoded
    text = (
        f"{compared(comparison)} Added to {second}, {first} raises R² by "
        f"{written(difference.increments[0])}; added to {first}, {second} raises it by "
        f"{written(difference.increments[1])}: what each knows that the other does not. Each model "
        f"has its own tokens and its own best control, so more does not yet mean more learned; the "
        f"figure shows both.\n\n"
        f"Are the models one affine image of each other? Of their whole states, leading principal "
        f"components, held out: R²({second}|{first}) is {written(comparison.states.forward)} and "
        f"R²({first}|{second}) {written(comparison.states.backward)}. Of the log-odds alone, as "
        f"decoded from held-out states of each, right or wrong: {written(said.forward)} and "
        f"{written(said.backward)}, with a mean squared canonical correlation of "
        f"{written(said.mean)}. Two models that both held the log-posterior would agree on it, "
        f"whatever else they hold."
    )
    return Section(
        "Two models side by side",
        text,
        [_forest(answers, comparison), _depth(answers)],
        [
            _contrast_table(comparison),
            agreement_table("The affine map between their states", comparison.states),
            agreement_table("The same between the log-odds decoded from them", said),
        ],
    )


def _forest(answers: Answers, comparison: StateComparison) -> Figure:
    difference = comparison.difference
    first, second = difference.models
    levels = []
    for name, share in zip(difference.models, difference.shares, strict=True):
        controls = answers[name].controls
        assert controls is not None
        levels += [(name, share), (f"{name}: {best_names(answers[name])}", controls.best_share)]
    differences = [
        (f"R², {first} − {second}", difference.r2),
        (f"smallest ρ², {first} − {second}", difference.smallest),
        (f"mean ρ², {first} − {second}", difference.mean),
        (f"{first} added to {second}", difference.increments[0]),
        (f"{second} added to {first}", difference.increments[1]),
    ]
    titles = ("Held-out R² of the log-odds", "Differences, paired, and increments in R²")
    return two_models_forest(levels, differences, titles, layer=difference.layer)


def _depth(answers: Answers) -> Figure:
    quantities = {
        "rho2_smallest": "Smallest ρ² (held out)",
        "r2_backward": "R² of the log-odds (held out)",
    }
    return two_depths({name: own.curve.tidy() for name, own in answers.items()}, quantities)


def _contrast_table(comparison: StateComparison) -> Table:
    difference = comparison.difference
    frame = difference.tidy_contrasts().assign(
        contrast=[name for name, _ in difference.per_contrast]
    )
    return Table(
        f"{difference.models[0]} minus {difference.models[1]}, contrast by contrast",
        frame[["contrast", "estimate", "ci_low", "ci_high", "p_value"]],
        headings={"estimate": "difference in R²"},
        note="Paired: the same contexts, the same folds. p adjusted by Holm over the contrasts.",
    )
