"""Further controls that a user names: states that the bridge extracted, or anybody's matrix."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from concept_ppl.bridge import load_states
from concept_ppl.contexts.matrices import read_matrix
from concept_ppl.errors import InputError


def control_states(path: str | Path, site: str) -> NDArray[np.float32]:
    """Read a matrix (n, d) from a file, or the states at one site from a folder of `extract`.

    Raises
    ------
    InputError
        If it is neither, or the folder has no such site.
    """
    if not Path(path).is_dir():
        return read_matrix(path)
    states = load_states(path)
    if site not in states.sites:
        raise InputError(f"{path} has no site '{site}'; it has: {', '.join(states.sites)}.")
    return states[site]
