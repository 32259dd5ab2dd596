"""Can weights be told apart: rank and condition of the rows p(y | c), and which are combinations.

Rows are compared in the metric in which mixtures are told apart, p(y | c) / √p̄(y) with p̄ their mean
(the chi-squared metric), each scaled to length one, so that neither rare tokens nor sharp rows
count for nothing.
"""

from collections.abc import Sequence

import numpy as np
from scipy import linalg

from concept_ppl.analyses.designs.arrays import RANK_TOLERANCE, FloatArray
from concept_ppl.errors import InputError

LEAST_COEFFICIENT = 1e-6
MOST_NAMED = 5


def condition_of_rows(P: FloatArray, values: Sequence[str], where: str = "") -> float:
    """Return the ratio of the largest to the smallest singular value of the rows.

    Parameters
    ----------
    P
        (C, V) probabilities.
    values
        Names of the C rows.
    where
        Whose rows they are, for the message.

    Raises
    ------
    InputError
        If a row is a combination of others; it is named, and so are they.
    """
    mean = P.mean(axis=0)
    scaled = P[:, mean > 0] / np.sqrt(mean[mean > 0])
    scaled /= np.linalg.norm(scaled, axis=1, keepdims=True)
    singular = np.linalg.svd(scaled, compute_uv=False)
    rank = int((singular > RANK_TOLERANCE * singular[0]).sum())
    if rank == len(P):
        return float(singular[0] / singular[-1])
    _, _, order = linalg.qr(scaled.T, mode="economic", pivoting=True)
    kept, dependent = order[:rank], order[rank]
    coefficients = np.linalg.lstsq(scaled[kept].T, scaled[dependent], rcond=None)[0]
    others = [values[i] for i in kept[np.abs(coefficients) > LEAST_COEFFICIENT]]
    named = ", ".join(f"'{name}'" for name in others[:MOST_NAMED])
    more = ", …" if len(others) > MOST_NAMED else ""
    relation = "the same as" if len(others) == 1 else "a combination of"
    raise InputError(
        f"The {len(P)} rows of log_emission{where} have rank {rank}: p(y | '{values[dependent]}') "
        f"is {relation} p(y | ·) of {named}{more}, so that no next token tells their weights "
        "apart; merge such values or leave one out."
    )
