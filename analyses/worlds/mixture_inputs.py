"""What a mixture is fitted to: predictives and emission rows, checked, as tensors on a device."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from concept_ppl.analyses.designs.arrays import NORMALISED_TOLERANCE, FloatArray, as_vector
from concept_ppl.errors import InputError

from .emission_rows import condition_of_rows
from .mixture_likelihoods import chunks

NEGLIGIBLE = 1e-18
"""Probabilities of a predictive that count as zero: float64 sums do not hold them, and yet they
could ask for a weight."""
NEVER = 1e-100
"""Probabilities p(y | c) that count as zero: their squares would underflow."""


def predictives_and_rows(
    log_predictive: npt.ArrayLike, log_emission: npt.ArrayLike, device: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Check both and take them to the device, in float64.

    Returns
    -------
    q, mass, P
        (n, V) predictives normalised over the tokens that some value emits, and zero elsewhere;
        (n,) their mass there; (C, V) or (n, C, V) rows p(y | c).

    Raises
    ------
    InputError
        As `implied_posterior`, but for the rank of the rows.
    """
    log_q, log_P = (
        torch.as_tensor(_array(part), dtype=torch.float64, device=device)
        for part in (log_predictive, log_emission)
    )
    _check_shapes(log_q, log_P)
    P = _distributions(log_P)
    return (*_on_support(log_q, P), P)


def _check_shapes(log_q: Tensor, log_P: Tensor) -> None:
    for name, part, dims in (("log_predictive", log_q, (2,)), ("log_emission", log_P, (2, 3))):
        if part.ndim not in dims or 0 in part.shape:
            expected = "(n, V)" if name == "log_predictive" else "(C, V) or (n, C, V)"
            raise InputError(f"{name} has shape {tuple(part.shape)}; it must be {expected}.")
    n, n_tokens = log_q.shape
    if log_P.shape[-1] != n_tokens or (log_P.ndim == 3 and len(log_P) != n):
        raise InputError(
            f"log_predictive has shape {tuple(log_q.shape)}, log_emission {tuple(log_P.shape)}; "
            "give both for the same tokens, and contexts if it has these."
        )


def value_names(values: Sequence[str] | None, n_values: int) -> tuple[str, ...]:
    """Return the names of the values, numbers by default; refuse too few, and repeated ones."""
    names = tuple(map(str, range(n_values) if values is None else values))
    if len(names) != n_values or len({*names}) < n_values:
        raise InputError(
            f"values are {len(names)} names, log_emission has {n_values} rows; give each its own."
        )
    return names


def _distributions(log_P: Tensor) -> Tensor:
    P = log_P.exp()
    P = torch.where(P < NEVER, 0.0, P)
    sums = P.sum(-1)
    bad = (~((sums - 1.0).abs() <= NORMALISED_TOLERANCE)).nonzero()
    if len(bad):
        place = ", ".join(map(str, bad[0].tolist()))
        raise InputError(
            f"Row {place} of log_emission sums to {float(sums[*bad[0]]):.6g}, not 1; give "
            "log p(y | c) of all tokens that c emits."
        )
    return P / sums[..., None]


def _on_support(log_q: Tensor, P: Tensor) -> tuple[Tensor, Tensor]:
    """Return the predictives on the tokens that some value emits, (n, V), and their mass, (n,)."""
    is_emitted = (P > 0).any(-2)
    q, mass = torch.empty_like(log_q), log_q.new_empty(len(log_q))
    for rows in chunks(log_q, P):
        whole = log_q[rows].exp().sum(1)
        _require_probabilities(whole, rows.start)
        here = is_emitted[rows] if P.ndim == 3 else is_emitted
        inside = torch.where(here, log_q[rows], -torch.inf)
        total = torch.logsumexp(inside, 1, keepdim=True)
        part = (inside - total).exp()
        q[rows] = torch.where(part < NEGLIGIBLE, 0.0, part)
        mass[rows] = total.exp().squeeze(1)
    empty = (mass == 0).nonzero()
    if len(empty):
        raise InputError(
            f"Row {int(empty[0])} of log_predictive has no mass on the tokens that log_emission "
            "gives probability; give the same tokens in both."
        )
    return q, mass


def _require_probabilities(sums: Tensor, start: int) -> None:
    bad = (~(sums <= 1.0 + NORMALISED_TOLERANCE)).nonzero()
    if len(bad):
        raise InputError(
            f"Row {start + int(bad[0])} of log_predictive sums to {float(sums[bad[0]]):.6g}; give "
            "log-probabilities of distinct tokens in nats, which sum to at most 1."
        )


def condition_number(P: Tensor, names: Sequence[str]) -> float:
    """Return the condition number of the rows, the worst context's; refuse singular ones."""
    if P.ndim == 2:
        return condition_of_rows(as_numpy(P), names)
    return max(condition_of_rows(as_numpy(rows), names, f"[{i}]") for i, rows in enumerate(P))


def draws_of_each(n_draws: float | npt.ArrayLike, n: int) -> FloatArray:
    """Return the number of draws behind each predictive, (n,)."""
    draws = np.asarray(n_draws, np.float64)
    draws = np.full(n, float(draws)) if draws.ndim == 0 else as_vector(draws, n, "n_draws")
    if not (np.isfinite(draws) & (draws > 0)).all():
        raise InputError("n_draws must be positive and finite: the tokens behind each predictive.")
    return np.asarray(draws)


def _array(values: Any) -> Any:
    """Return a tensor as it is, on its device, and anything else as an array of NumPy."""
    return values.detach() if hasattr(values, "detach") else np.asarray(values, np.float64)


def as_numpy(tensor: Tensor) -> FloatArray:
    """Return a tensor of any device as an array."""
    return np.asarray(tensor.detach().cpu().numpy(), np.float64)
