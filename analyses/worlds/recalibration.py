"""Are log-odds as large as they should be: the slope of the truth's log-odds on those of weights.

Cox 1958 (https://doi.org/10.1093/biomet/45.3-4.562) regresses outcomes on forecast log-odds; slope
1 and intercept 0 are calibration. Of several values this is a conditional logit,

    p(c | x) ∝ exp(a_c + b log w_c(x)),

fitted here to the exact posterior in place of drawn outcomes, which it is the expectation of.
"""

import numpy as np
from scipy import special

from concept_ppl.analyses.designs.arrays import FloatArray
from concept_ppl.analyses.designs.design import Design
from concept_ppl.analyses.designs.intervals import (
    degrees_of_freedom,
    on_scale,
    standard_error,
    studentised,
)
from concept_ppl.analyses.results.rows import Estimate

FEWEST_CLUSTERS = 3
MOST_STEPS = 100
MOST_HALVINGS = 30
STEP_TOLERANCE = 1e-10
ROUNDING = 1e-9
"""A slope that is 1 to rounding is 1, however small its error."""
RANK_TOLERANCE = 1e-10


def recalibration(
    log_w: FloatArray, p: FloatArray, design: Design, level: float
) -> Estimate | None:
    """Slope b with its cluster-robust interval (sandwich, Student); p-value of b = 1, two-sided.

    Parameters
    ----------
    log_w
        (n, C) log-weights; contexts in which one is −∞ have no log-odds and are left out.
    p
        (n, C) exact posterior.
    design
        Weights and clusters of the contexts.
    level
        Confidence level.

    Returns
    -------
    Estimate or None
        None where fewer than three clusters are left, or log-odds do not vary.
    """
    kept = np.isfinite(log_w).all(axis=1)
    _, clusters = np.unique(design.clusters[kept], return_inverse=True)
    count = int(clusters.max()) + 1 if kept.any() else 0
    if count < FEWEST_CLUSTERS:
        return None
    mass = design.weights[kept] / design.weights[kept].mean()
    own = Design(mass, clusters.astype(np.int64), design.folds[kept], count, design.n_folds)
    odds = log_w[kept] - log_w[kept].mean(axis=1, keepdims=True)
    spread = odds - np.average(odds, axis=0, weights=mass)
    if np.abs(spread).max() <= RANK_TOLERANCE * max(np.abs(odds).max(), 1.0):
        return None
    theta, bread, scores = _fit(odds, p[kept], mass)
    row = np.linalg.solve(bread, np.eye(len(theta))[-1])
    influence = np.bincount(own.clusters, weights=scores @ row, minlength=count).astype(np.float64)
    error, df, slope = standard_error(influence), degrees_of_freedom(influence), float(theta[-1])
    off = slope - 1.0 if abs(slope - 1.0) > ROUNDING else 0.0
    p_value = 2.0 * float(special.stdtr(df, -abs(studentised(off, error))))
    return on_scale(slope, error, df, own, level, scale=float, slope=1.0, p_value=p_value)


def _fit(
    odds: FloatArray, p: FloatArray, mass: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Newton's method; returns (a_1 …, b), its information matrix, and weighted scores (n, C)."""
    n_values = odds.shape[1]
    theta = np.append(np.zeros(n_values - 1), 1.0)
    best = _log_likelihood(theta, odds, p, mass)
    for _ in range(MOST_STEPS):
        scores, bread = _derivatives(theta, odds, p, mass)
        step = np.linalg.solve(bread, scores.sum(axis=0))
        for halving in range(MOST_HALVINGS):
            moved = theta + 0.5**halving * step
            reached = _log_likelihood(moved, odds, p, mass)
            if reached >= best - 1e-12 * abs(best):
                break
        theta, best = moved, reached
        if np.abs(step).max() <= STEP_TOLERANCE:
            break
    scores, bread = _derivatives(theta, odds, p, mass)
    return theta, bread, scores


def _logits(theta: FloatArray, odds: FloatArray) -> FloatArray:
    return np.asarray(np.append(0.0, theta[:-1]) + theta[-1] * odds)


def _log_likelihood(theta: FloatArray, odds: FloatArray, p: FloatArray, mass: FloatArray) -> float:
    return float(mass @ (p * special.log_softmax(_logits(theta, odds), axis=1)).sum(axis=1))


def _derivatives(
    theta: FloatArray, odds: FloatArray, p: FloatArray, mass: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Weighted scores of each context, (n, C), and minus the Hessian, (C, C)."""
    fitted = special.softmax(_logits(theta, odds), axis=1)
    residual = p - fitted
    scores = np.column_stack([residual[:, 1:], (residual * odds).sum(axis=1)])
    inner = fitted[:, 1:]
    mean = (fitted * odds).sum(axis=1, keepdims=True)
    cross = mass @ (inner * (odds[:, 1:] - mean))
    top = np.diag(mass @ inner) - inner.T @ (mass[:, None] * inner)
    corner = mass @ (fitted * np.square(odds - mean)).sum(axis=1)
    bread = np.block([[top, cross[:, None]], [cross[None, :], np.array([[corner]])]])
    return mass[:, None] * scores, bread
