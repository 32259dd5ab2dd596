"""Are log-odds as large as they should be: the slope of the truth's log-odds on those of weights.

Cox 1958 (https://doi.org/10.1093/biomet/45.3-4.562) regresses outcomes on forecast log-odds; slope
1 and intercept 0 are calibration. Of several values this is a conditional logit,

    p(c | x) ∝ exp(a_c + b log w_c(x)),

fitted here to the exact posterior in place of drawn outcomes, which it is the expectation of.
"""

import numpy as np
import numpy.typing as npt
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
MOST_CONDITION = 1e12
LEAST_SHARE = 1e-6
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
        (n, C) log-weights; contexts in which one is −∞ have no log-odds and are left out, after
        values that p all but never has (less than 1e-6 of it).
    p
        (n, C) exact posterior.
    design
        Weights and clusters of the contexts.
    level
        Confidence level.

    Returns
    -------
    Estimate or None
        None where fewer than three clusters are left, log-odds do not vary, or no finite slope is
        the best, as where the weights always name what is certain.
    """
    values = np.average(p, axis=0, weights=design.weights) > LEAST_SHARE
    share = p[:, values].sum(axis=1)
    kept = np.isfinite(log_w[:, values]).all(axis=1) & (share > 0)
    own = _restricted(design, kept, share)
    if own is None or values.sum() < 2:
        return None
    odds = log_w[np.ix_(kept, values)]
    odds = odds - odds.mean(axis=1, keepdims=True)
    spread = odds - np.average(odds, axis=0, weights=own.weights)
    if np.abs(spread).max() <= RANK_TOLERANCE * max(np.abs(odds).max(), 1.0):
        return None
    found = _fit(odds, p[np.ix_(kept, values)] / share[kept, None], own.weights)
    if found is None:
        return None
    theta, bread, scores = found
    row = np.linalg.solve(bread, np.eye(len(theta))[-1])
    own_sums = np.bincount(own.clusters, weights=scores @ row, minlength=own.n_clusters)
    influence = np.asarray(own_sums, dtype=np.float64)
    error, df, slope = standard_error(influence), degrees_of_freedom(influence), float(theta[-1])
    off = slope - 1.0 if abs(slope - 1.0) > ROUNDING else 0.0
    p_value = 2.0 * float(special.stdtr(df, -abs(studentised(off, error))))
    return on_scale(slope, error, df, own, level, scale=float, slope=1.0, p_value=p_value)


def _restricted(design: Design, kept: npt.NDArray[np.bool_], share: FloatArray) -> Design | None:
    """Return the design of the rows that are kept, their weights times ``share``."""
    _, clusters = np.unique(design.clusters[kept], return_inverse=True)
    n_clusters = int(clusters.max()) + 1 if kept.any() else 0
    if n_clusters < FEWEST_CLUSTERS:
        return None
    mass = design.weights[kept] * share[kept]
    codes = clusters.astype(np.int64)
    return Design(mass / mass.mean(), codes, design.folds[kept], n_clusters, design.n_folds)


def _fit(
    odds: FloatArray, p: FloatArray, mass: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray] | None:
    """Newton's method: (a_1 …, b), its information matrix, and weighted scores (n, C), or None."""
    theta = np.append(np.zeros(odds.shape[1] - 1), 1.0)
    best = _log_likelihood(theta, odds, p, mass)
    for _ in range(MOST_STEPS):
        scores, bread = _derivatives(theta, odds, p, mass)
        if not np.linalg.cond(bread) < MOST_CONDITION:
            return None
        step = np.linalg.solve(bread, scores.sum(axis=0))
        if np.abs(step).max() <= STEP_TOLERANCE:
            return theta, bread, scores
        for halving in range(MOST_HALVINGS):
            moved = theta + 0.5**halving * step
            reached = _log_likelihood(moved, odds, p, mass)
            if reached >= best - 1e-12 * abs(best):
                break
        theta, best = moved, reached
    return None


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
