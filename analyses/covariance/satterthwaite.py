"""How many degrees of freedom has a CR2 standard error: those of the clusters that carry it.

A CR2 variance is a quadratic form in the outputs. If errors are independent with the inverse
weights as variances (the working model), its mean and variance are known, and the χ² with the same
two moments gives its degrees of freedom (Satterthwaite; Bell and McCaffrey 2002). For q
coefficients together, Hotelling's T² with η degrees of freedom, found in the same way from their
covariance, is the AHT test of Pustejovsky and Tipton (2018,
https://doi.org/10.1080/07350015.2016.1247004).

In the basis Q of the whitened regressors (see `sandwich`), with N_g = Q_gᵀQ_g, the working
covariance of the adjusted scores of clusters g and h is

    P_gh = δ_gh B_g − K_g K_h,   B_g = N_g (I − N_g)⁻¹,   K_g = N_g (I − N_g)^(−½).

It does not depend on the outputs: one computation serves all of them. With d outputs it becomes
P_gh ⊗ I_d, whatever the covariance of their errors.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from concept_ppl.analyses.designs.arrays import FloatArray, IntArray

from .sandwich import NUMBERS_AT_ONCE, ClusterAdjustment, LeastSquares, cluster_adjustment

MOST_PRODUCTS = 2_048
"""Restrictions times coefficients beyond which Hotelling's degrees of freedom are not computed."""

WorkingMoments = tuple[FloatArray, FloatArray]


def satterthwaite_df(fit: LeastSquares, members: Sequence[IntArray]) -> FloatArray:
    """Degrees of freedom (k,) of the CR2 standard error of each coefficient, for every output.

    Parameters
    ----------
    fit
        The regressions.
    members
        Rows of each cluster.
    """
    loadings = fit.unscaled.T / np.linalg.norm(fit.unscaled, axis=1)
    k = len(loadings)
    total, squares, outer = np.zeros(k), np.zeros(k), np.zeros((k, k, k))
    for B, K in working_moments(fit.Q, members):
        diagonal = np.einsum("sa,gsa->ga", loadings, B @ loadings)
        along = K @ loadings
        lost = np.einsum("gsa,gsa->ga", along, along)
        total += (diagonal - lost).sum(axis=0)
        squares += (np.square(diagonal) - 2.0 * diagonal * lost).sum(axis=0)
        by_term = np.ascontiguousarray(along.transpose(2, 1, 0))
        outer += by_term @ by_term.transpose(0, 2, 1)
    return np.asarray(np.square(total) / (squares + np.square(outer).sum(axis=(1, 2))))


def hotelling_df(
    fit: LeastSquares, members: Sequence[IntArray], n_outputs: Sequence[int], first: int = 1
) -> list[float]:
    """Hotelling's η of the joint CR2 test of the last regressors, for d outputs together.

    η solves q d (q d + 1) / η = Σ_gh tr(P_gh ⊗ I_d)² + tr((P_gh ⊗ I_d)²), the total variance of the
    entries of the covariance under the working model. NaN where the products that it takes would
    be too many.

    Parameters
    ----------
    fit
        The regressions, the intercept the first regressor.
    members
        Rows of each cluster.
    n_outputs
        Numbers d of outputs.
    first
        The first regressor that is tested; by default all but the intercept are.
    """
    k = len(fit.R)
    q = k - first
    if q * k > MOST_PRODUCTS:
        return [float("nan")] * len(n_outputs)
    gram = np.zeros((q * k, q * k))
    of_squares = of_products = 0.0
    for B, K in working_moments(fit.Q, members):
        slopes = K[:, first:, :]
        flat = slopes.reshape(len(slopes), q * k)
        gram += flat.T @ flat
        lost = slopes @ slopes.transpose(0, 2, 1)
        own = B[:, first:, first:] - lost
        of_squares += float((_traces(own) ** 2 - _traces(lost) ** 2).sum())
        of_products += float(np.square(own).sum() - np.square(lost).sum())
    across = gram.reshape(q, k, q, k)
    of_squares += float(np.square(gram).sum())
    of_products += float(np.einsum("satb,tasb->", across, across))
    return [q * d * (q * d + 1) / (d**2 * of_squares + d * of_products) for d in n_outputs]


def working_moments(Q: FloatArray, members: Sequence[IntArray]) -> Iterator[WorkingMoments]:
    """B_g and K_g of the module docstring, (c, k, k) each, for batches of c clusters."""
    k = Q.shape[1]
    step = max(1, NUMBERS_AT_ONCE // k**2)
    for start in range(0, len(members), step):
        batch = members[start : start + step]
        if all(len(rows) == 1 for rows in batch):
            yield _row_moments(Q[np.concatenate(batch)])
            continue
        parts = [cluster_adjustment(Q[rows], 0.5, start + i) for i, rows in enumerate(batch)]
        B = [_along(part, part.squares / (1.0 - part.squares)) for part in parts]
        K = [_along(part, part.squares * part.gains) for part in parts]
        yield np.array(B), np.array(K)


def _along(part: ClusterAdjustment, values: FloatArray) -> FloatArray:
    return (part.directions.T * values) @ part.directions


def _row_moments(Q: FloatArray) -> WorkingMoments:
    leverages = np.einsum("ik,ik->i", Q, Q)[:, None, None]
    outer = Q[:, :, None] * Q[:, None, :]
    return outer / (1.0 - leverages), outer / np.sqrt(1.0 - leverages)


def _traces(matrices: FloatArray) -> FloatArray:
    return np.asarray(np.trace(matrices, axis1=1, axis2=2))
