"""Which weights of known distributions are most likely: max_w Σ_y q(y) log Σ_c w_c p(y | c).

Without the constraint Σ w = 1 the problem is min −Σ q log(P'w) + Σ w over w ≥ 0, whose solution
sums to one by itself. Each Newton step is a least-squares problem in non-negative weights
(sequential quadratic programming: Kim, Carbonetto, Stephens and Anitescu 2020,
https://doi.org/10.1080/10618600.2019.1689985). It starts from a few steps of EM, and where Newton
had to be shortened a step of EM follows: these never fail, and soon find weights of whatever size;
Newton then converges quadratically where EM takes thousands of steps. All contexts of a batch go
together, and leave it when they are done.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .positive_least_squares import positive_least_squares

CELLS = {"cpu": 2**18}
"""Numbers of one array over contexts and tokens that is held at once: 2 MiB stay in the cache."""
CELLS_ELSEWHERE = 2**24
"""The same on any other device: 128 MiB."""
POLISH = 2
"""Steps after the tolerance was met: Newton doubles the digits that are right with each."""
MOST_STEPS = 200
MOST_HALVINGS = 40
FIRST_EM_STEPS = 20
ROUGH = 0.1
"""Gap, in nats, from which on a step of EM follows each of Newton's."""
LEAST_RISE = 1e-4
"""Share of the promised rise of the log-likelihood that a step must bring (Armijo's rule)."""
ROUNDING = 1e-14
"""What a log-likelihood may fall by without having fallen."""
SMALLEST = 1e-300


@dataclass(frozen=True, slots=True, eq=False)
class MixtureWeights:
    """Maximum-likelihood weights of each context.

    Attributes
    ----------
    weights : Tensor, shape (n, C)
        They sum to one; zero on the boundary.
    gaps : Tensor, shape (n,)
        max_c Σ_y q(y) p(y | c) / Σ_k w_k p(y | k) − 1: by duality no weights whatever have a
        log-likelihood that is higher by more than this, in nats.
    kl : Tensor, shape (n,)
        KL(q ‖ Σ_c w_c p(· | c)) in nats.
    """

    weights: Tensor
    gaps: Tensor
    kl: Tensor


