"""Which coefficients differ from zero, alone and together, by sandwich covariances."""

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from scipy import special

from concept_ppl.analyses.designs.arrays import FloatArray, IntArray
from concept_ppl.analyses.results.hypotheses import HypothesisTest, f_test, invalid

from .sandwich import LeastSquares, adjusted_scores, cluster_meats, row_meats
from .satterthwaite import MOST_PRODUCTS, hotelling_df, satterthwaite_df

Covariance = Literal["HC3", "CR1", "CR2", "wild"]

POWERS = {"HC3": 1.0, "CR1": 0.0, "CR2": 0.5}
FEW_DEGREES = 4.0
MOST_RESTRICTIONS = 2048

NO_SLOPE_OF = "no slope of {} differs from zero"
NO_SLOPE = "no slope of any output differs from zero"


@dataclass(frozen=True, slots=True, eq=False)
class Inference:
    """What is known about (k, d) coefficients besides their values.

    Attributes
    ----------
    std_errors, ci_low, ci_high, p_values
        (k, d) read-only; p-values two-sided, of zero. NaN where `invalid_because` says why.
    df
        (k,) degrees of freedom of the intervals, the same for every output; NaN for the bootstrap.
    per_output
        For each output, the joint test that all its slopes are zero.
    joint
        The test that all slopes of all outputs are zero.
    invalid_because
        Why there are no standard errors; empty where there are.
    """

    std_errors: FloatArray
    ci_low: FloatArray
    ci_high: FloatArray
    p_values: FloatArray
    df: FloatArray
    per_output: tuple[HypothesisTest, ...]
    joint: HypothesisTest
    invalid_because: str = ""

    def __post_init__(self) -> None:
        for field in fields(self)[:5]:
            getattr(self, field.name).flags.writeable = False


def sandwich_inference(
    fit: LeastSquares,
    members: Sequence[IntArray],
    covariance: Literal["HC3", "CR1", "CR2"],
    level: float,
) -> Inference:
    """Estimate standard errors, Student intervals and joint tests by one kind of sandwich.

    Parameters
    ----------
    fit
        The regressions, the intercept the first regressor.
    members
        Rows of each independent cluster.
    covariance, level
        See `linear_map`.

    Raises
    ------
    InputError
        If a row (HC3) or a cluster (CR2) has leverage 1.
    """
    (n, k), d, n_clusters = fit.Q.shape, fit.coefficients.shape[1], len(members)
    if covariance == "CR2" and n_clusters < k:
        return no_inference(
            k, d, f"{n_clusters} clusters are fewer than the {k} coefficients of each output"
        )
    power = POWERS[covariance]
    alone = n_clusters == n
    meats = row_meats(fit, power) if alone else cluster_meats(fit, members, power)
    scale = n_clusters / (n_clusters - 1) * (n - 1) / (n - k) if covariance == "CR1" else 1.0
    std_errors, wald = errors_and_wald(fit.unscaled, fit.scores, meats)
    df = np.full(k, float(n_clusters - 1 if covariance == "CR1" else n - k))
    one, together = _hotelling(fit, members, covariance)
    if covariance == "CR2":
        df = satterthwaite_df(fit, members)
        _warn_of_few(df)
    per_output = tuple(
        output_test(j, w / scale, k - 1, df[0], n_clusters, one) for j, w in enumerate(wald)
    )
    joint = per_output[0] if d == 1 else _joint_test(fit, members, power, scale, together)
    errors = std_errors * math.sqrt(scale)
    return student_inference(fit.coefficients, errors, df, per_output, joint, level)


def errors_and_wald(
    unscaled: FloatArray, scores: FloatArray, meats: Iterable[tuple[slice, FloatArray]]
) -> tuple[FloatArray, FloatArray]:
    """Return standard errors (k, d), and the Wald statistic (d,) of all slopes of each output.

    Parameters
    ----------
    unscaled, scores
        (k, k) and (k, d), as of `LeastSquares`; the intercept is the first regressor.
    meats
        (b, k, k) for each slice of outputs; NaN statistics where their slopes' part is singular.
    """
    std_errors, wald = np.empty_like(scores), np.empty(scores.shape[1])
    for outputs, meat in meats:
        variances = ((unscaled @ meat) * unscaled).sum(axis=2)
        std_errors[:, outputs] = np.sqrt(variances).T
        slopes = scores[1:, outputs].T[:, :, None]
        try:
            solved = np.linalg.solve(meat[:, 1:, 1:], slopes)
        except np.linalg.LinAlgError:
            solved = np.full_like(slopes, np.nan)
        wald[outputs] = (slopes * solved).sum(axis=(1, 2))
    return std_errors, wald


