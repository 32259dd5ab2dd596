"""Can a fit be trusted, and would its model produce tokens like those it was fitted to?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from concept_ppl.analyses.designs.arrays import check_level
from concept_ppl.analyses.fits.parameter_tables import ParameterEstimates, parameter_estimates
from concept_ppl.analyses.fits.predictive_accuracy import FEWEST_DRAWS, PredictiveAccuracy
from concept_ppl.analyses.fits.predictive_checks import PredictiveCheck, token_checks
from concept_ppl.analyses.studies.stages.announcements import Stage
from concept_ppl.analyses.studies.stages.state_report import REPORT_FILES
from concept_ppl.fitting.fits.fit_files import FitFile, read_fit
from concept_ppl.fitting.fits.fitted_models import program_of
from concept_ppl.fitting.fits.replicates import replicate
from concept_ppl.outputs import require_writable
from concept_ppl.reports import build_manifest, write_report

from .accuracy import accuracy_of
from .report import fit_check_report


@dataclass(frozen=True)
class FitCheck:
    """Everything that is asked of one fit.

    Attributes
    ----------
    file : FitFile
    estimates : ParameterEstimates
    accuracies : tuple of PredictiveAccuracy
        By every criterion that suits the fit.
    checks : tuple of PredictiveCheck
        Frequencies, pairs, repetition by length.
    n_replicates : int
        Behind the checks.
    """

    file: FitFile
    estimates: ParameterEstimates
    accuracies: tuple[PredictiveAccuracy, ...]
    checks: tuple[PredictiveCheck, ...]
    n_replicates: int

    @property
    def has_converged(self) -> bool:
        """Whether the method reached its tolerance, and the chains of a posterior agree."""
        return self.file.fit.converged and (
            self.file.fit.method != "nuts" or self.estimates.has_converged
        )


def check_fit(
    path: str | Path,
    folder: str | Path,
    *,
    command: Sequence[str],
    stage: Stage,
    n_replicates: int = 200,
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
        drawn = _replicated_tokens(file, n_replicates, seed, progress)
    with stage("check"):
        answers = _answers(file, drawn, level)
    manifest = build_manifest(
        command=list(command),
        arguments={"replicates": n_replicates, "level": level, "seed": seed},
        seeds={"replicates": seed},
        inputs={"fit": Path(path)},
    )
    report = fit_check_report(answers, manifest)
    with stage("write the report"):
        return write_report(report, folder, force=force)


def _replicated_tokens(file: FitFile, n: int, seed: int, progress: object) -> np.ndarray:
    kept = file.groups.get("posterior_predictive")
    if kept is not None and kept.sizes["draw"] >= n:
        return kept["x"].to_numpy()[0, :n]
    program, observed = program_of(file), file.observed
    assert callable(progress)
    return replicate(program, file.fit, observed, n, seed, progress=progress)["x"]


def _answers(file: FitFile, drawn: np.ndarray, level: float) -> FitCheck:
    fit, contexts = file.fit, file.observed.contexts
    estimates = parameter_estimates(fit.matched, fit.standard_errors, n=fit.n_contexts, level=level)
    checks = token_checks(contexts.tokens, drawn, contexts.lengths, level=level)
    criteria = _criteria(file)
    accuracies = tuple(accuracy_of(file, criterion, level=level) for criterion in criteria)
    return FitCheck(file, estimates, accuracies, checks, len(drawn))


def _criteria(file: FitFile) -> tuple[str, ...]:
    if file.fit.log_likelihood is None:
        return ()
    if file.fit.is_point:
        return ("aic", "bic")
    n_draws = file.fit.log_evidence.size
    return ("loo", "waic") if n_draws >= FEWEST_DRAWS else ("waic",) if n_draws > 1 else ()
