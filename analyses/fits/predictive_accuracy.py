"""How well would a fitted model foretell contexts that it has not seen?

Arrays of log p(context | θ), a row for each posterior draw, are enough. The unit is the context.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special
from scipy.special import logsumexp

from concept_ppl.analyses.designs.arrays import FloatArray, check_level
from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row
from concept_ppl.arviz_import import smoothed_log_weights
from concept_ppl.errors import InputError
from concept_ppl.formatting import integer, number

CELLS = 2**22
"""Draws times contexts that are smoothed at once: 32 MiB."""
FEWEST_DRAWS = 100
"""Below, the tail of the importance ratios holds too few draws to be smoothed."""
CRITERIA = {
    "loo": "leave-one-out",
    "waic": "WAIC",
    "aic": "AIC",
    "bic": "BIC",
    "held_out": "held-out",
}


@dataclass(frozen=True, slots=True, eq=False)
class PredictiveAccuracy(Result):
    """Expected log predictive density of as many new contexts as there are, in nats.

    Attributes
    ----------
    criterion
        A key of ``CRITERIA``: how the density of unseen contexts was got from seen ones.
    elpd
        Sum over contexts, with the standard error of a sum of independent terms.
    p_effective
        What the model gains on what it has seen, in nats; close to its number of parameters where
        those are few. NaN for held-out contexts.
    pointwise
        (n,) each context's term.
    weights
        (n,) how often each context counts.
    pareto_k
        (n,) for ``loo``: shape of the tail of the importance ratios; above ``highest_k`` the
        context's term cannot be trusted. Empty otherwise.
    highest_k
        min(1 − 1 / log10 S, 0.7) of S draws.
    """

    criterion: str
    elpd: Estimate
    p_effective: float
    pointwise: FloatArray
    weights: FloatArray
    pareto_k: FloatArray
    highest_k: float = math.nan

    @property
    def n_untrusted(self) -> int:
        """Number of contexts whose ``pareto_k`` is too high."""
        return int((self.pareto_k > self.highest_k).sum())

    @property
    def title(self) -> str:
        """Say what was asked."""
        return f"Expected log predictive density, {CRITERIA[self.criterion]}"

    def rows(self) -> list[Row]:
        """Return the rows of :meth:`tidy`."""
        name, value = "predictive_accuracy", self.elpd
        rows = [Row(name, f"elpd_{self.criterion}", "", value)]
        if not math.isnan(self.p_effective):
            rows.append(Row(name, f"p_{self.criterion}", "", _bare(self.p_effective, value)))
        if len(self.pareto_k):
            count = _bare(float(self.n_untrusted), value)
            rows.append(Row(name, "n_pareto_k_too_high", "", count))
        return rows

    @property
    def headline(self) -> str:
        """Return the sum in a sentence, and what speaks against it."""
        value = self.elpd
        text = (
            f"{CRITERIA[self.criterion]}: expected log predictive density "
            f"{number(value.estimate, 2)} nats (SE {number(value.std_error, 2)}, "
            f"{integer(value.n)} contexts)"
        )
        if not math.isnan(self.p_effective):
            text += f", {self.p_effective:.1f} effective parameters"
        if self.n_untrusted:
            text += (
                f"; {self.n_untrusted:,} contexts have a Pareto k above {self.highest_k:.2f}, so "
                f"their terms, and the sum, are too optimistic or too noisy"
            )
        return f"{text}."

    def lines(self) -> tuple[str, ...]:
        """Return none: the headline says all."""
        return ()

    def panel(self) -> Panel:
        """Forest plot of the sum."""
        return forest([(CRITERIA[self.criterion], self.elpd)], "log predictive density (nats)")


def leave_one_out(
    log_likelihood: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    relative_efficiency: float = 1.0,
    level: float = 0.95,
) -> PredictiveAccuracy:
    """Estimate log p(context | all others) by importance sampling with a smoothed tail.

    Vehtari, Gelman and Gabry 2017, https://doi.org/10.1007/s11222-016-9696-4; the smoothing is
    ArviZ's.

    Parameters
    ----------
    log_likelihood
        (S, n) or (chains, draws, n): log p(context | θ_s), in nats.
    weights
        (n,) how often each context counts; one occurrence of it is left out at a time.
    relative_efficiency
        Effective over nominal number of draws; it decides how much of the tail is smoothed.
    level
        Of the interval of the sum.

    Raises
    ------
    InputError
        If there are fewer than ``FEWEST_DRAWS`` draws, or a number is not finite.
    """
    table, mass = _table(log_likelihood, weights)
    n_draws, n = table.shape
    if n_draws < FEWEST_DRAWS:
        raise InputError(
            f"leave-one-out needs at least {FEWEST_DRAWS} draws, not {n_draws}; draw more, or use "
            f"AIC, BIC or held-out contexts for a fit that is a point."
        )
    pointwise, pareto_k = np.empty(n), np.empty(n)
    for rows in _chunks(n, n_draws):
        own = np.ascontiguousarray(table[:, rows].T)
        smoothed, pareto_k[rows] = smoothed_log_weights(own, relative_efficiency)
        pointwise[rows] = logsumexp(smoothed + own, axis=1)
    seen = logsumexp(table, axis=0) - math.log(n_draws)
    gained = float(mass @ (seen - pointwise))
    highest = min(1 - 1 / math.log10(n_draws), 0.7)
    elpd = total(pointwise, mass, level)
    return PredictiveAccuracy("loo", elpd, gained, pointwise, mass, pareto_k, highest)


def waic(
    log_likelihood: npt.ArrayLike, *, weights: npt.ArrayLike | None = None, level: float = 0.95
) -> PredictiveAccuracy:
    """Correct the density of seen contexts by its posterior variance; arguments as above.

    Watanabe 2010, https://jmlr.org/papers/v11/watanabe10a.html. Leave-one-out has diagnostics and
    this has none, so prefer that.
    """
    table, mass = _table(log_likelihood, weights)
    if len(table) < 2:
        raise InputError("WAIC needs at least two draws; use AIC or BIC for a fit that is a point.")
    variance = table.var(axis=0)
    pointwise = logsumexp(table, axis=0) - math.log(len(table)) - variance
    elpd = total(pointwise, mass, level)
    return PredictiveAccuracy("waic", elpd, float(mass @ variance), pointwise, mass, np.empty(0))


def information_criterion(
    log_likelihood: npt.ArrayLike,
    n_parameters: int,
    *,
    criterion: str = "aic",
    weights: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> PredictiveAccuracy:
    """Correct the log-likelihood at its maximum by the number of parameters.

    On the scale of nats: AIC is −2 times this ``elpd``, BIC −2 times that with ½ log n for each
    parameter in place of 1. Both count parameters as a regular model would; in a mixture with more
    components than the data need, they count too many.

    Parameters
    ----------
    log_likelihood
        (n,) at the maximum, in nats.
    n_parameters
        Free ones.
    criterion
        ``aic`` or ``bic``.
    weights, level
        As above; for BIC, n is the sum of the weights.
    """
    table, mass = _table(np.asarray(log_likelihood, np.float64).reshape(1, -1), weights)
    if criterion not in {"aic", "bic"}:
        raise InputError(f"criterion '{criterion}' is unknown; choose aic or bic.")
    each = 1.0 if criterion == "aic" else 0.5 * math.log(mass.sum())
    penalty = each * n_parameters
    pointwise = table[0] - penalty / mass.sum()
    elpd = total(pointwise, mass, level)
    return PredictiveAccuracy(criterion, elpd, penalty, pointwise, mass, np.empty(0))


def held_out_accuracy(
    log_likelihood: npt.ArrayLike, *, weights: npt.ArrayLike | None = None, level: float = 0.95
) -> PredictiveAccuracy:
    """Average the density of contexts that were not fitted over the draws; arguments as above."""
    table, mass = _table(log_likelihood, weights)
    pointwise = logsumexp(table, axis=0) - math.log(len(table))
    elpd = total(pointwise, mass, level)
    return PredictiveAccuracy("held_out", elpd, math.nan, pointwise, mass, np.empty(0))


def total(pointwise: FloatArray, weights: FloatArray, level: float) -> Estimate:
    """Return the weighted sum of independent terms with its interval, Student's on n − 1."""
    check_level(level)
    n = float(weights.sum())
    mean = float(weights @ pointwise) / n
    variance = float(weights @ (pointwise - mean) ** 2) / max(n - 1, 1)
    error = math.sqrt(n * variance)
    half = error * float(special.stdtrit(max(n - 1, 1), (1 + level) / 2))
    value, size = n * mean, len(pointwise)
    return Estimate(value, error, value - half, value + half, level, math.nan, size, size)


