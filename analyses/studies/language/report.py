"""The report of a language study: what was asked, what came out, beside every control."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from concept_ppl.analyses.studies.stages.comparison_report import (
    joint_key_figures,
    joint_sections,
    joint_verdict,
)
from concept_ppl.analyses.studies.stages.side_by_side import results_of
from concept_ppl.analyses.studies.stages.state_analyses import StateAnalyses
from concept_ppl.analyses.studies.stages.state_comparison import StateComparison
from concept_ppl.analyses.studies.stages.state_report import (
    analysis_sections,
    key_figures,
    methods_section,
    verdict,
)
from concept_ppl.contexts.posterior_tables import concept_columns, value_of
from concept_ppl.reports import Report, Section, Table

QUESTION = (
    "Is the state from which {model} predicts the next word an invertible affine function of the "
    "log-posterior of the language, and was it learned?"
)
QUESTION_OF_TWO = (
    "Are the states from which {model} predict the next word invertible affine functions of the "
    "log-posterior of the language, were they learned, and which tells more?"
)
WORLD_TEXT = {
    "fixed": (
        "Each context is {shortest} to {longest} words of one language, drawn from its real "
        "unigram frequencies. Given the language the words are independent, so the log-odds of the "
        "language are a sum of one number per word, and a sum of word embeddings can be linear in "
        "them without any learning: in this world the bag of tokens is the control to beat."
    ),
    "switching": (
        "Each context is {shortest} to {longest} tokens: words whose language may change at every "
        "step, and a closing comma, the same under every language, at which the state is read. "
        "Older words count less, so the log-odds of the language at the comma are not a sum over "
        "words, and the last token itself tells nothing."
    ),
}
N_EXAMPLES = 8


def language_report(
    world: str,
    answers: Mapping[str, StateAnalyses],
    comparison: StateComparison | None,
    contexts: pd.DataFrame,
    posterior: pd.DataFrame,
    manifest: Mapping[str, Any],
) -> Report:
    """Compose the report on one model, or on two side by side.

    Parameters
    ----------
    world
        Key of `WORLD_TEXT`.
    answers
        The analyses of each model by its name.
    comparison
        Of the two; None where there is one.
    contexts, posterior, manifest
        What the world drew, its exact posterior, and how it came about.
    """
    model = " and ".join(answers)
    first = next(iter(answers.values()))
    if comparison is None:
        question, answer, strip = QUESTION, verdict(first), key_figures(first)
        sections, results = analysis_sections(first), first.tidy()
    else:
        question, answer = QUESTION_OF_TWO, joint_verdict(answers, comparison)
        strip = joint_key_figures(comparison)
        sections = joint_sections(answers, comparison)
        own = [results_of(one.tidy(), name) for name, one in answers.items()]
        results = pd.concat([comparison.tidy(), *own], ignore_index=True)
    return Report(
        title=f"Language study, {world} world: {model}",
        question=question.format(model=model),
        verdict=answer,
        key_figures=strip,
        sections=[*sections, _data_section(world, contexts, posterior)],
        results=results,
        manifest=manifest,
        methods=methods_section(first),
    )


def _data_section(world: str, contexts: pd.DataFrame, posterior: pd.DataFrame) -> Section:
    lengths = contexts["x"].map(len)
    text = WORLD_TEXT[world].format(shortest=lengths.min(), longest=lengths.max())
    columns = concept_columns(posterior)["language"]
    examples = posterior[columns].head(N_EXAMPLES).set_axis([value_of(c) for c in columns], axis=1)
    entropy = posterior["entropy"].head(N_EXAMPLES)
    table = Table(
        "The first contexts with their exact posteriors",
        pd.concat([contexts["text"].head(N_EXAMPLES), examples, entropy], axis=1),
        formats={value_of(c): ".2f" for c in columns} | {"entropy": ".3f"},
        note="Columns of languages: log p(language | context); entropy: in nats.",
    )
    return Section("The world", text, tables=[table])