def mixture_weights(
    q: Tensor, P: Tensor, *, tolerance: float, smoothing: float = 0.0
) -> MixtureWeights:
    """Fit the weights of each row of q, by Σ_y q log m + smoothing · mean_c log w_c.

    Parameters
    ----------
    q
        (n, V) probabilities, float64; a row sums to one, and is zero where no p(y | c) is positive.
    P
        (C, V) probabilities p(y | c), or (n, C, V) where they depend on the context.
    tolerance
        Of the duality gap, in nats.
    smoothing
        Share of further tokens, of which each names one value, and all values as often: above 0, no
        weight is zero.
    """
    if smoothing:
        return _smoothed(q, P, tolerance, smoothing)
    parts = [_fit(q[rows], P[rows] if P.ndim == 3 else P, tolerance) for rows in chunks(q, P)]
    return MixtureWeights(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _smoothed(q: Tensor, P: Tensor, tolerance: float, smoothing: float) -> MixtureWeights:
    """Put the further tokens behind the others; KL is of the others alone."""
    n_values = P.shape[-2]
    names = torch.eye(n_values, dtype=P.dtype, device=P.device).expand(*P.shape[:-1], n_values)
    further = q.new_full((len(q), n_values), smoothing / n_values)
    whole = torch.cat([q, further], 1) / (1.0 + smoothing)
    found = mixture_weights(whole, torch.cat([P, names], -1), tolerance=tolerance)
    return MixtureWeights(found.weights, found.gaps, kl_to_mixture(q, P, found.weights))


def kl_to_mixture(q: Tensor, P: Tensor, weights: Tensor) -> Tensor:
    """Return KL(q ‖ Σ_c w_c p(· | c)) of each row, (n,) nats; weights (n, C), or (1, C) for all."""
    kl = []
    for rows in chunks(q, P):
        own = weights[rows] if len(weights) == len(q) else weights
        m = mix(own, P[rows] if P.ndim == 3 else P)
        kl.append(_log_likelihood(q[rows], q[rows]) - _log_likelihood(q[rows], m))
    return torch.cat(kl).clamp_min(0.0)


def chunks(q: Tensor, P: Tensor) -> list[slice]:
    """Rows of q (n, V) that are taken at once."""
    cells = CELLS.get(q.device.type, CELLS_ELSEWHERE)
    at_once = max(1, cells // (q.shape[1] * (P.shape[1] if P.ndim == 3 else 1)))
    return [slice(start, start + at_once) for start in range(0, len(q), at_once)]


def mix(weights: Tensor, P: Tensor) -> Tensor:
    """Return Σ_c w_c p(y | c), shape (n, V)."""
    return weights @ P if P.ndim == 2 else torch.einsum("nc,ncv->nv", weights, P)


def pull(values: Tensor, P: Tensor) -> Tensor:
    """Return Σ_y values p(y | c), shape (n, C)."""
    return values @ P.mT if P.ndim == 2 else torch.einsum("nv,ncv->nc", values, P)


def quotient(q: Tensor, m: Tensor) -> Tensor:
    """Return q / m; zero where both are."""
    return q / m.clamp_min(SMALLEST)


def curvature(values: Tensor, P: Tensor) -> Tensor:
    """Return Σ_y values p(y | c) p(y | k), shape (n, C, C): with q / m² the Hessian of −Σ q log m.

    Parameters
    ----------
    values
        (n, V).
    P
        (C, V), or (n, C, V).
    """
    H = values.new_empty(len(values), P.shape[-2], P.shape[-2])
    for c in range(P.shape[-2]):
        H[:, c, c:] = pull(P[..., c, :] * values, P[..., c:, :])
        H[:, c + 1 :, c] = H[:, c, c + 1 :]
    return H


def _fit(q: Tensor, P: Tensor, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    """Fit contexts that are taken at once; return weights, gaps and KL."""
    n, n_concepts = len(q), P.shape[-2]
    answer, gaps, kl = q.new_empty(n, n_concepts), q.new_empty(n), _log_likelihood(q, q)
    weights = q.new_full((n, n_concepts), 1.0 / n_concepts)
    for _ in range(FIRST_EM_STEPS):
        weights = _em_step(q, P, weights)
    rows = torch.arange(n, device=q.device)
    left, step = torch.full_like(rows, POLISH), 0
    while True:
        m = mix(weights, P)
        ratio = quotient(q, m)
        slopes = pull(ratio, P)
        gap = slopes.amax(1) - 1.0
        going = ((gap > tolerance) | (left > 0)) & (step < MOST_STEPS)
        if not bool(going.all()):
            done = ~going
            answer[rows[done]], gaps[rows[done]] = weights[done], gap[done]
            kl[rows[done]] -= _log_likelihood(q[done], m[done])
            weights, slopes, gap = weights[going], slopes[going], gap[going]
            rows, left = rows[going], left[going]
            q, m, ratio, P = q[going], m[going], ratio[going], P[going] if P.ndim == 3 else P
        if not len(rows):
            return answer, gaps, kl.clamp_min(0.0)
        left -= (gap <= tolerance).long()
        H = curvature(quotient(ratio, m), P)
        target = positive_least_squares(H, weights, slopes - 1.0)
        weights, is_short = _towards(q, P, weights, m, slopes, target)
        is_rough = is_short | (gap > ROUGH)
        if bool(is_rough.any()):
            own = P[is_rough] if P.ndim == 3 else P
            weights[is_rough] = _em_step(q[is_rough], own, weights[is_rough])
        step += 1


def _em_step(q: Tensor, P: Tensor, weights: Tensor) -> Tensor:
    weights = weights * pull(quotient(q, mix(weights, P)), P)
    return weights / weights.sum(1, keepdim=True)


def _towards(
    q: Tensor, P: Tensor, weights: Tensor, m: Tensor, slopes: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """Go from weights (n, C) to a target as far as the log-likelihood rises.

    Returns
    -------
    weights, is_short
        (n, C), and (n,) whether the target itself was too far.
    """
    there, before = mix(target, P), _log_likelihood(q, m)
    gain = ((target - weights) * (slopes - 1.0)).sum(1).clamp_min(0.0)
    reached = weights.clone()
    waiting = torch.arange(len(q), device=q.device)
    is_short = torch.zeros_like(waiting, dtype=torch.bool)
    for halving in range(MOST_HALVINGS):
        step = 0.5**halving
        moved = torch.lerp(weights[waiting], target[waiting], step)
        total = moved.sum(1, keepdim=True)
        after = torch.lerp(m[waiting], there[waiting], step) / total
        rise = _log_likelihood(q[waiting], after) - before[waiting]
        is_good = rise >= LEAST_RISE * step * gain[waiting] - ROUNDING
        reached[waiting[is_good]] = (moved / total)[is_good]
        waiting = waiting[~is_good]
        if not len(waiting):
            break
        is_short[waiting] = True
    return reached, is_short


def _log_likelihood(q: Tensor, m: Tensor) -> Tensor:
    return torch.xlogy(q, m).sum(1)
