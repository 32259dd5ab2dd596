"""What can be predicted linearly, held out: ridge regression with nested, cluster-disjoint tuning.

For K folds, the map that is tested on fold k is trained on the other K − 1 folds, and its penalty
is chosen by cross-validation *among those*: fold j is predicted from the folds that are neither j
nor k. Training without {j, k} serves outer fold k and outer fold j alike, so that all nested fits
need K(K − 1)/2 + K eigendecompositions instead of K². Each serves every penalty and every
target (log-odds, posteriors, shuffled copies of both).

The penalised problem is min_B Σ_i w_i ‖y_i − ȳ − (x_i − x̄)B‖² + λ‖B‖² with means over the training
folds (Hoerl and Kennard 1970, https://doi.org/10.1080/00401706.1970.10488634). States are scaled
by one number for all coordinates, never column by column: they are known only up to a linear
map, and this way every answer is unchanged by rotation, scaling and translation of F. With n < d
rows the same minimiser comes from the dual (n × n) problem (Saunders et al. 1998, ICML); its
component outside the span of the rows is zero because it is penalised, not because it was cut off.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import linalg

from concept_ppl.errors import InputError

from .arrays import RANK_TOLERANCE, FloatArray, check_states
from .design import Design, make_design
from .training_moments import HeldOut, training_moments

PENALTIES: FloatArray = 10.0 ** np.arange(-8.0, 2.25, 0.5)
"""Penalties λ tried, in units of the top eigenvalue of the training folds' weighted Gram matrix."""

NULL_EIGENVALUE = 1e-13
VARYING = 1e-12
"""Least variance of a direction, in units of the largest, that is no rounding."""
COLUMNS_AT_ONCE = 512


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """Eigendecomposition of the weighted, centred Gram matrix of one training set.

    Attributes
    ----------
    values
        (r,) eigenvalues, ascending; in the dual only those that are not null.
    vectors
        (d, r) orthonormal eigenvectors in the space of the states.
    mean
        (d,) weighted mean of the training rows.
    """

    values: FloatArray
    vectors: FloatArray
    mean: FloatArray

    @property
    def top(self) -> float:
        """Largest eigenvalue; 1 where the training rows do not vary, so that λ stays positive."""
        return float(self.values[-1]) if len(self.values) and self.values[-1] > 0 else 1.0

    @property
    def n_varying(self) -> int:
        """In how many directions the training rows vary, rounding aside."""
        return int(np.sum(self.values > VARYING * self.top))


@dataclass(frozen=True, slots=True, eq=False)
class DecomposedStates:
    """States ready to be regressed on: what every target and every penalty can share.

    Attributes
    ----------
    F
        (n, d) states, centred by their overall mean (a translation, for accuracy only).
    design
        Weights, clusters and folds.
    spectra
        For each set of held-out folds, (k,) or (j, k) with j < k, the remaining rows' spectrum.
    """

    F: FloatArray
    design: Design
    spectra: Mapping[HeldOut, Spectrum]


States = npt.ArrayLike | DecomposedStates


