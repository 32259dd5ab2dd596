"""Least squares in coordinates that must not be negative, a batch of small problems at once.

Block principal pivoting with a backup rule: every coordinate of the wrong sign changes sides, and
only the last one where that has not helped for a while (Júdice and Pires 1994,
https://doi.org/10.1016/0305-0548(94)90106-6).
"""

import torch
from torch import Tensor

RIDGE = 1e-11
"""Added to a Hessian of unit diagonal, so that it can be inverted; around the start of the step,
so that it only shortens the step."""
NEGATIVE, NEGATIVE_SLOPE = 1e-13, 2e-15
"""What counts as below zero in a problem of unit diagonal: of a coordinate, and of a slope."""
CHANCES = 3
"""Exchanges of all wrong coordinates that may fail to leave fewer of them."""
EXCHANGES_EACH = 6
"""Most exchanges, a coordinate."""


def positive_least_squares(H: Tensor, start: Tensor, slopes: Tensor) -> Tensor:
    """Minimise ½ (x − start)'H(x − start) − slopes'(x − start) over x ≥ 0.

    Parameters
    ----------
    H
        (n, C, C), positive semidefinite.
    start, slopes
        (n, C).

    Returns
    -------
    Tensor, shape (n, C)
        A row whose exchanges ran out holds a projection that need not be the minimum.
    """
    scale = H.diagonal(dim1=1, dim2=2).clamp_min(torch.finfo(H.dtype).tiny).sqrt()
    unit = H / (scale[:, :, None] * scale[:, None, :])
    unit.diagonal(dim1=1, dim2=2).add_(RIDGE)
    target = (unit @ (start * scale)[:, :, None]).squeeze(2) + slopes / scale
    free = start > 0
    n, size = start.shape
    numbers = torch.arange(size, device=H.device)
    rows = torch.arange(n, device=H.device)
    fewest, chances = torch.full_like(rows, size + 1), torch.full_like(rows, CHANCES)
    x = torch.zeros_like(target)
    for _ in range(EXCHANGES_EACH * (size + 1)):
        x[rows], is_wrong = _on_free(unit[rows], target[rows], free[rows])
        count = is_wrong.sum(1)
        going = count > 0
        if not bool(going.any()):
            break
        rows, is_wrong, count = rows[going], is_wrong[going], count[going]
        is_better = count < fewest[rows]
        fewest[rows] = torch.minimum(fewest[rows], count)
        chances[rows] = torch.where(is_better, CHANCES, chances[rows] - 1)
        last = (is_wrong * (numbers + 1)).argmax(1, keepdim=True)
        exchanged = torch.where((chances[rows] < 0)[:, None], numbers == last, is_wrong)
        free[rows] = free[rows] ^ exchanged
    return (x / scale).clamp_min(0.0)


def _on_free(H: Tensor, target: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """Solve in the free coordinates, (n, C), and say which coordinates have the wrong sign."""
    both = free[:, :, None] & free[:, None, :]
    identity = torch.eye(H.shape[1], dtype=H.dtype, device=H.device)
    right = torch.where(free, target, 0.0)[:, :, None]
    x = torch.where(free, torch.linalg.solve(torch.where(both, H, identity), right).squeeze(2), 0.0)
    dual = (H @ x[:, :, None]).squeeze(2) - target
    return x, torch.where(free, x < -NEGATIVE, dual < -NEGATIVE_SLOPE)
