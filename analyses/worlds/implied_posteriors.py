"""Whose posterior: which weights of the concepts do a predictor's own next tokens imply?

A Bayes-optimal predictor has p(y | x) = Σ_c p(c | x) p(y | c). Of any predictor, pretrained on
whatever text, the same equation can be asked for the weights that come nearest:

    w(x) = argmin KL( p_model(y | x) ‖ Σ_c w_c p(y | c) ).

They are the maximum-likelihood weights of a mixture with known parts, a convex problem with one
solution where the rows p(y | c) are independent. For Bayes they are the exact posterior. How far
they are from it otherwise, is `beliefs`; whether states are affine in their logarithms is asked by
the analyses that take any contrasts, with `ImpliedPosterior.log_odds` in place of the exact ones.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import special

from concept_ppl.analyses.designs.arrays import FloatArray, check_level
from concept_ppl.analyses.designs.design import Design, make_design
from concept_ppl.analyses.designs.shares import cluster_mean, cluster_proportion, difference
from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row
from concept_ppl.errors import InputError

from .exact_fit import FEWEST_FOLDS, exact

if TYPE_CHECKING:
    from torch import Tensor

TOLERANCE = 1e-9
"""Largest duality gap, in nats, of weights that count as found."""
SAME = 1e-12
"""Mean KL, in nats, below which one mixture fits all contexts, and nothing can be explained."""


@dataclass(frozen=True, slots=True, eq=False)
class ImpliedPosterior(Result):
    """The weights that each context's predictive implies, and how well they fit it.

    Attributes
    ----------
    kl
        Mean over contexts of KL(p_model ‖ mixture) in nats, on the tokens that some value emits.
    explained
        One minus the ratio of this mean to that of the one mixture that fits all contexts best: the
        share of its misfit that weights of each context's own take away. None where the rows
        p(y | c) depend on the context, or the one mixture is no misfit.
    mass
        Mean share of the model's probability on the tokens that some value emits.
    boundary
        Share of contexts in which a weight is zero, so that its logarithm is −∞.
    mean_weights
        Mean weight of each value, by its name.
    condition
        Of the rows p(y | c), which have full rank: largest over smallest singular value, the worst
        context's where they depend on it.
    largest_gap
        Largest duality gap of any context, in nats: what the likelihood could still rise by.
    errors
        ``misfit`` or ``sampling``: what the standard errors are of.
    log_weights
        (n, C) log w, −∞ where a weight is zero.
    std_errors, df
        (n, C) of the weights (not their logarithms), NaN where a weight is zero and, of misfit,
        where there are as many weights as tokens; and the degrees of freedom of their Student's
        quantiles.
    kl_of_each, mass_of_each
        (n,) KL and mass of each context.
    layer
        Label that the caller gave.
    """

    kl: Estimate
    explained: Estimate | None
    mass: Estimate
    boundary: Estimate
    mean_weights: tuple[tuple[str, Estimate], ...]
    condition: float
    largest_gap: float
    errors: str
    log_weights: FloatArray = field(repr=False)
    std_errors: FloatArray = field(repr=False)
    df: FloatArray = field(repr=False)
    kl_of_each: FloatArray = field(repr=False)
    mass_of_each: FloatArray = field(repr=False)
    layer: str = ""

    @property
    def interior(self) -> npt.NDArray[np.bool_]:
        """Which contexts, (n,), have no weight at zero: those that have log-odds."""
        return np.asarray(np.isfinite(self.log_weights).all(axis=1))

    @property
    def median_std_error(self) -> float:
        """Median standard error of the weights that have one; NaN where none has."""
        known = self.std_errors[np.isfinite(self.std_errors)]
        return float(np.median(known)) if known.size else math.nan

    def log_odds(self) -> FloatArray:
        """Contrasts log w_c − log w_0 of the interior contexts, (n_interior, C − 1)."""
        inner = self.log_weights[self.interior]
        return np.asarray(inner[:, 1:] - inner[:, :1])

    def intervals(self, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """Intervals of every weight, (n, C) each, symmetric on the scale of its log-odds.

        NaN where there is no standard error.
        """
        check_level(level)
        with np.errstate(divide="ignore", invalid="ignore"):
            weights = np.exp(self.log_weights)
            reach = special.stdtrit(np.minimum(self.df, 1e9), 0.5 + level / 2.0) * self.std_errors
            odds, wide = special.logit(weights), reach / (weights * (1.0 - weights))
            return special.expit(odds - wide), special.expit(odds + wide)

    @property
    def title(self) -> str:
        """Say what was asked."""
        return "Posterior that the predictive implies"

    @property
    def headline(self) -> str:
        """Say of how many values and contexts."""
        return (
            f"Posterior of {len(self.mean_weights)} values that the predictives of {self.kl.n:,} "
            "contexts imply"
        )

    def rows(self) -> Iterator[Row]:
        """Fit, mass and boundary with intervals; mean weights; then what identifies them."""

        def row(quantity: str, value: Estimate, term: str = "weights") -> Row:
            return Row("implied_posterior", quantity, term, value, self.layer)

        yield row("kl", self.kl)
        if self.explained is not None:
            yield row("explained", self.explained)
        yield row("mass", self.mass)
        yield row("boundary", self.boundary)
        for name, value in self.mean_weights:
            yield row("mean_weight", value, name)
        for quantity, number in (
            ("rank", float(len(self.mean_weights))),
            ("condition", self.condition),
            ("largest_gap", self.largest_gap),
            (f"median_std_error_{self.errors}", self.median_std_error),
        ):
            yield row(quantity, exact(number, self.kl.n))

    def lines(self) -> Iterator[str]:
        """State fit, mass, boundary, weights and errors."""
        yield f"  KL of predictive to mixture  {self.kl} nats"
        if self.explained is not None:
            yield f"  explained                    {self.explained}"
        yield f"  mass on the tokens           {self.mass}"
        yield f"  contexts with a weight at 0  {self.boundary}"
        for name, value in self.mean_weights:
            yield f"  mean weight of {name}: {value}"
        yield (
            f"  rows p(y | c): rank {len(self.mean_weights)}, condition {self.condition:.3g}; "
            f"largest duality gap {self.largest_gap:.1e} nats"
        )
        yield f"  median standard error of a weight, of {self.errors}: {self.median_std_error:.2g}"

    def panel(self) -> Panel:
        """Forest plot of what is explained, the mass, and the mean weights."""
        entries = [("explained", self.explained)] if self.explained is not None else []
        entries += [("mass", self.mass), *self.mean_weights]
        return forest(entries, "share")


def implied_posterior(
    log_predictive: npt.ArrayLike,
    log_emission: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    *,
    values: Sequence[str] | None = None,
    n_draws: float | npt.ArrayLike | None = None,
    smoothing: float = 0.0,
    tolerance: float = TOLERANCE,
    device: str = "cpu",
    layer: str = "",
    level: float = 0.95,
) -> ImpliedPosterior:
    """Fit each context's weights w with p_model(y | x) ≈ Σ_c w_c p(y | c) by maximum likelihood.

    Two kinds of error, neither of which is the difference from the exact posterior:

    - ``misfit`` (default): the predictive is known, and is the mixture times a factor of each
      token's own, independent with mean one and of any sizes. Errors of a regression over tokens.
    - ``sampling``, with ``n_draws``: the predictive was counted from so many drawn tokens.

    Both are of regular estimates: where a weight is zero there is none, and as many weights as
    tokens leave no misfit to be seen.

    Parameters
    ----------
    log_predictive
        (n, V) log p_model(y | x) in nats, of all next tokens or of some; each row is normalised
        over the tokens that some value emits, and their mass is reported.
    log_emission
        (C, V) log p(y | c) in nats of the same tokens, −∞ where a value never emits one; or
        (n, C, V) where that depends on the context. Rows sum to one.
    weights, clusters
        (n,) p(x) of the contexts, equal by default; labels of independent units, by default each
        context its own.
    values
        Names of the C values; ``0, 1, …`` by default.
    n_draws
        Number of draws behind each predictive, one for all or (n,).
    smoothing
        Share of further tokens that each predictive is given, of which each names one value, and
        all values as often: maximises Σ_y q log m + smoothing · mean_c log w_c. Above 0 every
        weight is, and every context has log-odds, at the price that weights are drawn to each other
        and that those of Bayes are no longer the posterior; vary it, to see what rests on it.
    tolerance
        Largest duality gap of a context, in nats.
    device
        Where to compute, as torch names it; always in float64.
    layer
        Label for the tidy table.
    level
        Confidence level.

    Raises
    ------
    InputError
        If shapes do not fit; a row is no distribution; the model puts no mass on the tokens; or
        rows of ``log_emission`` are combinations of each other (these are named).
    """
    import torch

    from .mixture_inputs import (
        as_numpy,
        condition_number,
        draws_of_each,
        predictives_and_rows,
        value_names,
    )
    from .mixture_likelihoods import mixture_weights
    from .weight_errors import misfit_errors, sampling_errors

    check_level(level)
    if not 0.0 <= smoothing < math.inf:
        raise InputError(f"smoothing is {smoothing}; it is a share of tokens, 0 or more.")
    q, mass, P = predictives_and_rows(log_predictive, log_emission, device)
    n, names = len(q), value_names(values, P.shape[-2])
    design = make_design(n, weights=weights, clusters=clusters, n_folds=FEWEST_FOLDS)
    condition = condition_number(P, names)
    found = mixture_weights(q, P, tolerance=tolerance, smoothing=smoothing)
    _warn_of_gaps(found.gaps, tolerance)
    if n_draws is None:
        errors = misfit_errors(q, P, found.weights, smoothing)
    else:
        draws = torch.as_tensor(draws_of_each(n_draws, n), device=device)
        errors = sampling_errors(q, P, found.weights, draws, smoothing)
    one = _kl_of_one_mixture(q, P, design, tolerance) if P.ndim == 2 else None
    w, kl, of_mass = (as_numpy(part) for part in (found.weights, found.kl, mass))
    with np.errstate(divide="ignore"):
        log_weights = np.log(w)
    return ImpliedPosterior(
        kl=cluster_mean(kl, design, level),
        explained=_explained(kl, one, design, level),
        mass=cluster_mean(of_mass, design, level),
        boundary=cluster_proportion((w == 0).any(axis=1), design, level),
        mean_weights=tuple(
            (name, cluster_mean(column, design, level))
            for name, column in zip(names, w.T, strict=True)
        ),
        condition=condition,
        largest_gap=float(found.gaps.max()),
        errors="misfit" if n_draws is None else "sampling",
        log_weights=log_weights,
        std_errors=as_numpy(errors.std_errors),
        df=as_numpy(errors.df),
        kl_of_each=kl,
        mass_of_each=of_mass,
        layer=layer,
    )


def _explained(
    kl: FloatArray, one: FloatArray | None, design: Design, level: float
) -> Estimate | None:
    if one is None or np.average(one, weights=design.weights) <= SAME:
        return None
    return replace(difference(one - kl, one, design, level), p_value=math.nan)


def _kl_of_one_mixture(q: "Tensor", P: "Tensor", design: Design, tolerance: float) -> FloatArray:
    """KL (n,) of each predictive to the mixture with the weights that fit all contexts together."""
    import torch

    from .mixture_inputs import as_numpy
    from .mixture_likelihoods import kl_to_mixture, mixture_weights

    share = torch.as_tensor(design.weights / design.n, device=q.device)
    together = mixture_weights((share @ q)[None], P, tolerance=tolerance)
    return as_numpy(kl_to_mixture(q, P, together.weights))


def _warn_of_gaps(gaps: "Tensor", tolerance: float) -> None:
    missed = int((~(gaps <= tolerance)).sum())
    if missed:
        warnings.warn(
            f"The weights of {missed} contexts are not found to the tolerance of {tolerance:g} "
            f"nats; the largest duality gap is {float(gaps.max()):.2g}.",
            UserWarning,
            stacklevel=3,
        )
