"""Squared errors of states given contrasts: few regressors, as many targets as states are wide.

Predictions, residuals and influences of all coordinates would each be a matrix as large as the
states. Their sums over the coordinates need two passes over rows and nothing that large:

- On a fold, the residuals of any map split into those of the fold's own least squares, which no
  penalty changes, and a part that is linear in the contrasts; the fold's moments tell it, as a sum
  of squares, so that nothing cancels where the fit is close.
- What a training row does to the errors, summed over coordinates, is a product of its state with
  a few directions that a fold's test rows give.
"""

from dataclasses import dataclass

import numpy as np

from concept_ppl.analyses.designs.arrays import FloatArray, IntArray
from concept_ppl.analyses.designs.cross_fits import PENALTIES
from concept_ppl.analyses.designs.decomposition import DecomposedStates
from concept_ppl.analyses.designs.design import Design
from concept_ppl.analyses.designs.held_out import SquaredErrors
from concept_ppl.analyses.designs.ridge.lower_matrices import is_narrow
from concept_ppl.analyses.designs.ridge.one_thread_each import each
from concept_ppl.analyses.designs.ridge.spectrum import Spectrum
from concept_ppl.analyses.designs.ridge.state_rows import StateRows
from concept_ppl.analyses.designs.training_moments import TrainingMoments, training_moments


@dataclass(frozen=True, slots=True, eq=False)
class ForwardMap:
    """The map that is tested on one fold.

    Attributes
    ----------
    spectrum, penalty
        Of the training rows' contrasts, and λ.
    slopes
        (q, d).
    mean
        (d,) of the training rows' states.
    mass
        Weight of the training rows.
    """

    spectrum: Spectrum
    penalty: float
    slopes: FloatArray
    mean: FloatArray
    mass: float


@dataclass(frozen=True, slots=True, eq=False)
class Pull:
    """How the errors on one fold move its map, each array summed over the fold's rows.

    Attributes
    ----------
    by_intercept, by_mean
        (d,) derivative of the squared errors by the map's intercept, and by the training mean where
        that is the prediction, per unit of training weight.
    by_slopes
        (q, d) derivative by the slopes, times (Z'Z + λ)⁻¹.
    """

    by_intercept: FloatArray
    by_mean: FloatArray
    by_slopes: FloatArray


def forward_errors(contrasts: DecomposedStates, states: StateRows) -> SquaredErrors:
    """Squared held-out errors of states (n, d) given contrasts, summed over coordinates.

    The same as `squared_errors` of the states' cross-fit on the contrasts, its d columns added up.

    Parameters
    ----------
    contrasts
        Decomposed (n, q).
    states
        The rows of the states, in the same order.
    """
    design, Z = contrasts.design, contrasts.F
    moments = training_moments(states, Z, design)
    losses = _inner_losses(contrasts, moments)
    maps = [_forward_map(contrasts, moments, k, loss) for k, loss in enumerate(losses)]
    sse, sst = np.empty((2, design.n))

    def test(k: int) -> Pull:
        rows = design.members[k]
        sse[rows], sst[rows], pull = _tested(maps[k], states, Z, rows, design)
        return pull

    pulls = each(test, range(design.n_folds), beside=not is_narrow(states.width))
    by_map, by_mean = _training_influence(maps, pulls, states, Z, design)
    return SquaredErrors(design, *(part[:, None] for part in (sse, sst, by_map, by_mean)))


