"""Why is the fit not perfect: the predictor, the theory's approximation, or too few contexts?

Three errors, kept apart because their remedies differ. The *predictor gap* shrinks with training.
The *approximation gap* is that of the claim itself, between Bayes and an affine function of the
log-posterior: no training touches it. The *sampling error* shrinks with contexts, and is zero where
all of them are enumerated.

For every concept value c, log p(y|x) = log p(c|x) + log p(y|c) − log p(c|x,y), because y depends on
x through c alone. Averaged over p(c|y) this is the paper's argument (Liu et al. 2025,
https://arxiv.org/abs/2503.08980, appendix A):

    log p(y|x) = Σ_c p(c|y) log p(c|x) + Σ_c p(c|y) log p(y|c) − h_y(x),
    h_y(x) = E_{p(c|y)} log p(c|x,y).

Log-ratios of two next tokens are affine in the log-posterior *with the slopes that the argument
names* if and only if h_{y_j} − h_{y_0} does not depend on x. How far it does is the remainder. The
best affine fit may have other slopes, so that the approximation gap is never larger.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from concept_ppl.analyses.designs.arrays import FloatArray
from concept_ppl.analyses.designs.design import make_design
from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row
from concept_ppl.errors import InputError

from .exact_fit import FEWEST_FOLDS, affine_residuals, exact

NORMALISED = 1e-6
NO_SPREAD = 1e-18
"""Variance, nats², below which a log-ratio of Bayes is constant up to rounding."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Misfit of log-ratios log p(y_j|x) − log p(y_0|x), averaged over x by p(x) and over j.

    Attributes
    ----------
    squared
        Mean squared residual, nats².
    share
        The same as a share of the variance of Bayes's log-ratios: 1 − R². NaN where these do not
        vary, so that there is nothing to explain. It depends on which token is y_0.
    """

    squared: float
    share: float


@dataclass(frozen=True, slots=True)
class ErrorBudget(Result):
    """The three errors apart; population numbers but for the sampling error.

    Attributes
    ----------
    predictor_kl
        Σ p(x) KL(p(y|x) ‖ q(y|x)), nats; NaN without a predictor, infinite where it rules out what
        can happen.
    predictor
        Gap between the log-ratios of the predictor and those of Bayes, up to a constant; None
        without a predictor.
    approximation
        Gap between the log-ratios of Bayes and their best affine fit in contrasts of log p(c|x).
    remainder
        Variance over x of h_{y_j} − h_{y_0}, as a gap.
    sampling
        Width of the interval that the caller gave; 0 where nothing was sampled.
    reference, ratios
        Number of y_0, and how many log-ratios there are; tokens that no concept emits have none.
    n
        Contexts.
    target, layer
        Labels that the caller gave.
    """

    predictor_kl: float
    predictor: Gap | None
    approximation: Gap
    remainder: Gap
    sampling: float
    reference: int
    ratios: int
    n: int
    target: str
    layer: str

    @property
    def title(self) -> str:
        """Say what was asked."""
        return f"Error budget of the {self.target}"

    def rows(self) -> Iterator[Row]:
        """One row a number, nats and nats² or shares, as `quantity` says."""

        def row(quantity: str, value: float) -> Row:
            finite = value if math.isfinite(value) else math.nan
            return Row("error_budget", quantity, self.target, exact(finite, self.n), self.layer)

        yield row("predictor_kl", self.predictor_kl)
        gaps = [("approximation", self.approximation), ("remainder", self.remainder)]
        if self.predictor is not None:
            gaps.insert(0, ("predictor", self.predictor))
        for name, gap in gaps:
            yield row(f"{name}_squared", gap.squared)
            yield row(f"{name}_share", gap.share)
        yield row("sampling_width", self.sampling)

    def panel(self) -> Panel:
        """Dots for the shares of variance."""
        named = (("predictor", self.predictor), ("approximation", self.approximation))
        entries = [(name, exact(gap.share, self.n)) for name, gap in named if gap is not None]
        entries.append(("remainder h", exact(self.remainder.share, self.n)))
        return forest(entries, "share of the variance of Bayes's log-ratios")

    @property
    def headline(self) -> str:
        """Say of how many contexts and log-ratios the budget is."""
        return f"{self.title}, {self.n} contexts, {self.ratios} log-ratios"

    def lines(self) -> list[str]:
        """Name the errors, a line each."""
        return [
            f"  predictor gap      {self.predictor_kl:.3g} nats of KL"
            + (f", {_written(self.predictor)}" if self.predictor else ""),
            f"  approximation gap  {_written(self.approximation)}",
            f"  remainder h        {_written(self.remainder)}",
            f"  sampling error     {self.sampling:.3g} wide",
        ]


def error_budget(
    log_posterior: npt.ArrayLike,
    log_likelihood: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    log_predictor: npt.ArrayLike | None = None,
    sampled: Estimate | None = None,
    target: str = "joint",
    layer: str = "",
) -> ErrorBudget:
    """Split the misfit of a predictor's log-ratios to the log-posterior, by enumeration.

    Parameters
    ----------
    log_posterior
        (n, C) exact log p(c|x) in nats of *all* joint values that y depends on.
    log_likelihood
        (C, V) log p(y|c) in nats, −inf where c never emits y.
    weights
        (n,) p(x) of the enumerated contexts, up to a factor; equal by default.
    log_predictor
        (n, V) log q(y|x) of a trained predictor.
    sampled
        The estimate whose interval is reported as sampling error, where contexts were sampled.
    target, layer
        Labels for the tidy table.

    Raises
    ------
    InputError
        If rows of probabilities do not sum to one, shapes differ, a log-posterior is −inf (it has
        no finite contrast, and no affine function reaches it), or fewer than two tokens can occur.
    """
    log_p = _check_log_probabilities(log_posterior, "log_posterior", "context")
    likelihood = _check_log_probabilities(log_likelihood, "log_likelihood", "concept value")
    n, C = log_p.shape
    if len(likelihood) != C:
        raise InputError(
            f"log_likelihood has {len(likelihood)} rows, log_posterior {C} columns; give both one "
            "a joint value of the concepts."
        )
    _require_finite(log_p)
    mass = make_design(n, weights=weights, n_folds=FEWEST_FOLDS).weights / n
    possible = np.flatnonzero(~np.isneginf(likelihood).all(axis=0))
    if len(possible) < 2:
        raise InputError("Fewer than two next tokens can occur; there is no log-ratio.")
    emitted = likelihood[:, possible]
    log_bayes = _bayes(log_p, emitted)
    ratios = _ratios(log_bayes)
    spread = float(mass @ np.square(ratios - mass @ ratios).mean(axis=1))
    contrasts = log_p[:, 1:] - log_p[:, :1]
    kl, predictor = math.nan, None
    if log_predictor is not None:
        log_q = _check_log_probabilities(log_predictor, "log_predictor", "context")
        if log_q.shape != (n, likelihood.shape[1]):
            raise InputError(
                f"log_predictor has shape {log_q.shape}; it must be ({n}, {likelihood.shape[1]})."
            )
        own = log_q[:, possible]
        kl = float(mass @ (np.exp(log_bayes) * (log_bayes - own)).sum(axis=1))
        ruled_out = bool(np.isneginf(own).any())
        predictor = (
            Gap(math.inf, math.inf)
            if ruled_out
            else _gap(_centred(_ratios(own) - ratios, mass), mass, spread)
        )
    return ErrorBudget(
        predictor_kl=kl,
        predictor=predictor,
        approximation=_gap(affine_residuals(ratios, contrasts, mass), mass, spread),
        remainder=_gap(_centred(_ratios(_remainder(log_p, emitted, mass)), mass), mass, spread),
        sampling=0.0 if sampled is None else sampled.ci_high - sampled.ci_low,
        reference=int(possible[0]),
        ratios=len(possible) - 1,
        n=n,
        target=target,
        layer=layer,
    )


def _bayes(log_p: FloatArray, likelihood: FloatArray) -> FloatArray:
    """Return log p(y|x) = log Σ_c p(y|c) p(c|x), a column a token."""
    columns = [special.logsumexp(log_p + column, axis=1) for column in likelihood.T]
    return np.column_stack(columns)


def _remainder(log_p: FloatArray, likelihood: FloatArray, mass: FloatArray) -> FloatArray:
    """Return h_y(x) = Σ_c p(c|y) log p(c|x,y), (n, tokens), over the c that emit y, nats."""
    prior = mass @ np.exp(log_p)
    h = np.empty((len(log_p), likelihood.shape[1]))
    for j, column in enumerate(likelihood.T):
        emits = ~np.isneginf(column)
        given_y = prior[emits] * np.exp(column[emits])
        joint = log_p[:, emits] + column[emits]
        h[:, j] = (joint - special.logsumexp(joint, axis=1, keepdims=True)) @ (
            given_y / given_y.sum()
        )
    return h


def _ratios(log_p: FloatArray) -> FloatArray:
    return log_p[:, 1:] - log_p[:, :1]


def _centred(values: FloatArray, mass: FloatArray) -> FloatArray:
    return np.asarray(values - mass @ values)


def _gap(residuals: FloatArray, mass: FloatArray, spread: float) -> Gap:
    squared = float(mass @ np.square(residuals).mean(axis=1))
    return Gap(squared, squared / spread if spread > NO_SPREAD else math.nan)


def _check_log_probabilities(values: npt.ArrayLike, name: str, row: str) -> FloatArray:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 2:
        raise InputError(
            f"{name} has shape {table.shape}; give a row a {row}, two columns or more."
        )
    off = np.flatnonzero(~(np.abs(np.exp(table).sum(axis=1) - 1.0) < NORMALISED))
    if off.size:
        raise InputError(
            f"{name} does not sum to one at row {off[0]}; give log-probabilities of all values, in "
            "nats."
        )
    return table


def _require_finite(log_p: FloatArray) -> None:
    zero = np.argwhere(np.isneginf(log_p))
    if zero.size:
        rows = len(np.unique(zero[:, 0]))
        raise InputError(
            f"log_posterior is −inf at row {zero[0, 0]}, value {zero[0, 1]} ({rows} rows in all); "
            "its contrasts are infinite there. Leave these contexts or these values out, and say "
            "how much probability they have."
        )


def _written(gap: Gap) -> str:
    share = "of no variance" if math.isnan(gap.share) else f"{gap.share:.3g} of the variance"
    return f"{gap.squared:.3g} nats², {share}"
