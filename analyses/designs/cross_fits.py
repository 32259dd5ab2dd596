"""Step two: what can be predicted linearly, each fold by a map that was tuned without it.

The penalised problem is min_B Σ_i w_i ‖y_i − ȳ − (x_i − x̄)B‖² + λ‖B‖² with means over the training
folds (Hoerl and Kennard 1970, https://doi.org/10.1080/00401706.1970.10488634). States are scaled
by one number for all coordinates, never column by column: they are known only up to a linear
map, and this way every answer is unchanged by rotation, scaling and translation of F. With n < d
rows the same minimiser comes from the dual (n × n) problem (Saunders et al. 1998, ICML); its
component outside the span of the rows is zero because it is penalised, not because it was cut off.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import linalg

from concept_ppl.errors import InputError

from .arrays import FloatArray, IntArray, varies
from .decomposition import DecomposedStates
from .design import Design
from .ridge.band_sides import Side
from .ridge.spectrum import Regressands, Spectrum
from .ridge.state_rows import StateRows
from .training_moments import HeldOut, TrainingMoments, training_moments

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
    slopes
        (K, d, t) the map that is tested on each fold.
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
    slopes: FloatArray
    penalties: FloatArray
    inner_loss: FloatArray
    unexplained: FloatArray
    fitted: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutRows:
    """Rows on which maps are judged.

    Attributes
    ----------
    states, members
        Of all rows, and the (m,) numbers of those that are held out.
    residuals, weights
        (m, t) targets less their training mean, and (m,) weights.
    rotation
        (t, s) linear combinations of the targets whose squared errors count; all as they are if
        None.
    """

    states: StateRows
    members: IntArray
    residuals: FloatArray
    weights: FloatArray
    rotation: FloatArray | None = None


def cross_fit(states: DecomposedStates, Y: FloatArray, *, whiten: bool = False) -> CrossFit:
    """Predict Y (n, t) from the states, each fold by a map that was fitted and tuned without it.

    One penalty is chosen for all columns of Y. With ``whiten`` the loss that chooses it is taken in
    the metric of the inverse training covariance of Y, so that it does not depend on the basis.
    """
    design = states.design
    folds, members = range(design.n_folds), design.members
    moments = training_moments(states.rows, Y, design)
    loss = inner_losses(states, Y, moments, whiten=whiten)
    chosen = loss.argmin(axis=1)

    def fit(k: int) -> FloatArray:
        side, targets = states.spectra[k,], regressands(states, Y, moments, (k,))
        penalty = np.array([PENALTIES[chosen[k]] * side.top])
        return side.slopes(side.scores(targets), penalty)[:, 0]

    slopes = states.each(fit, folds)
    predicted, baseline = np.empty_like(Y), np.empty_like(Y)
    unexplained = np.empty((design.n_folds, Y.shape[1], Y.shape[1]))
    fitted = np.empty_like(unexplained)
    for k, product in enumerate(states.times(slopes)):
        side, mean = states.spectra[k,], moments.without((k,))[1]
        explained = product - side.mean @ slopes[k]
        predicted[members[k]], baseline[members[k]] = mean + explained[members[k]], mean
        # As sums of squares: where the map interpolates, Y'Y − … would cancel to rounding noise.
        train = design.folds != k
        root = np.sqrt(design.weights[train])[:, None]
        left, kept = (Y[train] - mean - explained[train]) * root, explained[train] * root
        penalty = PENALTIES[chosen[k]] * side.top
        unexplained[k] = left.T @ left + penalty * slopes[k].T @ slopes[k]
        fitted[k] = kept.T @ kept
    least = loss[np.arange(design.n_folds), chosen]
    maps, penalties = np.array(slopes), PENALTIES[chosen]
    return CrossFit(states, Y, predicted, baseline, maps, penalties, least, unexplained, fitted)


def regressands(
    states: DecomposedStates, Y: FloatArray, moments: TrainingMoments, held_out: HeldOut
) -> Regressands:
    """Targets Y (n, t) of all folds but some, by their moments with the states."""
    _, mean, cross = moments.without(held_out)
    members = np.flatnonzero(~np.isin(states.design.folds, held_out))
    return Regressands(cross, Y, members, mean)


def inner_losses(
    states: DecomposedStates, Y: FloatArray, moments: TrainingMoments, *, whiten: bool
) -> FloatArray:
    """Cross-validated loss (K, L) inside the training folds of each fold, under each penalty.

    Analyses of the same states ask the same again: what they tuned once, they remember.
    """
    key = hashlib.blake2b(Y.tobytes()).digest() + bytes([whiten])
    if key not in states.tuned:
        states.tuned[key] = _inner_losses(states, Y, moments, whiten)
    return states.tuned[key]


def _inner_losses(
    states: DecomposedStates, Y: FloatArray, moments: TrainingMoments, whiten: bool
) -> FloatArray:
    design = states.design
    rotations = [whitener(Y, design, (k,)) if whiten else None for k in range(design.n_folds)]

    def at_both(pair: tuple[int, int]) -> list[FloatArray]:
        side, targets = states.spectra[pair], regressands(states, Y, moments, pair)
        parts = []
        for outer, inner in (pair, pair[::-1]):
            rows = design.members[inner]
            residuals, weights = Y[rows] - targets.mean, design.weights[rows]
            parts.append(HeldOutRows(states.rows, rows, residuals, weights, rotations[outer]))
        return held_out_losses(side, side.scores(targets), parts, PENALTIES * side.top)

    pairs = list(combinations(range(design.n_folds), 2))
    loss = np.zeros((design.n_folds, len(PENALTIES)))
    for (j, k), (at_k, at_j) in zip(pairs, states.each(at_both, pairs), strict=True):
        loss[j] += at_k
        loss[k] += at_j
    return loss


def held_out_losses(
    side: Side, scores: FloatArray, parts: Sequence[HeldOutRows], penalties: FloatArray
) -> list[FloatArray]:
    """Weighted squared error (L,) on each part of held-out rows under every penalty.

    Parameters
    ----------
    side, scores
        Of the training rows, and of their targets: what the side makes of `Regressands`.
    parts
        Held-out rows with their targets.
    penalties
        (L,) absolute.
    """
    n_targets, basis, path = scores.shape[1], None, side
    if isinstance(side, Spectrum) and len(side.values) < n_targets:
        basis, path = side.vectors, side.in_its_own_coordinates()
    step = max(1, COLUMNS_AT_ONCE // n_targets)
    losses = np.zeros((len(parts), len(penalties)))
    for start in range(0, len(penalties), step):
        tried = slice(start, start + step)
        slopes = path.slopes(scores, penalties[tried])
        columns = slopes.reshape(len(slopes), slopes.shape[1] * n_targets)  # also without a row
        for loss, part in zip(losses, parts, strict=True):
            made = columns.shape[1]
            for place, block in part.states.blocks(part.members, columns=made):
                np.subtract(block, side.mean, out=block)
                fitted = (block if basis is None else block @ basis) @ columns
                errors = fitted.reshape(len(block), -1, n_targets)
                errors -= part.residuals[place, None, :]
                rotated = errors if part.rotation is None else errors @ part.rotation
                loss[tried] += part.weights[place] @ np.square(rotated).sum(axis=2)
    return list(losses)


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
