"""Sections of a report on a world and language models: what it can tell, rivals, ceiling, form."""

from collections.abc import Mapping, Sequence

import pandas as pd

from concept_ppl.analyses import ControlComparison, ControlFit, Estimate, WorldPower
from concept_ppl.analyses.studies.stages.claim_sections import columns_of, written
from concept_ppl.analyses.studies.stages.model_states import CEILING, is_rule
from concept_ppl.analyses.studies.stages.state_analyses import StateAnalyses
from concept_ppl.analyses.studies.stages.state_report import shortened
from concept_ppl.contexts.posterior_tables import concept_columns, value_of
from concept_ppl.reports import Figure, Section, Table, control_forest, number
from concept_ppl.reports.form_figures import power_forest

from .answers import CeilingAnswers, WorldAnswers
from .models import ModelAnswers, Vocabulary
from .plan import WorldStudy
from .texts import WorldTexts

N_EXAMPLES = 8
CEILING_NAME = "ceiling, Bayes's next word"
SOURCES = {
    "input embeddings": "the model's own input embeddings",
    "token identities": "indicators or random vectors of its tokens",
    "word identities": "indicators of the world's words, where there are few",
    "token evidence": "what each token says in the world itself, exactly",
    "pair evidence": "what each pair of neighbours says in the world itself, exactly",
}


def power_section(power: WorldPower) -> Section:
    """Return what the world can tell, before any model was read."""
    told = pd.DataFrame(
        [{"given": name, **columns_of(value)} for name, value in power.told],
    )
    tables = [
        Table(
            "Held-out R² of the exact log-odds, given",
            told,
            note="The posterior and the most probable value are functions of the log-odds, but no "
            "affine ones; the others are readers of the tokens.",
        )
    ]
    if power.planted:
        rows = [
            {
                "planted state": f"affine in the {one.kind}",
                "right side": one.side.estimate,
                "right form": one.form.estimate,
                "learned": one.learned.estimate,
                "learned log-posterior": one.false.estimate,
                "R² of the log-odds": one.share,
            }
            for one in power.planted
        ]
        tables.append(
            Table(
                f"What is said of {power.n_replicates} planted states of each form",
                pd.DataFrame(rows),
                formats=dict.fromkeys(list(rows[0])[1:], ".2f"),
                note="Shares of planted states. Right side: the interval of log minus plain lies "
                "on one side of 0. Right form: the verdict on the form is the true one; of the "
                "additive sum, that it is not called log-posterior. Learned: above the best "
                "control.",
            )
        )
    text = (
        f"{power.sentence} The log-odds spread by {power.spread:.2f} nats, "
        f"{100 * power.beyond:.0f}% of them lie beyond ±6 nats, and {power.entropy:.2f} nats of "
        f"entropy are left on average.\n\n"
        f"{told_apart(power)} Rates are counted on planted states of width {power.width} in the "
        f"contexts of this study: known forms of the posterior beside noise, asked what a model is "
        f"asked."
    )
    return Section("What this world can tell", text, tables=tables)


def told_briefly(power: WorldPower) -> str:
    """Say in a sentence what this world can tell, to be said first."""
    form, learned = power.can_tell_form, power.can_tell_learned
    if form is None:
        return ""
    if form and learned:
        return "This world can tell form and learning. "
    if form or learned:
        can, cannot = ("form", "learning") if form else ("learning", "form")
        return f"This world can tell {can}, but not {cannot}. "
    return "This world can tell neither form nor learning. "


def told_apart(power: WorldPower) -> str:
    """Say whether form and learning can be shown at all."""
    form, learned = power.can_tell_form, power.can_tell_learned
    if form is None:
        return "No state was planted, so what this world can tell was not asked."
    said = (
        "This world can tell the logarithm of the posterior from the posterior itself"
        if form
        else "This world cannot tell the logarithm of the posterior from the posterior itself, "
        "whatever a state shows"
    )
    simple = [value for name, value in power.told[2:] if not is_rule(name)]
    best = max(simple, key=lambda one: one.estimate, default=None)
    if best is None:
        return f"{said}."
    more = (
        f"and what is learned from what a simple reader of its tokens tells (R² {written(best)})"
        if learned
        else f"and a state of this signal would not exceed a simple reader of its tokens (R² "
        f"{written(best)}), so that “learned” cannot be shown by it"
    )
    return f"{said}, {more}."


