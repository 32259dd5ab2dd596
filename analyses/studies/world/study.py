"""Does a language model know a world's concepts, as an affine image of the exact log-posterior?

The world draws texts and gives their exact posteriors; what it can tell is asked before any model
is read. Then each model reads the texts, and its states are held against the posterior, beside the
best that needs no learning and the best that a next-token predictor of this world could show.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from concept_ppl.analyses.designs.arrays import check_level
from concept_ppl.analyses.studies.stages.announcements import Stage, silently
from concept_ppl.analyses.studies.stages.control_states import control_states
from concept_ppl.analyses.studies.stages.model_states import CEILING, HEADLINE
from concept_ppl.analyses.studies.stages.side_by_side import (
    check_language_models,
    names_on_page,
    provenance_of,
)
from concept_ppl.analyses.studies.stages.state_analyses import Design
from concept_ppl.analyses.studies.stages.state_comparison import StateComparison, compare_states
from concept_ppl.analyses.studies.stages.state_report import REPORT_FILES
from concept_ppl.analyses.studies.stages.token_evidence import evidence_readers
from concept_ppl.distributed import ONE_PROCESS, Machines, hired_beside
from concept_ppl.model_sources import load_model
from concept_ppl.outputs import require_writable
from concept_ppl.reports import build_manifest, write_report

from .answers import WorldAnswers, ask_ceiling, ask_power
from .models import ReadModel, ask_model, read_model
from .plan import WorldStudy
from .report import world_report
from .texts import draw_texts


def run_world_study(
    study: WorldStudy,
    folder: str | Path,
    *,
    command: Sequence[str] = (),
    stage: Stage = silently,
    machines: Machines = ONE_PROCESS,
    force: bool = False,
) -> Path:
    """Run the study and write its report; return the path of the page.

    Parameters
    ----------
    study
        What it is to do.
    folder
        Where the report goes.
    command
        The command line by which it can be made again, for the manifest.
    stage
        Shows how far the work is; by default nothing is shown.
    machines
        Where language models read the texts, one a worker; in this process by default.
    force
        Replace a report that is already there.

    Raises
    ------
    InputError, ModelError, LanguageModelError
        If an argument, the world, a language model or the folder is not usable; all are looked at
        before any work.
    """
    check_level(study.level)
    require_writable(folder, force=force, known_by=REPORT_FILES)
    world = load_model(study.world, **study.parameters)
    given: dict[str, Any] = {
        name: control_states(path, HEADLINE) for name, path in study.controls.items()
    }
    check_language_models(study.language_models, stage, most=None)
    with stage("draw texts, compute exact posteriors") as progress:
        texts = draw_texts(study, world, progress)
    design = Design(texts.clusters, seed=study.seed, level=study.level)
    readers: dict[str, Any] = dict(
        evidence_readers(world, texts.contexts, texts.rows, texts.concepts)
    )
    with stage("ask what the world can tell") as progress:
        power = ask_power(study, texts, readers, progress)
        ceiling = ask_ceiling(texts, design)
    if ceiling is not None:
        given[CEILING] = ceiling.states
    with hired_beside(machines) as crew:
        models = [
            read_model(study, texts, source, name, stage, crew)
            for name, source in names_on_page(study.language_models).items()
        ]
    answers = {}
    for model in models:
        with stage(f"analyse {model.name}") as progress:
            answers[model.name] = ask_model(model, texts, readers | given, design, progress)
    comparison = _compared(models, texts.posterior, design, stage)
    manifest = build_manifest(
        command=list(command),
        arguments=asdict(study),
        seeds=dict.fromkeys(("contexts", "folds", "planted states", "random weights"), study.seed),
        inputs={name: Path(path) for name, path in study.controls.items()},
        language_model=provenance_of(models),
    )
    report = world_report(study, texts, WorldAnswers(power, ceiling, answers), comparison, manifest)
    with stage("write the report"):
        return write_report(report, folder, force=force)


def _compared(
    models: Sequence[ReadModel], posterior: Any, design: Design, stage: Stage
) -> StateComparison | None:
    if len(models) != 2:
        return None
    with stage("compare the two models") as progress:
        return compare_states((models[0].states, models[1].states), posterior, design, progress)
