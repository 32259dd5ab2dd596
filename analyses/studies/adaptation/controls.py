"""What stands beside a language model's states: what of the text no training was needed for.

One function names all controls, so that a richer family of token readers takes its place here.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from concept_ppl.bridge import States
from concept_ppl.bridge.anatomy.sites import EMBEDDING, EMBEDDING_MEAN, EMBEDDING_SUM

States32 = NDArray[np.float32]

SITES: Sequence[str] = (EMBEDDING, EMBEDDING_SUM, EMBEDDING_MEAN)
"""Sites that the controls are read from."""


def control_states(states: States, untrained: States32) -> Mapping[str, States32]:
    """Return each control's array, a row a context.

    Parameters
    ----------
    states
        Of the language model, `SITES` among them.
    untrained
        Of the same architecture with random weights, where the headline is read.
    """
    return {
        "bag of tokens, sum": states[EMBEDDING_SUM],
        "bag of tokens, mean": states[EMBEDDING_MEAN],
        "last token": states[EMBEDDING],
        "untrained network": untrained,
    }
