"""Does a language model know what someone's own labels say, up to an affine map?

A model of words given labels is fitted to half of the texts; its exact posterior of the labels on
the other half, from the words alone, is what the states are held against.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from concept_ppl.analyses.designs.arrays import check_level
from concept_ppl.analyses.studies.stages.announcements import Stage
from concept_ppl.analyses.studies.stages.model_states import read_model_states
from concept_ppl.analyses.studies.stages.posterior_contrasts import varying_log_odds
from concept_ppl.analyses.studies.stages.side_by_side import check_language_models
from concept_ppl.analyses.studies.stages.state_analyses import FITTED, Design
from concept_ppl.analyses.studies.stages.state_report import REPORT_FILES
from concept_ppl.distributed import ONE_PROCESS, Machines, hired_beside
from concept_ppl.inference.posteriors import posterior
from concept_ppl.outputs import require_writable
from concept_ppl.reports import build_manifest, write_report

from .plan import LabelledStudy
from .report import labelled_report
from .texts import read_labelled
from .words import fit_words


def run_labelled_study(
    study: LabelledStudy,
    table: str | Path,
    folder: str | Path,
    *,
    command: Sequence[str],
    stage: Stage,
    machines: Machines = ONE_PROCESS,
    force: bool = False,
) -> Path:
    """Run the study on a CSV and write its report; return the path of the page.

    Raises
    ------
    InputError, LanguageModelError
        If the table, an argument, the language model or the folder is not usable; all are looked
        at before any work.
    """
    check_level(study.level)
    require_writable(folder, force=force, known_by=REPORT_FILES)
    labelled = read_labelled(table, labels=study.labels, cluster=study.cluster)
    check_language_models([study.language_model], stage)
    training, test = labelled.halves(study.seed)
    with stage("fit words given labels, compute exact posteriors") as progress:
        words = fit_words(training, study.seed)
        frame = posterior(words.program(), words.contexts(test), progress=progress).to_frame()
    varying_log_odds(frame, "the fitted model")
    with hired_beside(machines) as crew:
        states = read_model_states(
            study.language_model,
            test.texts,
            n_blocks=study.n_blocks,
            seed=study.seed,
            device=study.device,
            stage=stage,
            crew=crew,
        )
    design = Design(test.clusters, seed=study.seed, level=study.level)
    with stage("analyse") as progress:
        answers = states.analyse(frame, design, posterior_is=FITTED, progress=progress)
    manifest = build_manifest(
        command=list(command),
        arguments=asdict(study),
        seeds=dict.fromkeys(("halves", "folds", "random weights"), study.seed),
        inputs={"texts": Path(table)},
        language_model=states.provenance,
    )
    report = labelled_report(study.language_model, answers, words, test, frame, manifest)
    with stage("write the report"):
        return write_report(report, folder, force=force)
