"""The truth behind held-out estimates: how the K maps fitted to a sample do on the population.

Maps are fitted again, in plain numpy, with the penalties that the analyses chose; population
moments then give their expected squared errors and correlations without a test sample.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from validity_worlds import Array

from concept_ppl.analyses.designs.cross_fits import CrossFit, whitener
from concept_ppl.analyses.designs.decomposition import DecomposedStates


@dataclass(frozen=True)
class FoldMap:
    """The affine map y ≈ y₀ + (x − x₀) B of one fold's training rows, and how many rows test it."""

    x0: Array
    y0: Array
    B: Array
    n_test: float


def fold_maps(X: Array, Y: Array, states: DecomposedStates, fit: CrossFit) -> Iterator[FoldMap]:
    """Fit ridge maps from X (n, d) to Y (n, t), with the folds and penalties of a cross-fit."""
    design = states.design
    for k, penalty in enumerate(fit.penalties):
        rows, w = design.folds != k, design.weights[design.folds != k]
        x0, y0 = np.average(X[rows], axis=0, weights=w), np.average(Y[rows], axis=0, weights=w)
        centred = X[rows] - x0
        gram = centred.T @ (centred * w[:, None])
        ridge = penalty * np.linalg.eigvalsh(gram)[-1] * np.eye(len(gram))
        B = np.linalg.solve(gram + ridge, centred.T @ ((Y[rows] - y0) * w[:, None]))
        yield FoldMap(x0, y0, B, float(design.weights[~rows].sum()))


def true_r2(maps: Iterator[FoldMap], of_X: Array, of_Y: Array, cross: Array) -> float:
    """R² of the maps on new rows, from Cov(X) (d, d), Cov(Y) (t, t) and Cov(X, Y) (d, t)."""
    error = spread = 0.0
    for one in maps:
        offset = one.y0 - one.x0 @ one.B
        variance = np.trace(of_Y - 2 * one.B.T @ cross + one.B.T @ of_X @ one.B)
        error += one.n_test * (variance + offset @ offset)
        spread += one.n_test * (np.trace(of_Y) + one.y0 @ one.y0)
    return float(1 - error / spread)


def true_squared_correlations(
    F: Array, Z: Array, states: DecomposedStates, fit: CrossFit, covariance: Array
) -> Array:
    """Signed ρ² on new rows of the canonical variates that the training folds found, (q,)."""
    d = F.shape[1]
    of_F, of_Z, cross = covariance[:d, :d], covariance[d:, d:], covariance[:d, d:]
    aa, bb, ab = np.zeros((3, Z.shape[1]))
    for k, one in enumerate(fold_maps(F, Z, states, fit)):
        W = whitener(Z, states.design, (k,))
        D = W @ np.linalg.eigh(W.T @ fit.unexplained[k] @ W)[1]
        mass = states.design.weights[states.design.folds != k].sum()
        R = D / np.sqrt(np.diag(D.T @ fit.fitted[k] @ D) / mass)
        mean_a, mean_b = -one.x0 @ one.B @ R, -one.y0 @ D
        slopes = one.B @ R
        aa += one.n_test * (np.diag(slopes.T @ of_F @ slopes) + mean_a**2)
        bb += one.n_test * (np.diag(D.T @ of_Z @ D) + mean_b**2)
        ab += one.n_test * (np.diag(slopes.T @ cross @ D) + mean_a * mean_b)
    rho = ab / np.sqrt(aa * bb)
    return np.asarray(np.sign(rho) * rho**2)
