"""The report of a world study: can it tell, what it says, beside controls and ceiling."""

from collections.abc import Mapping
from typing import Any

from concept_ppl.analyses.studies.stages.claim_sections import written
from concept_ppl.analyses.studies.stages.comparison_report import compared, comparison_section
from concept_ppl.analyses.studies.stages.side_by_side import results_of, sections_of
from concept_ppl.analyses.studies.stages.state_comparison import StateComparison
from concept_ppl.analyses.studies.stages.state_report import (
    claim_sections,
    key_figure,
    methods_section,
    shortened,
    verdict,
    weaker,
)
from concept_ppl.reports import KeyFigure, Report, Section, Tone, Verdict

from .answers import CeilingAnswers, WorldAnswers
from .own_section import believed, own_section
from .plan import WorldStudy
from .sections import (
    below_ceiling,
    claim_section,
    every_row,
    form_section,
    power_section,
    rivals_section,
    told_apart,
    told_briefly,
    vocabulary_section,
    world_section,
)
from .texts import WorldTexts

QUESTION = (
    "Is the state from which {models} {predict} the next word an invertible affine function of the "
    "log-posterior of {concepts}, and was it learned?"
)


def world_report(
    study: WorldStudy,
    texts: WorldTexts,
    answers: WorldAnswers,
    comparison: StateComparison | None,
    manifest: Mapping[str, Any],
) -> Report:
    """Compose the report on a world and one model or several."""
    models = " and ".join(answers.models)
    several = len(answers.models) > 1
    own = [
        results_of(one.tidy(), name) if several else one.tidy()
        for name, one in answers.models.items()
    ]
    if comparison is not None:
        own.insert(0, comparison.tidy())
    return Report(
        title=f"World {study.world}: {models}",
        question=QUESTION.format(
            models=models,
            predict="predict" if several else "predicts",
            concepts=" and ".join(texts.concepts),
        ),
        verdict=_verdict(answers, comparison),
        key_figures=_strip(answers),
        sections=[*_sections(answers, comparison), world_section(study, texts), claim_section()],
        results=every_row(answers, own),
        manifest=manifest,
        methods=methods_section(next(iter(answers.states.values()))),
    )


def _sections(answers: WorldAnswers, comparison: StateComparison | None) -> list[Section]:
    shared = [rivals_section(answers), form_section(answers), power_section(answers.power)]
    if comparison is not None:
        shared.append(comparison_section(answers.states, comparison))
    own = [
        section
        for number, (name, one) in enumerate(answers.states.items(), 1)
        for section in (
            sections_of(claim_sections(one), name, number)
            if len(answers.models) > 1
            else claim_sections(one)
        )
    ]
    return [*shared, *own, own_section(answers.models), vocabulary_section(answers.models)]


def _verdict(answers: WorldAnswers, comparison: StateComparison | None) -> Verdict:
    """Say what the world can tell, then of each model: affine, more than controls, ceiling."""
    several = len(answers.models) > 1
    parts = [verdict(one, name if several else "") for name, one in answers.states.items()]
    tone: Tone = parts[0].tone
    for part in parts[1:]:
        tone = weaker(tone, part.tone)
    sentences = [part.sentence for part in parts]
    beliefs = [believed(name, one.own) for name, one in answers.models.items()]
    forms = [_form(name, answers) for name in answers.models]
    remarks = [told_apart(answers.power), *beliefs, *forms, *(part.remark for part in parts)]
    if comparison is not None:
        remarks.append(compared(comparison))
    sentences[0] = told_briefly(answers.power) + sentences[0]
    return Verdict(" ".join(sentences), tone, "\n\n".join(remark for remark in remarks if remark))


def _form(name: str, answers: WorldAnswers) -> str:
    """Say how the form came out, how far it is from the ceiling, and what the ceiling reaches."""
    form, ceiling = answers.models[name].states.form, answers.ceiling
    found = "this world cannot tell" if answers.power.can_tell_form is False else form.verdict
    words = f"Form of {name}: {found} (α̂ {written(form.alpha)}, 0 is the logarithm)."
    if ceiling is not None:
        words += (
            f" A perfect predictor of this world would show α {written(ceiling.form.alpha)}, R² "
            f"{written(ceiling.fit.backward)} and {_least_kept(ceiling)}."
        )
        below = below_ceiling(answers.models[name].states)
        if below is not None:
            words += f" In R² of the log-odds {name} stands {written(below)} from it."
    return words


def _least_kept(ceiling: CeilingAnswers) -> str:
    """Say which direction of the log-odds a perfect predictor keeps worst, or that it loses one."""
    if ceiling.correlations is not None:
        return f"a smallest ρ² of {written(ceiling.correlations.smallest)}"
    n = ceiling.states.shape[1]
    return (
        f"no map that can be inverted: what it says of the next word has {n} "
        f"{'direction' if n == 1 else 'directions'}, fewer than the log-odds"
    )


def _strip(answers: WorldAnswers) -> list[KeyFigure]:
    strip = []
    for name, one in answers.states.items():
        fit, controls = one.fits["log_odds"].backward, one.controls
        assert controls is not None
        ahead = f"{name}: " if len(answers.models) > 1 else ""
        strip += [
            key_figure(f"{ahead}R² of the log-odds", fit, f"from {one.headline}, held out"),
            key_figure(
                f"{ahead}Model − best control",
                controls.difference,
                shortened(controls.best),
            ),
        ]
        if len(answers.models) == 1:
            strip.append(
                key_figure(
                    "Smallest ρ²", one.correlations["log_odds"].smallest, "1 would mean invertible"
                )
            )
    if answers.ceiling is not None:
        strip.append(
            key_figure("R² of the ceiling", answers.ceiling.fit.backward, "a perfect predictor's")
        )
    return strip
