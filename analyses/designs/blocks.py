"""What do the states add to a control: ridge regression on [control, F], a penalty for each block.

One penalty for both blocks would let the wider, or the larger, drown the other. Here the control
keeps a penalty near the one that it chose alone, and F runs through the whole grid (multi-penalty
ridge, van de Wiel et al. 2021, https://doi.org/10.1080/10618600.2021.1904962). Partialling the
control out of F with its penalty (Frisch–Waugh–Lovell holds for block penalties) leaves a ridge
problem in F alone, so that one eigendecomposition of the Schur complement serves every penalty.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import linalg

from .arrays import FloatArray
from .cross_fits import PENALTIES, HeldOutRows, held_out_losses
from .decomposition import DecomposedStates
from .ridge.spectrum import Spectrum
from .ridge.state_rows import rows_of
from .training_moments import HeldOut

CONTROL_FACTORS = (0.25, 1.0, 4.0)
"""Penalties of the control that are tried, in units of the one that it chose alone."""


@dataclass(frozen=True, slots=True, eq=False)
class JointMoments:
    """Two blocks of regressors and targets, with the weighted cross-products of each fold.

    Attributes
    ----------
    control, F, Y
        (n, d_C), (n, d) and (n, t); a block wider than n in its n principal coordinates.
    grams
        (K, D, D) cross-products of the columns of [control, F, Y] over the rows of each fold.
    sums
        (K, D) weighted column sums.
    masses
        (K,) sums of weights.
    """

    control: FloatArray
    F: FloatArray
    Y: FloatArray
    grams: FloatArray
    sums: FloatArray
    masses: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class PartialledStates:
    """The training side of the two-block problem for one penalty of the control.

    Attributes
    ----------
    spectrum
        Of the Schur complement F'F − F'C(C'C + λ_C)⁻¹C'F; its mean is that of F.
    control_mean, F_on_control, Y_on_control
        (d_C,) mean of the control; (d_C, d) and (d_C, t) ridge regressions on it.
    scores
        (r, t) cross-product of partialled F, in eigen-coordinates, with Y.
    Y_mean
        (t,) mean of Y.
    """

    spectrum: Spectrum
    control_mean: FloatArray
    F_on_control: FloatArray
    Y_on_control: FloatArray
    scores: FloatArray
    Y_mean: FloatArray

    def apply(self, control: FloatArray, F: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Rows of F less their prediction from the control, and predictions of Y from it alone."""
        centred = control - self.control_mean
        base = self.Y_mean + centred @ self.Y_on_control
        return F - centred @ self.F_on_control, base


def joint_moments(
    control: DecomposedStates, states: DecomposedStates, Y: FloatArray
) -> JointMoments:
    """Accumulate the cross-products from which every training set of the problem is cut."""
    design = states.design
    blocks = principal_coordinates(control.F), principal_coordinates(states.F), Y
    stacked = np.hstack(blocks)
    grams, sums, masses = [], [], []
    for k in range(design.n_folds):
        rows = design.folds == k
        weighted = stacked[rows] * design.weights[rows, None]
        grams.append(stacked[rows].T @ weighted)
        sums.append(weighted.sum(axis=0))
        masses.append(design.weights[rows].sum())
    return JointMoments(*blocks, np.array(grams), np.array(sums), np.array(masses))


def joint_predictions(
    control: DecomposedStates,
    states: DecomposedStates,
    Y: FloatArray,
    penalties: Mapping[int, float],
) -> dict[int, FloatArray]:
    """Predict folds of Y (n, t) from [control, F], fitted and tuned on the other folds.

    Parameters
    ----------
    control, states
        The two blocks; their top eigenvalues are the units of their penalties.
    Y
        (n, t) targets.
    penalties
        For each fold that is to be predicted, what the control chose alone on its training folds.

    Returns
    -------
    predicted
        For each of these folds (rows of the fold, t).
    """
    moments = joint_moments(control, states, Y)
    losses = _joint_losses(moments, control, states, penalties)
    predicted = {}
    for fold, penalty in penalties.items():
        best, index = np.unravel_index(losses[fold].argmin(), losses[fold].shape)
        rows, unit = states.design.folds == fold, control.spectra[fold,].top
        fit = _partial_out(moments, (fold,), penalty * CONTROL_FACTORS[best] * unit)
        features, base = fit.apply(moments.control[rows], moments.F[rows])
        ridge = fit.spectrum.values + PENALTIES[index] * states.spectra[fold,].top
        slopes = fit.spectrum.vectors @ (fit.scores / ridge[:, None])
        predicted[fold] = np.asarray(base + (features - fit.spectrum.mean) @ slopes)
    return predicted


def _joint_losses(
    moments: JointMoments,
    control: DecomposedStates,
    states: DecomposedStates,
    penalties: Mapping[int, float],
) -> dict[int, FloatArray]:
    """Cross-validated loss inside the training folds of each wanted fold, factors × PENALTIES.

    Folds whose control chose the same penalty share the fit that leaves both out.
    """
    design = states.design
    losses = {fold: np.zeros((len(CONTROL_FACTORS), len(PENALTIES))) for fold in penalties}
    for out in combinations(range(design.n_folds), 2):
        wanted = [(fold, other) for fold, other in (out, out[::-1]) if fold in penalties]
        for penalty in {penalties[fold] for fold, _ in wanted}:
            for i, factor in enumerate(CONTROL_FACTORS):
                fit = _partial_out(moments, out, penalty * factor * control.spectra[out].top)
                for fold, inner in wanted:
                    if penalties[fold] != penalty:
                        continue
                    rows = design.folds == inner
                    features, base = fit.apply(moments.control[rows], moments.F[rows])
                    part = HeldOutRows(
                        rows_of(features),
                        np.arange(len(features)),
                        moments.Y[rows] - base,
                        design.weights[rows],
                    )
                    steps = PENALTIES * states.spectra[out].top
                    (loss,) = held_out_losses(fit.spectrum, fit.scores, [part], steps)
                    losses[fold][i] += loss
    return losses


def principal_coordinates(X: FloatArray) -> FloatArray:
    """Coordinates (n, min(n, d)) in which ridge regression on X (n, d) is the same problem."""
    n, d = X.shape
    if d <= n:
        return X
    values, vectors = np.linalg.eigh(X @ X.T)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def _partial_out(moments: JointMoments, held_out: HeldOut, penalty: float) -> PartialledStates:
    """Ridge-regress F and Y on the control and eigendecompose what is left of F."""
    kept = [k for k in range(len(moments.masses)) if k not in held_out]
    mass = moments.masses[kept].sum()
    mean = moments.sums[kept].sum(axis=0) / mass
    gram = moments.grams[kept].sum(axis=0) - mass * np.outer(mean, mean)
    c = moments.control.shape[1]
    f = c + moments.F.shape[1]
    factor = linalg.cho_factor(gram[:c, :c] + penalty * np.eye(c))
    on_control = linalg.cho_solve(factor, gram[:c, c:])
    left = gram[c:f, c:] - gram[c:f, :c] @ on_control
    values, vectors = np.linalg.eigh(left[:, : f - c])
    return PartialledStates(
        Spectrum(np.maximum(values, 0.0), vectors, mean[c:f]),
        mean[:c],
        on_control[:, : f - c],
        on_control[:, f - c :],
        vectors.T @ left[:, f - c :],
        mean[f:],
    )
