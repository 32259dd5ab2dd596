"""Rows that are there twice: copies in other folds are no held-out data."""

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .arrays import FloatArray, check_contrasts
from .decomposition import DecomposedStates
from .ridge.state_rows import rows_of


def contrasts_beside(
    states: DecomposedStates, Z: npt.ArrayLike, names: Sequence[str] | None = None
) -> tuple[FloatArray, tuple[str, ...]]:
    """Check Z beside the states, as `check_contrasts`, and warn of rows of (F, Z) that repeat.

    Raises
    ------
    InputError
        As `check_contrasts`.
    """
    contrasts, labels = check_contrasts(Z, states.design.n, names)
    warn_of_repeats(states, contrasts)
    return contrasts, labels


def warn_of_repeats(states: DecomposedStates, Z: npt.NDArray[np.generic]) -> None:
    """Say how many rows of (F, Z) are exact copies, where neither clusters nor weights are given.

    The warning is the same for every analysis of the same rows, so that Python shows it once.
    """
    if not states.design.is_plain:
        return
    n = states.design.n
    targets = np.asarray(Z, np.float64).reshape(n, -1)
    distinct = len(np.unique(states.hashes + rows_of(targets).hashes(seed=1)))
    if distinct == n:
        return
    warnings.warn(
        f"{n - distinct:,} of {n:,} rows of (F, Z) are exact copies of another row, and no "
        "clusters are given: copies lie in different folds, where they are not held out, and "
        "intervals count them as new. Give clusters, one label for each distinct context; or keep "
        "one row of each and give weights, how often it occurs.",
        UserWarning,
        stacklevel=1,
    )
