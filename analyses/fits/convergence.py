"""Do the chains agree, and how many independent draws are they worth?"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from concept_ppl.analyses.designs.arrays import FloatArray
from concept_ppl.arviz_import import arviz

FEWEST_DRAWS = 4


def relative_efficiency(draws: Mapping[str, FloatArray]) -> float:
    """Return the mean effective share of the draws, (chains, draws, …) of each parameter.

    A parameter that does not move has no effective draws and is left out; one chain counts as
    independent draws, as ArviZ has it.
    """
    first = next(iter(draws.values()))
    if first.shape[0] == 1:
        return 1.0
    n_draws = math.prod(first.shape[:2])
    whole = np.concatenate([effective_draws(own).ravel() for own in draws.values()]) / n_draws
    return float(whole[np.isfinite(whole)].mean()) if np.isfinite(whole).any() else 1.0


def effective_draws(values: FloatArray, method: str = "mean") -> FloatArray:
    """Return ArviZ's effective number of draws of each number, (chains, draws, …) to (…)."""
    return _by_number(values, lambda own: arviz().ess(own, method=method))


def r_hat(values: FloatArray) -> FloatArray:
    """Return the rank-normalised split R̂ of each number, (chains, draws, …) to (…).

    Vehtari et al. 2021, https://doi.org/10.1214/20-BA1221: 1 where the chains agree; above 1.01
    they do not. One chain is compared with itself, its first half with its second.
    """
    if values.shape[0] == 1:
        half = values.shape[1] // 2
        values = np.concatenate([values[:, :half], values[:, half : 2 * half]])
    return _by_number(values, lambda own: arviz().rhat(own))


def _by_number(values: FloatArray, statistic: Callable[[FloatArray], float]) -> FloatArray:
    flat = values.reshape(*values.shape[:2], -1)
    found = np.full(flat.shape[2], np.nan)
    for column in range(flat.shape[2]):
        own = flat[:, :, column]
        if values.shape[1] >= FEWEST_DRAWS and np.ptp(own) > 0:
            found[column] = statistic(own)
    return found.reshape(values.shape[2:])
