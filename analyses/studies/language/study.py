"""Does a language model know which language it reads, as a linear image of the exact log-posterior?

Words are drawn from the real unigram frequencies of several languages; a Pyro program says so, and
gives the exact posterior of the language for each context. A language model reads the same words.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from concept_ppl.analyses.designs.arrays import check_level
from concept_ppl.analyses.studies.stages.announcements import Stage
from concept_ppl.analyses.studies.stages.model_states import read_model_states
from concept_ppl.analyses.studies.stages.side_by_side import (
    check_language_models,
    names_on_page,
    provenance_of,
)
from concept_ppl.analyses.studies.stages.state_analyses import Design
from concept_ppl.analyses.studies.stages.state_comparison import compare_states
from concept_ppl.analyses.studies.stages.state_report import REPORT_FILES
from concept_ppl.contexts.tokens import as_contexts
from concept_ppl.errors import InputError
from concept_ppl.inference.posteriors import posterior
from concept_ppl.inference.simulation import simulate
from concept_ppl.model_sources import load_model
from concept_ppl.outputs import require_writable
from concept_ppl.reports import build_manifest, write_report

from .plan import WORLDS, LanguageStudy
from .report import language_report


def run_language_study(
    study: LanguageStudy,
    folder: str | Path,
    *,
    command: Sequence[str],
    stage: Stage,
    force: bool = False,
) -> Path:
    """Run the study and write its report; return the path of the page.

    Raises
    ------
    InputError, ModelError, LanguageModelError
        If an argument, the world, a language model or the folder is not usable; all are looked at
        before any work.
    """
    if study.world not in WORLDS:
        raise InputError(f"world '{study.world}' is unknown; choose {' or '.join(WORLDS)}.")
    check_level(study.level)
    require_writable(folder, force=force, known_by=REPORT_FILES)
    world = load_model(WORLDS[study.world], languages=study.languages, top=study.top)
    check_language_models(study.language_models, stage)
    with stage("simulate contexts, compute exact posteriors") as progress:
        contexts = simulate(world, study.n_contexts, seed=study.seed)
        table = posterior(world, contexts, progress=progress).to_frame()
    models = [
        read_model_states(
            source,
            list(contexts["text"]),
            name=name,
            n_blocks=study.n_blocks,
            seed=study.seed,
            device=study.device,
            stage=stage,
        )
        for name, source in names_on_page(study.language_models).items()
    ]
    design = Design(_clusters(contexts), seed=study.seed, level=study.level)
    values = {"language": _final(contexts["language"])}
    answers = {}
    for model in models:
        with stage(f"analyse {model.name}") as progress:
            answers[model.name] = model.analyse(table, design, values=values, progress=progress)
    comparison = None
    if len(models) == 2:
        with stage("compare the two models") as progress:
            comparison = compare_states((models[0], models[1]), table, design, progress)
    manifest = build_manifest(
        command=list(command),
        arguments=asdict(study),
        seeds={"contexts": study.seed, "folds": study.seed, "random weights": study.seed},
        inputs={},
        language_model=provenance_of(models),
    )
    report = language_report(study.world, answers, comparison, contexts, table, manifest)
    with stage("write the report"):
        return write_report(report, folder, force=force)


def _clusters(contexts: pd.DataFrame) -> NDArray[np.int64]:
    """Return the number of each row's distinct context: repeats are one unit, never data."""
    return as_contexts(contexts).unique()[1]


def _final(values: pd.Series) -> list[str]:
    """Return each context's value where its state is read: the last one, where it moves."""
    return [value if isinstance(value, str) else value[-1] for value in values]