def _inner_losses(contrasts: DecomposedStates, moments: TrainingMoments) -> FloatArray:
    """Cross-validated loss (K, L) up to what no penalty changes, as of `cross_fits`."""
    design, Z = contrasts.design, contrasts.F
    losses = np.zeros((design.n_folds, len(PENALTIES)))
    for inner, rows in enumerate(design.members):
        root = np.sqrt(design.weights[rows])[:, None]
        _, sizes, axes = np.linalg.svd(root * (Z[rows] - moments.means_b[inner]), False)
        own = axes @ moments.crosses[inner].T
        own = np.divide(own, sizes[:, None], out=np.zeros_like(own), where=sizes[:, None] > 0)
        for outer in range(design.n_folds):
            if outer == inner:
                continue
            held_out = (min(inner, outer), max(inner, outer))
            F_mean, Z_mean, cross = moments.without(held_out)
            spectrum = contrasts.spectra[held_out].full()
            scores = spectrum.vectors.T @ cross.T
            shift = moments.means_a[inner] - F_mean
            for i, penalty in enumerate(PENALTIES * spectrum.top):
                slopes = spectrum.vectors @ (scores / (spectrum.values + penalty)[:, None])
                level = shift - (moments.means_b[inner] - Z_mean) @ slopes
                bend = own - sizes[:, None] * (axes @ slopes)
                losses[outer, i] += moments.masses[inner] * level @ level + np.square(bend).sum()
    return losses


def _forward_map(
    contrasts: DecomposedStates, moments: TrainingMoments, k: int, loss: FloatArray
) -> ForwardMap:
    spectrum = contrasts.spectra[k,].full()
    mean, _, cross = moments.without((k,))
    penalty = float(PENALTIES[loss.argmin()] * spectrum.top)
    slopes = spectrum.slopes(spectrum.vectors.T @ cross.T, np.array([penalty]))[:, 0]
    mass = float(moments.masses.sum() - moments.masses[k])
    return ForwardMap(spectrum, penalty, slopes, mean, mass)


def _tested(
    fitted: ForwardMap, states: StateRows, Z: FloatArray, rows: IntArray, design: Design
) -> tuple[FloatArray, FloatArray, Pull]:
    """Errors of the map and of the mean (m,) on the rows of its fold, and how they pull."""
    sse, sst = np.empty((2, len(rows)))
    by_intercept, by_mean = np.zeros((2, states.width))
    by_slopes = np.zeros_like(fitted.slopes)
    for place, block in states.blocks(rows):
        weights, z = design.weights[rows[place]], Z[rows[place]] - fitted.spectrum.mean
        np.subtract(block, fitted.mean, out=block)
        sst[place] = np.einsum("ij,ij->i", block, block)
        by_mean -= 2.0 * weights @ block
        np.subtract(block, z @ fitted.slopes, out=block)
        sse[place] = np.einsum("ij,ij->i", block, block)
        by_intercept -= 2.0 * weights @ block
        by_slopes -= 2.0 * (z * weights[:, None]).T @ block
    spectrum = fitted.spectrum
    solved = spectrum.slopes(spectrum.vectors.T @ by_slopes, np.array([fitted.penalty]))[:, 0]
    return sse, sst, Pull(by_intercept / fitted.mass, by_mean / fitted.mass, solved)


def _training_influence(
    maps: list[ForwardMap], pulls: list[Pull], states: StateRows, Z: FloatArray, design: Design
) -> tuple[FloatArray, FloatArray]:
    """Return the derivatives (n,) of errors of the maps, and of the means, by each row's weight."""
    directions = [np.vstack([pull.by_intercept, pull.by_mean, pull.by_slopes]) for pull in pulls]
    every = np.vstack(directions).T
    along = np.empty((design.n, every.shape[1]))

    def project(rows: IntArray) -> None:
        along[rows] = states.times(every, rows)

    each(project, design.members, beside=not is_narrow(states.width))
    by_fold = along.reshape(design.n, design.n_folds, -1)
    by_map, by_mean = np.zeros((2, design.n))
    for k, fitted in enumerate(maps):
        train = design.folds != k
        z = Z[train] - fitted.spectrum.mean
        deviations = by_fold[train, k] - directions[k] @ fitted.mean
        left = deviations - z @ (directions[k] @ fitted.slopes.T).T
        by_map[train] += left[:, 0] + np.einsum("ij,ij->i", z, left[:, 2:])
        by_mean[train] += deviations[:, 1]
    return by_map, by_mean