def student_inference(
    coefficients: FloatArray,
    std_errors: FloatArray,
    df: FloatArray,
    per_output: tuple[HypothesisTest, ...],
    joint: HypothesisTest,
    level: float,
) -> Inference:
    """Two-sided Student intervals and p-values for (k, d) coefficients with df (k,)."""
    reach = np.asarray(special.stdtrit(df[:, None], 0.5 + level / 2.0)) * std_errors
    with np.errstate(divide="ignore", invalid="ignore"):
        studentised = np.abs(coefficients / std_errors)
    p_values = np.asarray(2.0 * special.stdtr(df[:, None], -studentised))
    return Inference(
        std_errors, coefficients - reach, coefficients + reach, p_values, df, per_output, joint
    )


def no_inference(k: int, d: int, because: str) -> Inference:
    """Return NaN for everything, and tests that say why."""
    missing = np.full((k, d), np.nan)
    tests = tuple(invalid(NO_SLOPE_OF.format(f"output {j + 1}"), because) for j in range(d))
    joint = invalid(NO_SLOPE, because)
    return Inference(missing, missing, missing, missing, np.full(k, np.nan), tests, joint, because)


def output_test(
    output: int, wald: float, q: int, df: float, n_clusters: int, eta: float | None = None
) -> HypothesisTest:
    """Test that the q slopes of one output are zero, given their Wald statistic.

    Parameters
    ----------
    output, wald, q
        Its number from 0, its statistic, and how many slopes.
    df, n_clusters
        Denominator degrees of freedom of W/q, and the rank that the covariance can have.
    eta
        Hotelling's degrees of freedom; if given, they take the place of ``df``.
    """
    null = NO_SLOPE_OF.format(f"output {output + 1}")
    if n_clusters <= q:
        return invalid(null, f"{n_clusters} clusters leave the covariance of {q} slopes singular")
    return f_test(null, wald / q, q, df) if eta is None else hotelling_test(null, wald, q, eta)


def hotelling_test(null: str, wald: float, q: int, eta: float) -> HypothesisTest:
    """Refer a Wald statistic of q restrictions to Hotelling's T² with η degrees of freedom."""
    if math.isnan(eta):
        return invalid(
            null,
            f"its degrees of freedom are not computed beyond {MOST_PRODUCTS} products of slopes "
            "and coefficients",
        )
    if eta <= q:
        return invalid(
            null, f"a covariance with {eta:.1f} degrees of freedom cannot test {q} slopes together"
        )
    return f_test(null, (eta - q + 1.0) / (eta * q) * wald, q, eta - q + 1.0)


def _hotelling(
    fit: LeastSquares, members: Sequence[IntArray], covariance: Covariance
) -> tuple[float | None, float]:
    """Hotelling's η of one output, CR2 alone, and of all together, where it is needed."""
    k, d = fit.coefficients.shape
    if covariance == "CR2":
        one, together = hotelling_df(fit, members, (1, d))
        return one, together
    if covariance == "HC3" and (k - 1) * d < min(MOST_RESTRICTIONS, len(members)):
        return None, hotelling_df(fit, members, (d,))[0]
    return None, float(len(members) - 1)


def _joint_test(
    fit: LeastSquares, members: Sequence[IntArray], power: float, scale: float, eta: float
) -> HypothesisTest:
    """Test all slopes of all outputs with the covariance between outputs."""
    k, d = fit.coefficients.shape
    size = (k - 1) * d
    if size > MOST_RESTRICTIONS:
        return invalid(NO_SLOPE, f"{size} slopes together are more than {MOST_RESTRICTIONS}")
    if not size < min(eta, len(members)):
        return hotelling_test(NO_SLOPE, math.nan, size, min(eta, float(len(members))))
    meat = np.zeros((size, size))
    for scores in adjusted_scores(fit, members, power, slice(0, d)):
        flat = scores[:, 1:, :].reshape(len(scores), size)
        meat += flat.T @ flat
    slopes = fit.scores[1:].reshape(size)
    unit = np.sqrt(np.diag(meat))
    try:
        whitened = np.linalg.solve(meat / np.outer(unit, unit), slopes / unit)
    except np.linalg.LinAlgError:
        return invalid(NO_SLOPE, "the covariance of all slopes is singular")
    return hotelling_test(NO_SLOPE, float(slopes / unit @ whitened) / scale, size, eta)


def _warn_of_few(df: FloatArray) -> None:
    if df.min() < FEW_DEGREES:
        warnings.warn(
            f"Some coefficient has {df.min():.1f} Satterthwaite degrees of freedom, fewer than "
            f"{FEW_DEGREES:g}: too few clusters carry it for its p-value; use covariance='wild'.",
            stacklevel=4,
        )
