"""Data sets that the fitted model would have produced in place of the observed one."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concept_ppl.contexts.tokens import UNOBSERVED, as_contexts
from concept_ppl.inference.simulation import simulate
from concept_ppl.programs.graph_assembly import Model

from .fits import Fit
from .fitted_models import draws_of
from .observations import Observations

SEEDS = 2**31


def replicate(
    model: Model,
    fit: Fit,
    observed: Observations,
    n_replicates: int,
    seed: int,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, NDArray[np.int64]]:
    """Draw from the posterior predictive distribution of everything that was observed.

    Each replicate has the lengths of the observed contexts, and the same positions unobserved; it
    is drawn at one posterior draw, at the point of a fit that is one.

    Parameters
    ----------
    model
        The program that was fitted.
    fit, observed
        The fit, and what it has seen.
    n_replicates, seed
        How many, and the seed that draws them.
    progress
        Called with (replicates done, replicates in all).

    Returns
    -------
    dict of str to int64 array
        ``x``, shape (n_replicates, sum of lengths), context after context, and each observed
        next-token site, shape (n_replicates, n_contexts).
    """
    draws = draws_of(fit, n_replicates)
    seeds = np.random.default_rng(seed).integers(SEEDS, size=n_replicates)
    hidden = observed.contexts.tokens == UNOBSERVED
    rows: dict[str, list[Any]] = {name: [] for name in ("x", *observed.next_tokens)}
    for number, own in enumerate(seeds):
        drawn = simulate(
            model,
            len(observed),
            lengths=observed.contexts.lengths,
            seed=int(own),
            values=draws[number * len(draws) // n_replicates],
        )
        rows["x"].append(np.where(hidden, UNOBSERVED, as_contexts(drawn[["x"]]).tokens))
        for name, index in observed.next_tokens.items():
            rows[name].append(np.where(index == UNOBSERVED, UNOBSERVED, drawn[name]))
        if progress is not None:
            progress(number + 1, n_replicates)
    return {name: np.stack(found).astype(np.int64) for name, found in rows.items()}
