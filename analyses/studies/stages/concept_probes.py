"""What a classifier can say of each concept, beside the exact posterior."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from concept_ppl.analyses import DecomposedStates, Probe, probe
from concept_ppl.contexts.posterior_tables import concept_columns, value_of
from concept_ppl.errors import InputError


def concept_probes(
    F: DecomposedStates,
    posterior: pd.DataFrame,
    values: Mapping[str, Sequence[object]],
    *,
    layer: str,
    seed: int,
    level: float,
) -> tuple[Probe, ...]:
    """Probe each concept whose true value is known, at one site.

    Parameters
    ----------
    F
        Decomposed states.
    posterior
        A posterior table, rows as the states.
    values
        For each concept its value in every row, as the posterior's columns name it.

    Raises
    ------
    InputError
        If a value is none of the posterior's.
    """
    columns = concept_columns(posterior)
    return tuple(
        probe(
            F,
            _codes(concept, own, [value_of(name) for name in columns[concept]]),
            log_posterior=posterior[columns[concept]].to_numpy(np.float64),
            concept=concept,
            layer=layer,
            seed=seed,
            level=level,
        )
        for concept, own in values.items()
    )


def _codes(concept: str, own: Sequence[object], names: list[str]) -> NDArray[np.int64]:
    codes = pd.Categorical([str(value) for value in own], categories=names).codes
    unknown = np.flatnonzero(codes < 0)
    if unknown.size:
        raise InputError(
            f"{concept} is '{own[unknown[0]]}' in row {unknown[0]}; the posterior knows "
            f"{', '.join(names)}."
        )
    return codes.astype(np.int64)
