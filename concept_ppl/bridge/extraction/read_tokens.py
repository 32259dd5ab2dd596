"""Which tokens a language model sees of contexts, and at which of them its states are read."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from concept_ppl.bridge.anatomy.language_model import LanguageModel
from concept_ppl.errors import InputError

from .positions import Positions, readings


@dataclass(frozen=True, slots=True, eq=False)
class ReadTokens:
    """The contexts' own tokens, without the prefix.

    Attributes
    ----------
    tokens
        (Σ lengths,) ids in the model's vocabulary, context after context.
    lengths
        (n_contexts,) of the contexts.
    read
        (n_rows,) ascending places among all tokens at which states are read.
    """

    tokens: NDArray[np.int64]
    lengths: NDArray[np.int64]
    read: NDArray[np.int64]


def read_tokens(
    language_model: LanguageModel,
    texts: Sequence[str],
    *,
    positions: Positions = "last",
    marks: Sequence[Sequence[int]] | None = None,
) -> ReadTokens:
    """Tokenise contexts as `extract` does and say where it reads them.

    Parameters
    ----------
    language_model, texts, positions, marks
        As `extract` takes them.

    Raises
    ------
    InputError
        If a context has no tokens of its own; and as `extract`.
    """
    found = readings(
        language_model.tokenizer,
        texts,
        positions=positions,
        marks=marks,
        prefix=language_model.prefix,
        leading_space=True,
    )
    lengths = np.array([one.n_own for one in found], np.int64)
    if not lengths.all():
        row = int(np.argmin(lengths))
        raise InputError(f"Row {row} (counted from 0) has no tokens of its own; leave it out.")
    starts = np.cumsum(lengths) - lengths
    own = [one.tokens[one.n_prefix :] for one in found]
    read = [
        start + np.array(one.positions, np.int64) - one.n_prefix
        for start, one in zip(starts, found, strict=True)
    ]
    return ReadTokens(np.concatenate(own).astype(np.int64), lengths, np.concatenate(read))
