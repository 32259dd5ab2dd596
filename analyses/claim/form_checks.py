"""What `posterior_form` is given, checked: a grid of powers and log-probabilities of concepts."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

from concept_ppl.analyses.designs.arrays import FloatArray, check_contrasts
from concept_ppl.errors import InputError

from .power_path import contrasts

ENDS = (0.0, 1.0)
NORMALISED = 1e-6
LARGEST = 1e8
"""Largest p^α, α < 0, whose contrasts are still far from collinear to rounding."""


def check_powers(powers: Sequence[float]) -> FloatArray:
    """Refuse a grid that is short, not ascending, or lacks an end of the question."""
    grid = np.asarray(powers, dtype=np.float64)
    if grid.ndim != 1 or len(grid) < 4 or not np.all(np.diff(grid) > 0):
        raise InputError(f"powers are {tuple(powers)}; give at least four, ascending.")
    missing = [end for end in ENDS if end not in grid]
    if missing:
        raise InputError(f"powers lack {missing[0]:g}; both ends of the question must be there.")
    return grid


def check_concepts(
    log_p: npt.ArrayLike | Sequence[npt.ArrayLike], n: int
) -> tuple[FloatArray, ...]:
    """One array (n, K) a concept, normalised and without zeros."""
    tables = log_p if isinstance(log_p, list | tuple) else [log_p]
    concepts = tuple(np.asarray(table, dtype=np.float64) for table in tables)
    for i, table in enumerate(concepts):
        where = f"log_p of concept {i}"
        if table.ndim != 2 or table.shape[1] < 2 or len(table) != n:
            raise InputError(
                f"{where} has shape {table.shape}; it must be ({n}, values), two values or more."
            )
        zero = np.argwhere(np.isneginf(table))
        if zero.size:
            rows = np.unique(zero[:, 0])
            raise InputError(
                f"{where} is −inf at row {zero[0, 0]}, value {zero[0, 1]} ({len(rows)} rows in "
                "all); a log-posterior has no value there. Leave these rows out of F and log_p."
            )
        off = np.flatnonzero(~(np.abs(special.logsumexp(table, axis=1)) < NORMALISED))
        if off.size:
            raise InputError(
                f"{where} does not sum to one at row {off[0]}; give log-probabilities of all "
                "values, in nats."
            )
    return concepts


def askable(concepts: Sequence[FloatArray], powers: FloatArray) -> FloatArray:
    """Leave out powers whose contrasts would be collinear to rounding.

    Below 0, p^α of a sharp posterior is a few huge numbers; such powers are of no interest in
    themselves.
    """
    least = min(float(table.min()) for table in concepts)
    return np.asarray(powers[powers * least <= math.log(LARGEST)])


def checked_contrasts(concepts: Sequence[FloatArray], alpha: float, n: int) -> FloatArray:
    """Contrasts (n, q) at one power.

    Raises
    ------
    InputError
        If they are constant or collinear.
    """
    try:
        return check_contrasts(contrasts(concepts, alpha), n)[0]
    except InputError as error:
        raise InputError(f"At power {alpha:g} of the posterior: {error}") from error
