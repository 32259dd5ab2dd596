"""Sums of probabilities in log-space in which a zero is −inf, stays −inf, and never becomes NaN."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def log(probabilities: Tensor) -> Tensor:
    """Return the logarithm; a zero gives −inf with gradient zero, so that it stays a zero."""
    if not probabilities.requires_grad:
        return probabilities.log()
    is_zero = probabilities == 0
    return torch.where(is_zero, 1.0, probabilities).log().masked_fill(is_zero, -torch.inf)


def by_row(table: Tensor) -> Tensor:
    """Flatten all but the first dimension, also where that is empty."""
    return table.reshape(len(table), math.prod(table.shape[1:]))


def logsumexp(values: Tensor, dim: int | Sequence[int], *, keepdim: bool = False) -> Tensor:
    """Return log Σ exp over ``dim``; a slice that is all −inf gives −inf with gradient zero.

    ``torch.logsumexp`` has the gradient NaN at such slices, which would leak out of a table with
    structural zeros when its parameters are learned.
    """
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    if not dims:
        return values
    if values.requires_grad:
        return _differentiable_logsumexp(values, dims, keepdim)
    return torch.logsumexp(values, dims, keepdim)


def _differentiable_logsumexp(values: Tensor, dims: tuple[int, ...], keepdim: bool) -> Tensor:
    peak = values.detach().amax(dims, keepdim=True)
    peak = torch.where(torch.isfinite(peak), peak, torch.zeros_like(peak))
    total = (values - peak).exp().sum(dims, keepdim=True)
    is_zero = total == 0
    log_total = torch.where(is_zero, torch.ones_like(total), total).log() + peak
    result = torch.where(is_zero, torch.full_like(total, -torch.inf), log_total)
    return result if keepdim else result.squeeze(dims)


def normalise(log_weights: Tensor, dim: int | Sequence[int]) -> Tensor:
    """Return ``log_weights`` minus its :func:`logsumexp`; a slice that is all −inf stays −inf."""
    total = logsumexp(log_weights, dim, keepdim=True)
    return log_weights - torch.where(torch.isneginf(total), torch.zeros_like(total), total)


def expectation(log_weights: Tensor, values: Tensor) -> Tensor:
    """Return exp(log_weights) · values elementwise, with 0 · (±inf) = 0."""
    weights = log_weights.exp()
    is_zero = weights == 0
    return weights * torch.where(is_zero, torch.zeros_like(values), values)


def log_product(weights: Tensor, log_weights: Tensor, matrix: Tensor, log_matrix: Tensor) -> Tensor:
    """Return log(weights @ matrix), shape (n, k), right in the tails.

    The matrix product underflows where the result is below about 1e-300 (1e-30 in float32). Only
    the rows and columns that hold such an entry are summed again in log-space.

    Parameters
    ----------
    weights, log_weights : Tensor, shape (n, s)
        At most 1, and their logarithms.
    matrix, log_matrix : Tensor, shape (s, k)
        Likewise.
    """
    product = weights @ matrix
    floor = torch.finfo(product.dtype).tiny * 1e8
    is_tiny = product < floor
    result = product.clamp_min(floor).log()
    if not bool(is_tiny.any()):
        return result
    rows = is_tiny.any(1).nonzero().squeeze(1)
    columns = is_tiny.any(0).nonzero().squeeze(1)
    exact = torch.stack([logsumexp(log_weights[rows] + log_matrix[:, k], 1) for k in columns], 1)
    return result.index_put((rows.unsqueeze(1), columns.unsqueeze(0)), exact)
