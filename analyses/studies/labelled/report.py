"""The report of a study on labelled texts: what was fitted, how well it tells, what follows."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from concept_ppl.analyses.designs.intervals import share_limits
from concept_ppl.analyses.studies.stages.claim_sections import written
from concept_ppl.analyses.studies.stages.state_analyses import StateAnalyses
from concept_ppl.analyses.studies.stages.state_report import (
    analysis_sections,
    key_figures,
    methods_section,
    verdict,
)
from concept_ppl.contexts.posterior_tables import concept_columns
from concept_ppl.reports import Report, Section, Table, Verdict

from .texts import LabelledTexts, words_of
from .words import LabelledWords

QUESTION = (
    "Is the state from which {model} predicts the next word an invertible affine function of the "
    "log-posterior of {labels}, and was it learned?"
)
LEVEL = 0.95
N_EXAMPLES = 8
N_TELLING = 8
NEARLY_ALL = 0.95
"""R² of the best control above which learning can hardly show."""


def labelled_report(
    model: str,
    answers: StateAnalyses,
    words: LabelledWords,
    test: LabelledTexts,
    posterior: pd.DataFrame,
    manifest: Mapping[str, Any],
) -> Report:
    """Compose the report; see :class:`concept_ppl.reports.Report`."""
    labels = " and ".join(words.labels)
    return Report(
        title=f"Labelled texts, {labels}: {model}",
        question=QUESTION.format(model=model, labels=labels),
        verdict=_verdict(answers),
        key_figures=key_figures(answers),
        sections=[
            *analysis_sections(answers),
            _model_section(words, test, posterior),
            _data_section(test, posterior),
        ],
        results=answers.tidy(),
        manifest=manifest,
        methods=methods_section(answers),
    )


def _verdict(answers: StateAnalyses) -> Verdict:
    """Answer, and say where these texts can hardly tell whether anything was learned."""
    answer = verdict(answers)
    assert answers.controls is not None
    best = answers.controls.best_share
    if best.ci_high < NEARLY_ALL:
        return answer
    remark = (
        f"A simple reader of the tokens tells R² {written(best)} of these log-odds, so that hardly "
        f"anything is left by which a state could show that it was learned: texts whose labels "
        f"bind words to each other would tell more."
    )
    return replace(answer, remark=f"{remark} {answer.remark}")


def label_scores(
    words: LabelledWords, test: LabelledTexts, posterior: pd.DataFrame
) -> pd.DataFrame:
    """Say how well the fitted model tells each label from the words of texts it never saw.

    Returns
    -------
    DataFrame
        One row a label: how often the most probable value is the label, with 95% limits, how often
        the commonest value is, and the mean −log p of the label, nats, under the posterior and
        under the prior.
    """
    rows = []
    for axis, (label, columns) in enumerate(concept_columns(posterior).items()):
        log_p = posterior[columns].to_numpy(np.float64)
        truth = test.labels[label]
        others = tuple(other for other in range(words.prior.ndim) if other != axis)
        prior = words.prior.sum(axis=others)
        rows.append(
            {
                "label": label,
                "values": len(columns),
                "accuracy": (right := float((log_p.argmax(axis=1) == truth).mean())),
                **dict(zip(("low", "high"), share_limits(right, len(truth), LEVEL), strict=True)),
                "commonest": float((truth == prior.argmax()).mean()),
                "loss": float(-log_p[np.arange(len(truth)), truth].mean()),
                "prior_loss": float(-np.log(prior[truth]).mean()),
            }
        )
    return pd.DataFrame(rows)


def _model_section(words: LabelledWords, test: LabelledTexts, posterior: pd.DataFrame) -> Section:
    known = set(words.words)
    tokens = [word for text in test.texts for word in words_of(text)]
    unseen = sum(word not in known for word in tokens) / len(tokens)
    shares = ", ".join(
        f"{share:.0%} from {label}" for label, share in zip(words.labels, words.shares, strict=True)
    )
    sources = f" The fit draws {shares}." if len(words.labels) > 1 else ""
    text = (
        f"Fitted to {words.n_training:,} texts that the analyses do not see: given its labels, "
        f"each word of a text comes from one of them, with a Dirichlet prior around the overall "
        f"frequencies of {len(words.words):,} words (concentration {words.concentration:g}, chosen "
        f"by folds inside that half).{sources} The posterior of the labels given the words is "
        f"exact under this model; {unseen:.1%} of the words of the other half were never seen and "
        f"count as unobserved. Intervals elsewhere on this page take the fitted model as given. "
        f"Given the labels the words are independent, so with one label the log-odds are a sum of "
        f"one number a word, and a bag of tokens is the control to beat."
    )
    scores = Table(
        "How well the fitted model tells the labels of texts it never saw",
        label_scores(words, test, posterior),
        formats={"values": "integer", "accuracy": ".3f", "low": ".3f", "high": ".3f"}
        | {"commonest": ".3f"}
        | {"loss": ".3f", "prior_loss": ".3f"},
        headings={
            "accuracy": "right",
            "low": "95% from",
            "high": "to",
            "commonest": "commonest right",
            "loss": "−log p",
            "prior_loss": "of the prior",
        },
        note="Right: how often the most probable value is the label, and how often the commonest "
        "is. −log p: of the label, nats, on average. A posterior that hardly beats its prior makes "
        "a poor regressor, whatever the states.",
    )
    telling = Table(
        "The words that tell most",
        _telling(words),
        note="Largest θ · log(θ / mean of θ over the values): how much a word tells, times how "
        "often it comes.",
    )
    return Section("The fitted model", text, tables=[scores, telling])


def _telling(words: LabelledWords) -> pd.DataFrame:
    rows = []
    for (label, values), table in zip(words.labels.items(), words.tables, strict=True):
        # Weighted by frequency, or a word that was seen once would lead.
        contrast = table * (np.log(table) - np.log(table.mean(axis=0)))
        for value, row in zip(values, contrast, strict=True):
            best = np.argsort(-row, kind="stable")[:N_TELLING]
            telling = ", ".join(words.words[index] for index in best)
            rows.append({"label": label, "value": value, "words": telling})
    return pd.DataFrame(rows)


def _data_section(test: LabelledTexts, posterior: pd.DataFrame) -> Section:
    examples: dict[str, Any] = {"text": list(test.texts[:N_EXAMPLES])}
    for label, columns in concept_columns(posterior).items():
        values = test.categories[label]
        log_p = posterior[columns].to_numpy(np.float64)[:N_EXAMPLES]
        examples[label] = [values[number] for number in test.labels[label][:N_EXAMPLES]]
        examples[f"p({label})"] = [
            f"{values[row.argmax()]} {np.exp(row.max()):.2f}" for row in log_p
        ]
    n_clusters = len(np.unique(test.clusters))
    text = (
        f"{len(test):,} texts in {n_clusters:,} groups; texts of a group are never split between "
        f"the halves or between folds, and intervals are robust to what they share. Where this "
        f"page speaks of distinct contexts, it means these groups."
    )
    table = Table(
        "The first texts with their most probable labels",
        pd.DataFrame(examples),
        note="p(…): the most probable value and its posterior probability.",
    )
    return Section("The texts", text, tables=[table])
