"""What a stored fit answers: estimates, predictive accuracy, checks by replicates."""

from dataclasses import dataclass

import numpy as np

from concept_ppl.analyses.fits.parameter_tables import ParameterEstimates, parameter_estimates
from concept_ppl.analyses.fits.predictive_accuracy import FEWEST_DRAWS, PredictiveAccuracy
from concept_ppl.analyses.fits.predictive_checks import PredictiveCheck, token_checks
from concept_ppl.fitting.fits.fit_files import FitFile
from concept_ppl.fitting.fits.fitted_models import program_of
from concept_ppl.fitting.fits.replicates import replicate

from .accuracy import accuracy_of


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


def replicated_tokens(file: FitFile, n: int, seed: int, progress: object) -> np.ndarray:
    """Tokens (n, sum of lengths) of n replicates: those stored with the fit, or new ones."""
    kept = file.groups.get("posterior_predictive")
    if kept is not None and kept.sizes["draw"] >= n:
        return kept["x"].to_numpy()[0, :n]
    program, observed = program_of(file), file.observed
    assert callable(progress)
    return replicate(program, file.fit, observed, n, seed, progress=progress)["x"]


def answer_check(file: FitFile, drawn: np.ndarray, level: float) -> FitCheck:
    """Hold a fit to its chains, to its contexts left out, and to its replicates."""
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