@dataclass(frozen=True, slots=True, eq=False)
class CrossFit:
    """Held-out predictions of targets Y (n, t) and what the nested tuning chose.

    Attributes
    ----------
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

    predicted: FloatArray
    baseline: FloatArray
    penalties: FloatArray
    inner_loss: FloatArray
    unexplained: FloatArray
    fitted: FloatArray


def decompose_states(
    F: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    n_folds: int = 5,
    seed: int = 0,
) -> DecomposedStates:
    """Do once the costly part of every held-out regression on the same states.

    The result takes the place of ``F`` in the other analyses, which then share it.

    Parameters
    ----------
    F
        (n, d) states.
    weights
        (n,) positive weights, for instance p(x); equal by default.
    clusters
        (n,) labels of the independent units; each row its own by default.
    n_folds, seed
        Folds, cluster-disjoint, drawn from the seed.

    Raises
    ------
    InputError
        If an entry is not finite, no column varies, lengths differ or clusters are too few.
    """
    states = check_states(F)
    if not np.any(np.ptp(states, axis=0) > 0):
        raise InputError("F does not vary: every row is the same state.")
    design = make_design(
        len(states), weights=weights, clusters=clusters, n_folds=n_folds, seed=seed
    )
    return decompose(states, design)


def as_decomposed(
    F: States,
    weights: npt.ArrayLike | None,
    clusters: npt.ArrayLike | None,
    n_folds: int,
    seed: int,
) -> DecomposedStates:
    """Decompose states unless the caller has done so, with weights and clusters, before."""
    if not isinstance(F, DecomposedStates):
        return decompose_states(F, weights=weights, clusters=clusters, n_folds=n_folds, seed=seed)
    if weights is not None or clusters is not None:
        raise InputError(
            "F is decomposed already, with its own weights and clusters; "
            "pass them to decompose_states instead."
        )
    return F


def on_same_design(F: States, design: Design, name: str = "F2") -> DecomposedStates:
    """Decompose a second model's states on the design of the first, unless the caller has."""
    if isinstance(F, DecomposedStates):
        if not F.design.same_as(design):
            raise InputError(
                f"{name} was decomposed with other weights, clusters or folds than F1."
            )
        return F
    states = check_states(F, name)
    if len(states) != design.n:
        raise InputError(
            f"{name} has {len(states)} rows, F1 has {design.n}; give the same contexts."
        )
    if not np.any(np.ptp(states, axis=0) > 0):
        raise InputError(f"{name} does not vary: every row is the same state.")
    return decompose(states, design)


def decompose(F: FloatArray, design: Design) -> DecomposedStates:
    """Spectra of all training sets that nested tuning over the design's folds needs."""
    F = F - np.average(F, axis=0, weights=design.weights)
    singles: list[HeldOut] = [(k,) for k in range(design.n_folds)]
    pairs: list[HeldOut] = list(combinations(range(design.n_folds), 2))
    grams: dict[int, FloatArray] = {}
    spectra = {out: training_spectrum(F, design, out, grams) for out in singles + pairs}
    return DecomposedStates(F, design, spectra)


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
    return CrossFit(predicted, baseline, PENALTIES[chosen], least, unexplained, fitted)


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
    spread = np.where(scale > RANK_TOLERANCE * np.abs(Y[rows]).max(axis=0), scale, np.inf)
    try:
        factor = linalg.cholesky(covariance / np.outer(spread, spread), lower=True)
    except linalg.LinAlgError as error:
        raise InputError(
            "Without the rows of one fold, columns of Z are constant or collinear: some value is "
            "too rare for this many folds; merge values or give more contexts."
        ) from error
    inverse = linalg.solve_triangular(factor, np.diag(1.0 / spread), lower=True)
    return np.asarray(inverse.T)


def training_spectrum(
    F: FloatArray, design: Design, held_out: HeldOut, grams: dict[int, FloatArray]
) -> Spectrum:
    """Eigendecompose from the primal (d × d) or the dual (n × n) side, whichever is smaller."""
    rows = ~np.isin(design.folds, held_out)
    weights = design.weights[rows]
    mean = weights @ F[rows] / weights.sum()
    if len(weights) >= F.shape[1]:
        gram = sum(
            (_fold_gram(F, design, k, grams) for k in range(design.n_folds) if k not in held_out),
            start=-weights.sum() * np.outer(mean, mean),
        )
        values, vectors = np.linalg.eigh(gram)
        return Spectrum(np.maximum(values, 0.0), vectors, mean)
    X = (F[rows] - mean) * np.sqrt(weights)[:, None]
    values, left = np.linalg.eigh(X @ X.T)
    kept = values > NULL_EIGENVALUE * max(values[-1], 0.0)
    vectors = X.T @ (left[:, kept] / np.sqrt(values[kept]))
    return Spectrum(values[kept], vectors, mean)


def _fold_gram(
    F: FloatArray, design: Design, fold: int, grams: dict[int, FloatArray]
) -> FloatArray:
    """Weighted cross-product of one fold's rows, computed once and then subtracted and added."""
    if fold not in grams:
        rows = design.folds == fold
        X = F[rows] * np.sqrt(design.weights[rows])[:, None]
        grams[fold] = X.T @ X
    return grams[fold]
