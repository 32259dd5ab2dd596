"""How well does a linear probe name the concept, and how far is it from the best there is?"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from concept_ppl.analyses.designs.arrays import FloatArray, IntArray, check_level
from concept_ppl.analyses.designs.decomposition import States, as_decomposed
from concept_ppl.analyses.designs.design import Design
from concept_ppl.analyses.designs.intervals import share_of_cases
from concept_ppl.analyses.designs.repeats import warn_of_repeats
from concept_ppl.analyses.designs.shares import difference
from concept_ppl.analyses.results.figures import Panel
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row
from concept_ppl.errors import InputError

from .calibration import Calibration, calibration
from .logistic import logistic_cross_fit

NORMALISED_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Reader:
    """How well a distribution over the values names the value of each context; no test.

    Attributes
    ----------
    accuracy
        Share of contexts whose value is the most probable one; its interval is that of
        `share_of_cases`, a gap's that of a mean.
    log_loss
        Mean of −log p(value), in nats.
    """

    accuracy: Estimate
    log_loss: Estimate


@dataclass(frozen=True, slots=True)
class Probe(Result):
    """A held-out logistic probe beside the exact posterior.

    Attributes
    ----------
    probe
        Of the probe's held-out probabilities.
    calibration
        Of the same.
    bayes
        Of the exact posterior, on the same contexts; None without one.
    gap
        Probe minus Bayes, paired: accuracy, below zero where the probe is worse, and log-loss in
        nats, above zero where it is worse; p-values two-sided, of no difference. None without a
        posterior.
    concept, layer
        Labels that the caller gave.
    inverse_penalties
        C that the training folds of each fold chose.
    unconverged
        How many of the final fits reached the limit of iterations.
    """

    probe: Reader
    calibration: Calibration
    bayes: Reader | None
    gap: Reader | None
    concept: str
    layer: str
    inverse_penalties: tuple[float, ...]
    unconverged: int

    @property
    def title(self) -> str:
        """Say what was asked."""
        return f"Held-out logistic probe of {self.concept}"

    def rows(self) -> Iterator[Row]:
        """Accuracy and log-loss of the probe, of Bayes, and their gap; then the calibration."""
        controls = {"probe": "", "Bayes": "bayes", "probe − Bayes": "bayes"}
        for name, reader in self._readers():
            suffix = "_difference" if reader is self.gap else ""
            for quantity in ("accuracy", "log_loss"):
                value = getattr(reader, quantity)
                yield Row(
                    "probe", quantity + suffix, self.concept, value, self.layer, controls[name]
                )
        yield from self.calibration.rows("probe", self.concept, self.layer)

    def panel(self) -> Panel:
        """Reliability curve: how often the probe is right, by how sure it is."""
        return self.calibration.panel()

    def lines(self) -> Iterator[str]:
        """List accuracy and log-loss, Bayes beside the probe, and the calibration."""
        for name, reader in self._readers():
            yield f"  accuracy {name}  {reader.accuracy}"
            yield f"  log-loss {name}  {reader.log_loss} nats"
        yield f"  {self.calibration}"
        if self.unconverged:
            yield f"  {self.unconverged} final fits did not converge; read with care"

    def _readers(self) -> Iterator[tuple[str, Reader]]:
        named = (("probe", self.probe), ("Bayes", self.bayes), ("probe − Bayes", self.gap))
        return ((name, reader) for name, reader in named if reader is not None)


def probe(
    F: States,
    concept_values: npt.ArrayLike,
    *,
    log_posterior: npt.ArrayLike | None = None,
    n_components: int | None = None,
    n_bins: int = 15,
    weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    concept: str = "concept",
    layer: str = "",
    n_folds: int = 5,
    seed: int = 0,
    level: float = 0.95,
) -> Probe:
    """Fit a multinomial logistic probe of a concept's value, held out, beside the exact posterior.

    **Accuracy cannot tell the log-posterior from any other monotone code of it**, nor from a code
    that only says which value leads; it is never the headline (see `goodness_of_fit` and
    `canonical_correlations` for that). What it is good for: a probe that is no worse than Bayes, in
    log-loss, reads off the states all that the context says about the concept.

    L2-penalised maximum likelihood in the principal components of the training folds, its penalty
    nested, chosen by log-loss. The answer is the same for every rotation, scaling and translation
    of F. With fewer components than coordinates it is fitted faster, and whatever the others say is
    lost: a probe of 128 of 576 components can miss a concept that varies little.

    Values are drawn given the context, so that the Bayes reader too is wrong at times: gaps are
    paired by context, with cluster-robust intervals, and probes count as fitted.

    Parameters
    ----------
    F
        (n, d) states, or the result of `decompose_states`, whose design is then used.
    concept_values
        (n,) integers 0 … K − 1, the value of the concept in each context.
    log_posterior
        (n, K) exact log p(value | context), nats.
    n_components
        How many principal components the probe sees at most; all by default.
    n_bins
        Bins of equal mass of the reliability curve.
    weights, clusters, layer, n_folds, seed, level
        As in `goodness_of_fit`; the seed draws calibrated labels too.
    concept
        Name for the tables.

    Raises
    ------
    InputError
        If values are not codes 0 … K − 1 with K ≥ 2, or one of them is missing from a training set;
        if the posterior has another shape or does not sum to one; and as `decompose_states`.
    """
    check_level(level)
    if (n_components is not None and n_components < 1) or n_bins < 2:
        raise InputError("n_components must be at least 1 and n_bins at least 2.")
    states = as_decomposed(F, weights, clusters, n_folds, seed)
    design = states.design
    values = _check_values(concept_values, design)
    warn_of_repeats(states, values)
    fit = logistic_cross_fit(states, values, n_components)
    log_p = fit.log_p
    bayes = gap = None
    hits, losses = _scores(log_p, values)
    if log_posterior is not None:
        exact = _check_posterior(log_posterior, design.n, log_p.shape[1])
        best_hits, best_losses = _scores(exact, values)
        bayes = _reader(best_hits, best_losses, design, level)
        gap = Reader(
            _mean(hits - best_hits, design, level), _mean(losses - best_losses, design, level)
        )
    return Probe(
        _reader(hits, losses, design, level),
        calibration(log_p, values, design, n_bins=n_bins, seed=seed, level=level),
        bayes,
        gap,
        concept,
        layer,
        fit.inverse_penalties,
        fit.unconverged,
    )


def _check_values(concept_values: npt.ArrayLike, design: Design) -> IntArray:
    """Return the values as codes 0 … K − 1, each of them in every training set."""
    found = np.asarray(concept_values)
    if found.shape != (design.n,):
        raise InputError(
            f"concept_values has shape {found.shape}; it must be ({design.n},), one a row of F."
        )
    if found.dtype.kind not in "iub" or found.min() < 0 or found.max() < 1:
        raise InputError("concept_values must be integers 0 … K − 1, at least two of them.")
    values = found.astype(np.int64)
    n_values = int(values.max()) + 1
    for pair in combinations(range(design.n_folds), 2):
        seen = np.bincount(values[~np.isin(design.folds, pair)], minlength=n_values)
        if not seen.all():
            raise InputError(
                f"Value {int(np.argmin(seen))} does not occur without the rows of two folds; "
                "merge rare values or give more contexts."
            )
    return values


def _check_posterior(log_posterior: npt.ArrayLike, n: int, n_values: int) -> FloatArray:
    exact = np.asarray(log_posterior, dtype=np.float64)
    if exact.shape != (n, n_values):
        raise InputError(f"log_posterior has shape {exact.shape}; it must be ({n}, {n_values}).")
    sums = np.exp(exact).sum(axis=1)
    bad = np.flatnonzero(~(np.abs(sums - 1.0) <= NORMALISED_TOLERANCE))
    if bad.size:
        raise InputError(
            f"The probabilities of log_posterior sum to {sums[bad[0]]:.6g} at row {bad[0]}, not 1."
        )
    return exact


def _scores(log_p: FloatArray, values: IntArray) -> tuple[FloatArray, FloatArray]:
    """Whether each row's value is the most probable one, and −log of its probability, (n,) both."""
    hits = (log_p.argmax(axis=1) == values).astype(np.float64)
    return hits, -log_p[np.arange(len(values)), values]


def _reader(hits: FloatArray, losses: FloatArray, design: Design, level: float) -> Reader:
    """Estimates without a p-value: that an accuracy is zero is nobody's null."""
    log_loss = replace(_mean(losses, design, level), p_value=math.nan)
    return Reader(share_of_cases(hits, design, level), log_loss)


def _mean(values: FloatArray, design: Design, level: float) -> Estimate:
    """Weighted mean with its cluster interval; p-value two-sided, of zero."""
    return difference(values, np.ones(design.n), design, level)
