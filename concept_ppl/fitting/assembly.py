"""What a method hands over, evaluated at every draw, its labels matched, put together as a fit."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from concept_ppl.fitting.fits.fits import Array, Fit
from concept_ppl.fitting.fits.symmetries import find_symmetries, match_draws
from concept_ppl.fitting.likelihoods.likelihood import Likelihood
from concept_ppl.fitting.likelihoods.row_counts import n_free
from concept_ppl.programs.graph_assembly import Model

MOST_KEPT = 2**27
"""Cells of ``log_likelihood`` that are kept: 1 GiB."""


@dataclass
class Found:
    """Draws, and what a method knows of them.

    Attributes
    ----------
    draws : dict of str to float64 array, shape (n_chains, n_draws, *shape)
    stats, warmup, history, restarts, errors, converged, warnings
        As in :class:`~concept_ppl.fitting.Fit`.
    log_evidence : float64 array, shape (n_chains, n_draws), or None
        Where the method has computed it already.
    """

    draws: dict[str, Array]
    stats: dict[str, NDArray[Any]] = field(default_factory=dict)
    warmup: dict[str, Array] = field(default_factory=dict)
    history: tuple[Array, ...] = ()
    restarts: Array = field(default_factory=lambda: np.empty(0))
    errors: dict[str, Array] = field(default_factory=dict)
    log_evidence: Array | None = None
    converged: bool = True
    warnings: list[str] = field(default_factory=list)


def assembled(
    model: Model,
    likelihood: Likelihood,
    options: dict[str, Any],
    found: Found,
    known: Sequence[str],
    keep: bool,
) -> Fit:
    """Evaluate every draw, match the names of values, and put the fit together."""
    program = likelihood.program
    shape = next(iter(found.draws.values())).shape[:2]
    log_evidence, lp = np.empty(shape), np.empty(shape)
    keep_each = keep and int(np.prod(shape)) * likelihood.n_contexts <= MOST_KEPT
    each = np.empty((*shape, likelihood.n_contexts)) if keep_each else None
    for place in np.ndindex(*shape):
        values = {name: torch.from_numpy(np.asarray(d[place])) for name, d in found.draws.items()}
        if each is None and found.log_evidence is not None:
            log_evidence[place] = found.log_evidence[place]
        else:
            own = likelihood.each(values)
            weights = likelihood.own_weights
            log_evidence[place] = np.nansum(own if weights is None else own * weights)
            if each is not None:
                each[place] = own
        with torch.no_grad():
            lp[place] = log_evidence[place] + float(program.log_prior(values))
    best = np.unravel_index(lp.argmax(), lp.shape)
    reference = {name: torch.from_numpy(np.asarray(d[best])) for name, d in found.draws.items()}
    symmetries = find_symmetries(program, known, likelihood.observed_next)
    matched, matches = match_draws(program, symmetries, found.draws, reference)
    if keep and each is None:
        found.warnings.append("log_likelihood is too large to keep; give fewer draws.")
    return Fit(
        method=options["method"],
        model=getattr(model, "source", program.name),
        build=dict(getattr(model, "parameters", {})),
        options=options,
        shapes={name: p.shape for name, p in program.parameters.items()},
        draws=found.draws,
        matches=matches,
        matched=matched,
        sample_stats={"lp": lp, **found.stats},
        log_likelihood=each,
        log_evidence=log_evidence,
        n_parameters=n_free(likelihood),
        n_contexts=likelihood.n_contexts,
        n_tokens=likelihood.n_tokens,
        weights=likelihood.own_weights,
        history=found.history,
        restarts=found.restarts,
        standard_errors=found.errors,
        warmup=found.warmup,
        converged=found.converged,
        warnings=tuple(found.warnings),
    )
