"""The exact table of log-probabilities behind a discrete Pyro distribution.

``log_prob`` of ``Categorical(probs=…)`` and ``Bernoulli(probs)`` clamps zeros to about 1e-7. Here
the parameters are read themselves, in float64, so that a zero that someone wrote is a zero.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.distribution import COERCIONS
from torch import Tensor
from torch.distributions.utils import probs_to_logits

from concept_ppl.logspace import log, normalise

from .control_flow import plain

ROW_SUM_TOLERANCE = 1e-5
BLOCK = 2**18
"""Cells that are normalised at once: what the caches hold."""


def is_enumerable(distribution: Any) -> bool:
    """Whether the distribution has a finite support that Pyro can list."""
    if not getattr(distribution, "has_enumerate_support", False):
        return False
    try:
        distribution.enumerate_support(expand=False)
    except (NotImplementedError, ValueError):
        return False
    return True


def support(distribution: Any) -> Tensor:
    """Return the values of one draw, shape (n_values, *event_shape)."""
    values: Tensor = distribution.enumerate_support(expand=False)
    return values.reshape(values.shape[:1] + tuple(distribution.event_shape))


def log_table(distribution: Any, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return the log-probability of each value, shape (*batch_shape, n_values).

    Batch dimensions that a plate expanded stay expanded (stride 0): nothing is copied for them.
    """
    base = _unwrap(distribution)
    if isinstance(base, (dist.Categorical, dist.OneHotCategorical)):
        return _categorical(base, dtype)
    if isinstance(base, dist.Bernoulli):
        return _bernoulli(base, dtype)
    if isinstance(base, dist.Binomial):
        return _binomial(base, dtype)
    values = distribution.enumerate_support(expand=False)
    log_prob: Tensor = distribution.log_prob(values).to(dtype)
    return log_prob.movedim(0, -1).expand(*distribution.batch_shape, -1)


def observed_log_prob(msg: dict[str, Any]) -> Tensor:
    """Return the log-probability of what the program itself observes, shape of the batch."""
    if is_enumerable(msg["fn"]) and not msg["fn"].event_shape:
        value = torch.as_tensor(msg["value"]).long().unsqueeze(-1)
        table = log_table(msg["fn"])
        return table.gather(-1, value.expand(*table.shape[:-1], 1)).squeeze(-1)
    log_prob: Tensor = msg["fn"].log_prob(msg["value"])
    return log_prob.to(torch.float64)


def _unwrap(distribution: Any) -> Any:
    """Look through Pyro's ``ExpandedDistribution`` and ``.to_event(0)``, which change no table."""
    while type(distribution).__name__ == "ExpandedDistribution":
        distribution = distribution.base_dist
    return distribution


def _parameter(distribution: Any) -> tuple[str, Tensor]:
    """Return which of ``probs`` and ``logits`` the user wrote, and its value.

    Both are present once one was computed from the other; logits that are, to the bit, what torch's
    clamping makes of the probs were computed, so the probs were written.
    """
    owner = getattr(distribution, "_categorical", distribution)
    probs, logits = owner.__dict__.get("probs"), owner.__dict__.get("logits")
    if logits is None:
        return "probs", probs
    if probs is None:
        return "logits", logits
    is_binary = not isinstance(owner, torch.distributions.Categorical)
    computed = probs_to_logits(_without_expanded(probs)[0], is_binary=is_binary)
    return ("probs", probs) if _same(computed, logits) else ("logits", logits)


def _same(computed: Tensor, expanded: Tensor) -> bool:
    narrow, _ = _without_expanded(expanded)
    return computed.shape == narrow.shape and torch.equal(computed, narrow)


def _categorical(distribution: Any, dtype: torch.dtype) -> Tensor:
    name, value = _parameter(distribution)
    narrow, sizes = _without_expanded(value)
    # Torch has normalised already; only a table of lower precision needs it again in float64.
    if name == "logits" and narrow.dtype == dtype:
        return value
    return _normalised(narrow, dtype, takes_log=name == "probs").expand(sizes)


def _normalised(rows: Tensor, dtype: torch.dtype, *, takes_log: bool) -> Tensor:
    """Return log-probabilities of rows of weights or logits, block by block."""

    def whole(block: Tensor) -> Tensor:
        return normalise(log(block.to(dtype)) if takes_log else block.to(dtype), -1)

    if rows.requires_grad or rows.numel() <= BLOCK:
        return whole(rows)
    flat = rows.reshape(-1, rows.shape[-1])
    result = torch.empty(flat.shape, dtype=dtype, device=rows.device)
    step = max(1, BLOCK // flat.shape[-1])
    for start in range(0, len(flat), step):
        result[start : start + step] = whole(flat[start : start + step])
    return result.reshape(rows.shape)


def _bernoulli(distribution: Any, dtype: torch.dtype) -> Tensor:
    log_no, log_yes = _log_failure_and_success(distribution, dtype)
    return torch.stack([log_no, log_yes], -1)


def _binomial(distribution: Any, dtype: torch.dtype) -> Tensor:
    log_no, log_yes = _log_failure_and_success(distribution, dtype)
    n = distribution.total_count.to(dtype).unsqueeze(-1)
    k = torch.arange(int(n.max()) + 1, dtype=dtype, device=n.device)
    choose = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    return choose + _times(k, log_yes.unsqueeze(-1)) + _times(n - k, log_no.unsqueeze(-1))


def _times(count: Tensor, log_probability: Tensor) -> Tensor:
    """Count · log p with 0 · (−inf) = 0."""
    return torch.where(count == 0, torch.zeros_like(log_probability), count * log_probability)


def _log_failure_and_success(distribution: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    name, value = _parameter(distribution)
    value = value.to(dtype)
    if name == "probs":
        is_one = value == 1
        log_no = torch.log1p(-torch.where(is_one, 0.0, value)).masked_fill(is_one, -torch.inf)
        return log_no, log(value)
    # Not softplus: torch's drops log1p(exp(-x)) beyond 20, an error of 2e-9.
    return torch.nn.functional.logsigmoid(-value), torch.nn.functional.logsigmoid(value)


def _without_expanded(value: Tensor) -> tuple[Tensor, torch.Size]:
    """Narrow each stride-0 dimension to size 1, so that arithmetic is done once; also the size."""
    narrow = value
    for axis, (stride, size) in enumerate(zip(value.stride(), value.shape, strict=True)):
        if stride == 0 and size > 1:
            narrow = narrow.narrow(axis, 0, 1)
    return narrow, value.shape


@contextmanager
def watching_row_sums() -> Iterator[list[float]]:
    """Collect the row sum furthest from one of every ``Categorical(probs=…)`` built in the block.

    Torch divides such tables by their row sums in silence. The list that is yielded receives the
    sums that are off by more than 1e-5; the caller empties it at each sample site.
    """
    sums: list[float] = []

    def inspect(cls: type, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if issubclass(cls, (dist.Categorical, dist.OneHotCategorical)):
            probs = kwargs.get("probs", args[0] if args else None)
            if isinstance(probs, Tensor) and probs.dim():
                row_sums = _without_expanded(plain(probs.detach()))[0].sum(-1).flatten()
                off = (row_sums - 1).abs()
                if off.numel() and not bool(off.max() <= ROW_SUM_TOLERANCE):
                    sums.append(float(row_sums[off.nan_to_num(torch.inf).argmax()]))

    COERCIONS.append(inspect)
    try:
        yield sums
    finally:
        COERCIONS.remove(inspect)
