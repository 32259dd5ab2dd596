"""What analyses regress on, from a posterior table: log-odds that vary, log-probabilities, MAP."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from concept_ppl.analyses.worlds.world_powers import most_probable
from concept_ppl.contexts.posterior_tables import concept_columns, log_odds
from concept_ppl.errors import InputError

Array = NDArray[np.float64]


def varying_log_odds(posterior: pd.DataFrame, name: str = "the posterior") -> pd.DataFrame:
    """Return the log-odds of a posterior table, all of them finite and none constant.

    Parameters
    ----------
    posterior
        A posterior table.
    name
        What messages call it.

    Raises
    ------
    InputError
        If log-odds are infinite or undefined in a row, or the same in every row.
    """
    try:
        odds = log_odds(posterior)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    values = odds.to_numpy(np.float64)
    infinite = np.argwhere(~np.isfinite(values))
    if len(infinite):
        row, column = infinite[0]
        raise InputError(
            f"{name}, row {row}: the log-odds {odds.columns[column]} are infinite; a value is "
            f"impossible there, so leave such rows out or give the model no zeros."
        )
    constant = np.flatnonzero((values == values[0]).all(axis=0))
    if len(constant):
        raise InputError(
            f"{name}: the log-odds {odds.columns[constant[0]]} are the same in every row, so no "
            f"state can tell them; give contexts that differ, or leave the concept out."
        )
    return odds


def log_posteriors(posterior: pd.DataFrame) -> list[Array]:
    """Return log p of every value, nats, an array (n, K) for each concept."""
    return [posterior[names].to_numpy(np.float64) for names in concept_columns(posterior).values()]


def map_one_hot(posterior: pd.DataFrame) -> Array:
    """Return an indicator of each concept's most probable value, all but the first, per row."""
    return np.hstack([most_probable(table) for table in log_posteriors(posterior)])