def rivals_section(answers: WorldAnswers) -> Section:
    """Return each model, its best controls, the rules and the ceiling on one axis."""
    figures, tables = [], []
    for number_, (name, one) in enumerate(answers.models.items(), 1):
        figures.append(_rivals_figure(name, one.states, answers.ceiling, number_))
        tables.append(_controls_table(name, one.states))
    sources = "; ".join(f"{kind}: {what}" for kind, what in SOURCES.items())
    text = (
        "What can be read off a model's state, off what needs no learning, and off the best that a "
        "next-token predictor of this world could hold: held-out R² of linear maps, penalties and "
        "members of families tuned inside the training folds, all on the same rows. Readers of "
        "tokens are sums, means, the last tokens side by side, sums in which older tokens count "
        "less, sums weighted by position, and products of neighbours; they are made of several "
        f"kinds of vectors ({sources}). A look-up is what followed the last token earlier on: the "
        "rule that learning in context has to find, hard-wired. It is no control, but shows what "
        "the mechanism alone would tell."
    )
    return Section("Model, controls and ceiling", text, figures, tables)


def _rivals_figure(
    name: str, states: StateAnalyses, ceiling: CeilingAnswers | None, number_: int
) -> Figure:
    controls = states.controls
    assert controls is not None
    entries: list[tuple[str, Estimate]] = [("", controls.model)]
    if ceiling is not None:
        entries.append((CEILING_NAME, ceiling.fit.backward))
    entries += [(_label(one), one.share) for one in best_of_each_kind(controls)]
    if states.rules is not None:
        rules = [one for one in states.rules.controls if one.name != CEILING]
        rule = max(rules, key=lambda one: one.share.estimate)
        entries.append((f"rule: {_label(rule)}", rule.share))
    entries.append(("shuffled", controls.shuffled))
    levels = pd.DataFrame([{"control": label, **columns_of(value)} for label, value in entries])
    levels = pd.concat([levels[:1], levels[1:].sort_values("estimate", ascending=False)])
    gaps = [
        ("model − best control", controls.difference),
        ("best control + model − control", controls.increment),
    ]
    below = below_ceiling(states)
    if below is not None:
        gaps.append(("model − ceiling", below))
    differences = pd.DataFrame([{"quantity": label, **columns_of(v)} for label, v in gaps])
    return control_forest(
        levels,
        differences,
        labels={"": f"{name}, {states.headline}"},
        levels_title="Held-out R² of the log-odds",
        differences_title="Differences in R², paired",
        name=f"rivals-{number_}",
        caption=f"{name} at {states.headline} beside the ceiling, the best control of each kind, "
        f"the best hard-wired rule, and shuffled posteriors. Bars: "
        f"{100 * controls.model.ci_level:g}% intervals.",
    )


def below_ceiling(states: StateAnalyses) -> Estimate | None:
    """Return R² of the model minus that of the ceiling, paired."""
    rules = states.rules.controls if states.rules is not None else ()
    found = [one.difference for one in rules if one.name == CEILING]
    return found[0] if found else None


def best_of_each_kind(controls: ControlComparison) -> list[ControlFit]:
    """Return the control that tells most among those of each kind of vector."""
    kinds: dict[str, ControlFit] = {}
    for one in controls.controls:
        kind = one.name.partition(":")[0]
        if kind not in kinds or one.share.estimate > kinds[kind].share.estimate:
            kinds[kind] = one
    return list(kinds.values())


def _label(one: ControlFit) -> str:
    kind, _, family = one.name.partition(": ")
    return f"{family}, {kind}" if family else kind


def _controls_table(name: str, states: StateAnalyses) -> Table:
    assert states.controls is not None
    every = [*states.controls.controls, *(states.rules.controls if states.rules else ())]
    rows = [
        {
            "control": one.name,
            "member": one.members[0] if one.members else "",
            **columns_of(one.share),
            f"{name} − control": written(one.difference),
        }
        for one in sorted(every, key=lambda one: -one.share.estimate)
    ]
    return Table(f"Every control beside {name}", pd.DataFrame(rows))


def form_section(answers: WorldAnswers) -> Section:
    """Return the form of each model, of its controls and of the ceiling on one axis."""
    figures = [
        _form_figure(name, one.states, answers.ceiling, number_)
        for number_, (name, one) in enumerate(answers.models.items(), 1)
    ]
    said = " ".join(_form_said(name, one.states, answers) for name, one in answers.models.items())
    text = (
        f"Which power of the posterior is followed: α = 0 is its logarithm, as the theorem has it, "
        f"α = 1 the posterior itself. What needs no learning has a form too, since sums over "
        f"tokens are linear in log-likelihoods; so the form of a model says something of the "
        f"model where it differs from that of its best control. {said}"
    )
    return Section("The form of model, controls and ceiling", text, figures)