def _bare(number: float, beside: Estimate) -> Estimate:
    nan = math.nan
    return Estimate(number, nan, nan, nan, beside.ci_level, nan, beside.n, beside.n_clusters)


def _table(
    log_likelihood: npt.ArrayLike, weights: npt.ArrayLike | None
) -> tuple[FloatArray, FloatArray]:
    """Return the table, shape (S, n), and the weights, both checked."""
    table = np.asarray(log_likelihood, np.float64)
    if table.ndim not in {2, 3} or 0 in table.shape:
        raise InputError(
            f"log_likelihood has shape {table.shape}; it must be (draws, contexts) or (chains, "
            f"draws, contexts)."
        )
    table = table.reshape(-1, table.shape[-1])
    n = table.shape[1]
    mass = np.ones(n) if weights is None else np.asarray(weights, np.float64)
    if mass.shape != (n,) or not (np.isfinite(mass) & (mass >= 0)).all() or mass.sum() <= 0:
        raise InputError(f"weights must be {n} numbers of at least 0, one above.")
    bad = np.argwhere(~np.isfinite(table))
    if bad.size:
        raise InputError(
            f"log_likelihood of context {bad[0][1]} is {table[*bad[0]]} at draw {bad[0][0]}; it "
            f"must be finite."
        )
    return table, mass


def _chunks(n: int, n_draws: int) -> list[slice]:
    step = max(1, CELLS // n_draws)
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]
