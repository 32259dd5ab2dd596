"""Step two: what can be predicted linearly, each fold by a map that was tuned without it.

The penalised problem is min_B Σ_i w_i ‖y_i − ȳ − (x_i − x̄)B‖² + λ‖B‖² with means over the training
folds (Hoerl and Kennard 1970, https://doi.org/10.1080/00401706.1970.10488634). States are scaled
by one number for all coordinates, never column by column: they are known only up to a linear
map, and this way every answer is unchanged by rotation, scaling and translation of F. With n < d
rows the same minimiser comes from the dual (n × n) problem (Saunders et al. 1998, ICML); its
component outside the span of the rows is zero because it is penalised, not because it was cut off.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import linalg

from concept_ppl.errors import InputError

from .arrays import FloatArray, varies
from .decomposition import DecomposedStates, Spectrum
from .design import Design
from .training_moments import HeldOut, training_moments

PENALTIES: FloatArray = 10.0 ** np.arange(-8.0, 2.25, 0.5)
"""Penalties λ tried, in units of the top eigenvalue of the training folds' weighted Gram matrix."""

COLUMNS_AT_ONCE = 512


@dataclass(frozen=True, slots=True, eq=False)
class CrossFit:
    """Held-out predictions of targets Y (n, t) and what the nested tuning chose.

    Attributes
    ----------
    states, targets
        What was regressed on, and Y (n, t).
    predicted, baseline
        (n, t) prediction of each row by the map that never saw its fold, and the mean of that
        map's training folds.
    penalties
        (K,) chosen λ relative to the top eigenvalue.
    inner_loss
        (K,) cross-validated loss at that penalty inside the training folds of each outer fold.
    unexplained
        (K, t, t) for each outer fold, the part of the training cross-product of Y that the ridge
        map leaves, penalty included: Y'Y − Y'X(X'X + λ)⁻¹X'Y.
    fitted
        (K, t, t) for each outer fold, the training cross-product of the fitted values.
    """

    states: DecomposedStates
    targets: FloatArray
    predicted: FloatArray
    baseline: FloatArray
    penalties: FloatArray
    inner_loss: FloatArray
    unexplained: FloatArray
    fitted: FloatArray


def cross_fit(states: DecomposedStates, Y: FloatArray, *, whiten: bool = False) -> CrossFit:
    """Predict Y (n, t) from the states, each fold by a map that was fitted and tuned without it.

    One penalty is chosen for all columns of Y. With ``whiten`` the loss that chooses it is taken in
    the metric of the inverse training covariance of Y, so that it does not depend on the basis.
    """
    design = states.design
    folds = range(design.n_folds)
    members = design.members
    rotations = [whitener(Y, design, (k,)) if whiten else np.eye(Y.shape[1]) for k in folds]
    moments = training_moments(states.F, Y, design)
    loss = np.zeros((design.n_folds, len(PENALTIES)))
    for j, k in combinations(folds, 2):
        spectrum = states.spectra[j, k]
        _, mean, cross = moments.without((j, k))
        scores = spectrum.vectors.T @ cross
        for outer, inner in ((j, k), (k, j)):
            loss[outer] += held_out_losses(
                spectrum,
                scores @ rotations[outer],
                states.F[members[inner]],
                (Y[members[inner]] - mean) @ rotations[outer],
                design.weights[members[inner]],
                PENALTIES * spectrum.top,
            )
    chosen = loss.argmin(axis=1)
    predicted, baseline = np.empty_like(Y), np.empty_like(Y)
    unexplained = np.empty((design.n_folds, Y.shape[1], Y.shape[1]))
    fitted = np.empty_like(unexplained)
    for k in folds:
        spectrum = states.spectra[k,]
        _, mean, cross = moments.without((k,))
        scores = spectrum.vectors.T @ cross
        penalty = PENALTIES[chosen[k]] * spectrum.top
        shrunk = scores / (spectrum.values + penalty)[:, None]
        fit = mean + (states.F - spectrum.mean) @ (spectrum.vectors @ shrunk)
        predicted[members[k]], baseline[members[k]] = fit[members[k]], mean
        # As a sum of squares: where the map interpolates, Y'Y − … would cancel to rounding noise.
        train = np.concatenate([rows for j, rows in enumerate(members) if j != k])
        left = (Y[train] - fit[train]) * np.sqrt(design.weights[train])[:, None]
        unexplained[k] = left.T @ left + penalty * shrunk.T @ shrunk
        fitted[k] = shrunk.T @ (spectrum.values[:, None] * shrunk)
    least = loss[np.arange(design.n_folds), chosen]
    return CrossFit(states, Y, predicted, baseline, PENALTIES[chosen], least, unexplained, fitted)


def held_out_losses(
    spectrum: Spectrum,
    scores: FloatArray,
    F: FloatArray,
    residual: FloatArray,
    weights: FloatArray,
    penalties: FloatArray,
) -> FloatArray:
    """Weighted squared error on held-out rows under every penalty, in one pass.

    Parameters
    ----------
    spectrum, scores
        Of the training rows, and (r, t) the cross-product of its coordinates with the targets.
    F, residual, weights
        (m, d), (m, t) and (m,) held-out rows, the targets less their training mean.
    penalties
        (L,) absolute.

    Returns
    -------
    losses
        (L,).
    """
    n_targets = scores.shape[1]
    centred, vectors = F - spectrum.mean, spectrum.vectors
    if len(spectrum.values) < n_targets:
        centred, vectors = centred @ vectors, np.eye(len(spectrum.values))
    width = max(1, COLUMNS_AT_ONCE // n_targets)
    losses = []
    for start in range(0, len(penalties), width):
        shrink = 1.0 / (spectrum.values[:, None] + penalties[start : start + width])
        slopes = shrink[:, :, None] * scores[:, None, :]
        slopes = slopes.reshape(len(scores), shrink.shape[1] * n_targets)  # also without a row
        fitted = (centred @ (vectors @ slopes)).reshape(len(F), -1, n_targets)
        losses.append(weights @ np.square(fitted - residual[:, None, :]).sum(axis=2))
    return np.concatenate(losses)


def whitener(Y: FloatArray, design: Design, held_out: HeldOut = ()) -> FloatArray:
    """Return W (t, t) with W' Cov(Y) W = I, the covariance over the folds but ``held_out``.

    Raises
    ------
    InputError
        If the columns of Y are collinear there.
    """
    rows = ~np.isin(design.folds, held_out)
    covariance = np.atleast_2d(np.cov(Y[rows], rowvar=False, aweights=design.weights[rows], ddof=0))
    scale = np.sqrt(np.diag(covariance))
    spread = np.where(varies(scale, Y[rows]), scale, np.inf)
    try:
        factor = linalg.cholesky(covariance / np.outer(spread, spread), lower=True)
    except linalg.LinAlgError as error:
        raise InputError(
            "Without the rows of one fold, columns of Z are constant or collinear: some value is "
            "too rare for this many folds; merge values or give more contexts."
        ) from error
    inverse = linalg.solve_triangular(factor, np.diag(1.0 / spread), lower=True)
    return np.asarray(inverse.T)