def _form_said(name: str, states: StateAnalyses, answers: WorldAnswers) -> str:
    form = states.form
    power = answers.power
    words = [f"{name}: α̂ is {written(form.alpha)}"]
    if answers.ceiling is not None:
        words.append(f"a perfect predictor would show {written(answers.ceiling.form.alpha)}")
    if form.gap is not None:
        words.append(
            f"its log minus plain is {written(form.difference)}, less that of the best control "
            f"({shortened(form.best)}) {written(form.gap)}"
        )
    verdict = form.verdict if power.can_tell_form is not False else "this world cannot tell"
    return "; ".join(words) + f". Verdict on the form: {verdict}."


def _form_figure(
    name: str, states: StateAnalyses, ceiling: CeilingAnswers | None, number_: int
) -> Figure:
    entries = [(name, states.form.alpha)]
    if ceiling is not None:
        entries.append((CEILING_NAME, ceiling.form.alpha))
    entries += [(one.name, one.alpha) for one in states.form.controls if one.share.ci_low > 0.0]
    rows = pd.DataFrame([{"control": label, **columns_of(value)} for label, value in entries])
    return power_forest(
        rows,
        [name],
        name=f"forms-{number_}",
        caption=f"Power α of the posterior that {name}, a perfect predictor and those of the best "
        f"controls that tell anything at all follow, with "
        f"{100 * states.form.alpha.ci_level:g}% bootstrap intervals.",
    )


def vocabulary_section(models: Mapping[str, ModelAnswers]) -> Section:
    """Return the diversity condition of each model's unembedding."""
    rows = [_vocabulary_row(name, one.vocabulary) for name, one in models.items()]
    text = (
        "The claim is proved where differences of token vectors span the space of the states (the "
        "diversity condition). Of all tokens they do or do not; of the world's own words, which "
        "alone tell its concepts apart, they span at most as many directions as there are words. "
        "The participation ratio says in how many directions the token vectors spread."
    )
    return Section(
        "Is the vocabulary diverse", text, tables=[Table("Unembedding", pd.DataFrame(rows))]
    )


def _vocabulary_row(name: str, found: Vocabulary) -> dict[str, object]:
    own = found.own
    return {
        "model": name,
        "rank, all tokens": f"{found.whole.rank} of {len(found.whole.basis)}",
        "condition number": number(found.whole.condition_number, 1),
        "participation ratio": number(found.participation, 1),
        "rank, the world's tokens": "–" if own is None else f"{own.rank} of {len(own.basis)}",
        "their condition number": "–" if own is None else number(own.condition_number, 1),
    }


def world_section(study: WorldStudy, texts: WorldTexts) -> Section:
    """Return what the world is, with examples."""
    lengths = texts.contexts.lengths
    read = {"last": "at its last token", "all": "at every token"}.get(
        study.read, f"at every token “{study.read}”"
    )
    if study.read != "last" and study.first > 1:
        read += f" from position {study.first} on"
    parameters = ", ".join(f"{key}={value}" for key, value in study.parameters.items())
    about = (texts.model.__doc__ or "").strip().partition("\n")[0]
    text = (
        f"World {study.world}{f' ({parameters})' if parameters else ''}. {about} "
        f"{len(lengths):,} contexts of {lengths.min()} to {lengths.max()} tokens were drawn; the "
        f"state is read {read}, {len(texts.posterior):,} rows in all. A distinct context is one "
        f"unit: its rows are a cluster."
    )
    columns = [c for names in concept_columns(texts.posterior).values() for c in names]
    shown = texts.posterior[columns].head(N_EXAMPLES)
    shown = shown.set_axis([value_of(c) for c in columns], axis=1)
    of_row = texts.rows.context[:N_EXAMPLES]
    table = Table(
        "The first rows with their exact posteriors",
        pd.concat([texts.frame["text"].iloc[of_row].reset_index(drop=True), shown], axis=1),
        formats={value_of(c): ".2f" for c in columns},
        note="Columns of values: log p(value | context) in nats.",
    )
    return Section("The world", text.replace("  ", " "), tables=[table])


def claim_section() -> Section:
    """Return which claim is tested."""
    return Section(
        "Which claim",
        "The fourth version of the paper (arXiv 2503.08980, February 2026) says that "
        "representations are the log-posterior “up to a linear transformation”, the abstract at "
        "ICLR says an “invertible linear transformation”. The first is asked by R² of the log-odds "
        "given the state, the second by the smallest squared canonical correlation as well; both "
        "are given, each with its interval.",
    )


def every_row(answers: WorldAnswers, models: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the results of the world, of the ceiling and of the models as one table."""
    frames = [answers.power.tidy()]
    if answers.ceiling is not None:
        frames.append(answers.ceiling.tidy())
    return pd.concat([*frames, *models], ignore_index=True)
