"""Does a mixture that was fitted to unlabelled words find the languages that they come from?

Short contexts of real words, each of one language that nobody tells; a mixture whose tables are
unknown is fitted to them, with several numbers of components. What it finds is held to the truth
that it has not seen.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from concept_ppl.analyses.designs.arrays import check_level
from concept_ppl.analyses.studies.stages.announcements import Stage
from concept_ppl.analyses.studies.stages.state_report import REPORT_FILES
from concept_ppl.errors import InputError
from concept_ppl.outputs import require_writable
from concept_ppl.reports import build_manifest, write_report

from .answers import analyse_words
from .plan import FEWEST_DRAWS, WordsStudy
from .report import words_report


def run_words_study(
    study: WordsStudy,
    folder: str | Path,
    *,
    command: Sequence[str],
    stage: Stage,
    force: bool = False,
) -> Path:
    """Run the study and write its report; return the path of the page.

    Raises
    ------
    InputError, ModelError
        If an argument, the languages or the folder is not usable; all before any work.
    """
    check_level(study.level)
    if len(study.languages) not in study.components:
        raise InputError(
            f"most_components is {study.most_components}; it must be at least the number of "
            f"languages, {len(study.languages)}."
        )
    if 2 * study.draws < FEWEST_DRAWS:
        raise InputError(f"draws must be at least {FEWEST_DRAWS // 2} a chain, not {study.draws}.")
    require_writable(folder, force=force, known_by=REPORT_FILES)
    answers = analyse_words(study, stage)
    manifest = build_manifest(
        command=list(command),
        arguments=asdict(study),
        seeds={"contexts": study.seed, "new contexts": study.seed + 1, "fits": study.seed},
        inputs={},
    )
    report = words_report(answers, manifest)
    with stage("write the report"):
        return write_report(report, folder, force=force)
