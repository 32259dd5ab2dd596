"""Do a language model's states change alike for word pairs that differ alike, and was it learned?

Pairs of words that differ in one concept are read word by word. Weights are fitted to half of the
words, and held against the differences of pairs that share none of them, beside the input embedding
table, an untrained network and the number of tokens.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from concept_ppl.analyses.designs.arrays import check_level
from concept_ppl.analyses.pairs.counterfactual_matrices import FEWEST_FLIPS
from concept_ppl.analyses.studies.stages.announcements import Stage
from concept_ppl.analyses.studies.stages.side_by_side import (
    check_language_models,
    names_on_page,
    provenance_of,
)
from concept_ppl.analyses.studies.stages.state_report import REPORT_FILES
from concept_ppl.contexts.counterfactual_pairs import PairLists, SkippedPair, read_pairs
from concept_ppl.errors import InputError
from concept_ppl.outputs import require_writable
from concept_ppl.reports import build_manifest, write_report

from .answers import PairAnswers, Settings, analyse_pairs
from .comparison import compare_models
from .hygiene import examine_pairs
from .plan import CounterfactualStudy
from .report import counterfactual_report
from .states import ModelWords, read_model


def run_counterfactual_study(
    study: CounterfactualStudy,
    folder: str | Path,
    *,
    command: Sequence[str],
    stage: Stage,
    force: bool = False,
) -> Path:
    """Run the study and write its report; return the path of the page.

    Raises
    ------
    InputError, LanguageModelError
        If an argument, the pairs, a language model or the folder is not usable; all are looked
        at before any work.
    """
    check_level(study.level)
    if study.n_flips < FEWEST_FLIPS:
        raise InputError(f"n_flips is {study.n_flips}; give {FEWEST_FLIPS} or more.")
    require_writable(folder, force=force, known_by=REPORT_FILES)
    lists = read_pairs(study.pairs)
    check_language_models(study.language_models, stage)
    models = [
        read_model(
            source,
            lists.words,
            name=name,
            n_blocks=study.n_blocks,
            seed=study.seed,
            device=study.device,
            stage=stage,
        )
        for name, source in names_on_page(study.language_models).items()
    ]
    lists, models = readable(lists, models)
    hygiene = examine_pairs(lists, models[0].tokens, study.level)
    pairs = hygiene.pairs
    rows = {word: row for row, word in enumerate(lists.words)}
    kept = np.array([rows[word] for word in pairs.words])
    models = [model.take(kept) for model in models]
    settings = Settings(study.n_splits, study.n_flips, study.seed, study.level)
    answers: dict[str, PairAnswers] = {}
    comparison = None
    # Thousands of small factorisations: beside another process, two threads wait for each other.
    with threadpool_limits(1, user_api="blas"):
        for model in models:
            with stage(f"analyse {model.name}") as progress:
                answers[model.name] = analyse_pairs(model, pairs, settings, progress)
        if len(models) == 2:
            with stage("compare the two models"):
                comparison = compare_models(models, answers, pairs, settings)
    manifest = build_manifest(
        command=list(command),
        arguments=asdict(study),
        seeds={"splits": study.seed, "flips": study.seed, "random weights": study.seed},
        inputs={"pairs": Path(study.pairs)},
        language_model=provenance_of(models),
    )
    with stage("write the report"):
        report = counterfactual_report(models, answers, hygiene, comparison, manifest)
        return write_report(report, folder, force=force)


def readable(lists: PairLists, models: Sequence[ModelWords]) -> tuple[PairLists, list[ModelWords]]:
    """Leave out the pairs of which a model cannot read a word, and list them as skipped."""
    skipped = {
        word: f"{model.name}: {reason}"
        for model in models
        for word, reason in model.skipped.items()
    }
    if not skipped:
        return lists, list(models)
    ends = [
        (lists.words[a], lists.words[b]) for a, b in zip(lists.first, lists.second, strict=True)
    ]
    faults = [skipped.get(a) or skipped.get(b) or "" for a, b in ends]
    lines = [
        SkippedPair(lists.concepts[code], 0, " / ".join(pair), fault)
        for code, pair, fault in zip(lists.concept, ends, faults, strict=True)
        if fault
    ]
    chosen = np.array([not fault for fault in faults])
    if not chosen.any():
        raise InputError(f"No pair has two words that can be read; the first: {lines[0].reason}.")
    kept = lists.take(chosen)
    places = {word: row for row, word in enumerate(lists.words)}
    rows = np.array([places[word] for word in kept.words])
    known = PairLists(
        kept.concepts,
        kept.words,
        kept.concept,
        kept.first,
        kept.second,
        (*kept.skipped, *lines),
    )
    return known, [model.take(rows) for model in models]
