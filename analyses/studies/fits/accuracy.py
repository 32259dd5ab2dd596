"""How well do fitted files foretell contexts that they have not seen, by one criterion for all?"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from concept_ppl.analyses.fits.convergence import relative_efficiency
from concept_ppl.analyses.fits.predictive_accuracy import (
    FEWEST_DRAWS,
    PredictiveAccuracy,
    held_out_accuracy,
    information_criterion,
    leave_one_out,
    waic,
)
from concept_ppl.analyses.studies.stages.announcements import Progress
from concept_ppl.contexts.tokens import read_tokens
from concept_ppl.errors import InputError
from concept_ppl.fitting.fits.fit_files import FitFile
from concept_ppl.fitting.fits.fitted_models import draws_of, program_of
from concept_ppl.fitting.fits.observations import observations
from concept_ppl.fitting.likelihoods.likelihood import make_likelihood

OF_POSTERIORS = ("loo", "waic")
OF_POINTS = ("aic", "bic")
HELD_OUT = "held-out"


def choose_criterion(files: Mapping[str, FitFile], by: str, held_out: Path | None) -> str:
    """Return the criterion that is asked for, or the one that suits all fits.

    Raises
    ------
    InputError
        If there is no such criterion, or it does not suit one of the fits.
    """
    choices = (*OF_POSTERIORS, *OF_POINTS, HELD_OUT)
    if by and by not in choices:
        raise InputError(f"criterion '{by}' is unknown; choose one of {', '.join(choices)}.")
    if (by == HELD_OUT) != (held_out is not None) and by:
        raise InputError(
            "held-out contexts need --held-out FILE and no other criterion; give both or neither."
        )
    if held_out is not None:
        return HELD_OUT
    points = [name for name, file in files.items() if file.fit.is_point]
    others = [name for name in files if name not in points]
    chosen = by or ("bic" if points else "loo")
    wrong = points if chosen in OF_POSTERIORS else others
    if wrong:
        kind, remedy = ("a point", "svi or nuts") if wrong is points else ("draws", "em or map")
        raise InputError(
            f"{wrong[0]} is {kind}, which {chosen} cannot judge; compare fits of one kind, fit it "
            f"by {remedy}, or compare by --held-out FILE."
        )
    return chosen


def accuracies_of(
    files: Mapping[str, FitFile],
    criterion: str,
    *,
    held_out: Path | None = None,
    n_draws: int = 200,
    level: float = 0.95,
    progress: Progress | None = None,
) -> dict[str, PredictiveAccuracy]:
    """Measure each fit; arguments as :func:`choose_criterion` allows them.

    Raises
    ------
    InputError
        If a file holds no log-likelihood, or the held-out contexts are those that were fitted.
    """
    found = {}
    for number, (name, file) in enumerate(files.items()):
        if held_out is not None:
            found[name] = _held_out(file, held_out, n_draws, level)
        else:
            found[name] = accuracy_of(file, criterion, level=level)
        if progress is not None:
            progress(number + 1, len(files))
    return found


def accuracy_of(file: FitFile, criterion: str, *, level: float = 0.95) -> PredictiveAccuracy:
    """Measure a fit by the contexts that it has seen; contexts of weight zero are left out."""
    fit = file.fit
    if fit.log_likelihood is None:
        raise InputError(
            f"{file.path} holds no log-likelihood of each context; fit again with fewer draws."
        )
    kept = _counted(fit.weights, fit.n_contexts)
    weights = None if fit.weights is None else fit.weights[kept]
    table = fit.log_likelihood[:, :, kept]
    if criterion in OF_POINTS:
        return information_criterion(
            table[0, 0], fit.n_parameters, criterion=criterion, weights=weights, level=level
        )
    if criterion == "waic":
        return waic(table, weights=weights, level=level)
    n_draws = table.shape[0] * table.shape[1]
    if n_draws < FEWEST_DRAWS:
        raise InputError(
            f"{file.path} holds {n_draws} draws, leave-one-out needs {FEWEST_DRAWS}; fit again "
            f"with more."
        )
    efficiency = relative_efficiency(fit.matched)
    return leave_one_out(table, weights=weights, relative_efficiency=efficiency, level=level)


def _held_out(file: FitFile, tokens: Path, n_draws: int, level: float) -> PredictiveAccuracy:
    program = program_of(file)
    table, contexts = read_tokens(tokens)
    observed = observations(program, table, contexts)
    if observed.digest == file.attributes["observed_digest"]:
        raise InputError(
            f"{tokens} holds the contexts that {file.path} was fitted to; give others."
        )
    likelihood = make_likelihood(
        program, contexts, weights=observed.weights, next_tokens=observed.next_tokens
    )
    each = np.stack([likelihood.each(values) for values in draws_of(file.fit, n_draws)])
    kept = _counted(observed.weights, len(observed))
    weights = None if observed.weights is None else observed.weights[kept]
    return held_out_accuracy(each[:, kept], weights=weights, level=level)


def _counted(weights: NDArray[np.float64] | None, n: int) -> NDArray[np.bool_]:
    return np.ones(n, bool) if weights is None else weights > 0
