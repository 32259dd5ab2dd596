"""Can a fit be trusted, and would its model produce tokens like those it was fitted to?"""

from collections.abc import Sequence
from pathlib import Path

from concept_ppl.analyses.designs.arrays import check_level
from concept_ppl.analyses.studies.stages.announcements import Stage
from concept_ppl.analyses.studies.stages.state_report import REPORT_FILES
from concept_ppl.fitting.fits.fit_files import read_fit
from concept_ppl.outputs import require_writable
from concept_ppl.reports import build_manifest, write_report

from .answers import answer_check, replicated_tokens
from .report import fit_check_report

N_REPLICATES = 500
"""So many that one family alone, adjusted for three, can fall below the level of the report."""


def check_fit(
    path: str | Path,
    folder: str | Path,
    *,
    command: Sequence[str],
    stage: Stage,
    n_replicates: int = N_REPLICATES,
    level: float = 0.95,
    seed: int = 0,
    force: bool = False,
) -> Path:
    """Check a fitted file and write a report; return the path of the page.

    Raises
    ------
    InputError, ModelError
        If the file is no fit, its program is gone or has changed, or the folder is not usable.
    """
    check_level(level)
    file = read_fit(path)
    require_writable(folder, force=force, known_by=REPORT_FILES)
    with stage("draw replicates") as progress:
        drawn = replicated_tokens(file, n_replicates, seed, progress)
    with stage("check"):
        answers = answer_check(file, drawn, level)
    manifest = build_manifest(
        command=list(command),
        arguments={"replicates": n_replicates, "level": level, "seed": seed},
        seeds={"replicates": seed},
        inputs={"fit": Path(path)},
    )
    report = fit_check_report(answers, manifest)
    with stage("write the report"):
        return write_report(report, folder, force=force)
