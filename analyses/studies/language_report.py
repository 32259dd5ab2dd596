"""The report of a language study: what was asked, what came out, beside every control."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from concept_ppl.posterior_tables import concept_columns, value_of
from concept_ppl.reports import Report, Section, Table

from .state_analyses import StateAnalyses
from .state_report import analysis_sections, key_figures, methods_section, verdict

QUESTION = (
    "Is the state from which {model} predicts the next word an invertible affine function of the "
    "log-posterior of the language, and was it learned?"
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
    model: str,
    answers: StateAnalyses,
    contexts: pd.DataFrame,
    posterior: pd.DataFrame,
    manifest: Mapping[str, Any],
) -> Report:
    """Compose the report; see :class:`concept_ppl.reports.Report`."""
    return Report(
        title=f"Language study, {world} world: {model}",
        question=QUESTION.format(model=model),
        verdict=verdict(answers),
        key_figures=key_figures(answers),
        sections=[*analysis_sections(answers), _data_section(world, contexts, posterior)],
        results=answers.tidy(),
        manifest=manifest,
        methods=methods_section(answers),
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
