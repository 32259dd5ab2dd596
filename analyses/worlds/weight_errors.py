"""How far could the weights of a mixture be off: by sampled tokens, or by misfit.

Write s_y = p(y | ·) / m_y for the scores of a token, m the fitted mixture and H = Σ_y q_y s_y s_y',
over the weights that are not zero.

*Sampling.* q are the shares of n tokens that were drawn. Scores of one token have second moment H,
which is also the Hessian, whether the mixture is right or not: the inverse information and the
sandwich of misspecified models are the same matrix, (H⁻¹ − w w') / n.

*Misfit.* q is known, and is the mixture times a factor of each token's own: q_y ∝ m_y (1 + ε_y).
Where these ε are independent with mean zero, of any sizes, the weights are off by

    ŵ − w ≈ H⁻¹ Σ_y m_y ε_y (s_y − 1),

a weighted regression over tokens. Its variance is estimated as that of any regression whose errors
differ in size: residuals q_y / m_y − 1, each divided by one minus its leverage q_y s_y' H⁻¹ s_y
(HC3; MacKinnon and White 1985, https://doi.org/10.1016/0304-4076(85)90158-7), Student's quantiles
with the degrees of freedom that few heavy tokens leave (Satterthwaite).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .mixture_likelihoods import chunks, curvature, mix, quotient


@dataclass(frozen=True, slots=True, eq=False)
class WeightErrors:
    """Standard errors of weights, NaN where there are none.

    That is where a weight is zero or cannot be told from the others, and, of misfit, in contexts
    with as many weights as tokens.

    Attributes
    ----------
    std_errors : Tensor, shape (n, C)
    df : Tensor, shape (n, C)
        Degrees of freedom of Student's quantiles; infinite for sampling.
    """

    std_errors: Tensor
    df: Tensor


def sampling_errors(q: Tensor, P: Tensor, weights: Tensor, n_draws: Tensor) -> WeightErrors:
    """Errors by drawing ``n_draws`` (n,) tokens; q (n, V) are their shares, P as `mixture_weights`.

    Returns
    -------
    WeightErrors
        Of fixed active weights: that a weight at zero might not be is not in them.
    """
    variances = []
    for rows in chunks(q, P):
        own = P[rows] if P.ndim == 3 else P
        w = weights[rows]
        inverse = _inverse(q[rows], own, w, mix(w, own))
        variances.append((inverse.diagonal(dim1=1, dim2=2) - w * w) / n_draws[rows, None])
    variance = torch.cat(variances)
    errors = torch.where(weights > 0, variance.clamp_min(0.0).sqrt(), torch.nan)
    return WeightErrors(errors, torch.full_like(errors, torch.inf))


def misfit_errors(q: Tensor, P: Tensor, weights: Tensor) -> WeightErrors:
    """Errors by factors of each token's own; q and P as `mixture_weights`, weights (n, C)."""
    errors, freedoms = [], []
    for rows in chunks(q, P):
        own = P[rows] if P.ndim == 3 else P
        part, df = _misfit(q[rows], own, weights[rows])
        errors.append(part)
        freedoms.append(df)
    return WeightErrors(torch.cat(errors), torch.cat(freedoms))


def _misfit(q: Tensor, P: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    m = mix(w, P)
    inverse = _inverse(q, P, w, m)
    n_concepts = w.shape[1]
    leverage = torch.zeros_like(q)
    for c in range(n_concepts):
        leverage += P[..., c, :] * mix(inverse[:, c], P)
    leverage *= quotient(quotient(q, m), m)
    residual = (q - m) / (1.0 - leverage).clamp_min(torch.finfo(q.dtype).eps).sqrt()
    counts = (m > 0).sum(1)
    variance, df = torch.empty_like(w), torch.empty_like(w)
    for c in range(n_concepts):
        influence = residual * (quotient(mix(inverse[:, c], P), m) - w[:, c : c + 1])
        squares = influence * influence
        variance[:, c] = squares.sum(1)
        df[:, c] = _degrees_of_freedom(squares, counts)
    # As many weights as tokens fit everything, and nothing is left to tell misfit from.
    is_left = counts > (w > 0).sum(1)
    known = (w > 0) & is_left[:, None]
    return torch.where(known, variance.sqrt(), torch.nan), torch.where(known, df, torch.nan)


def _degrees_of_freedom(squares: Tensor, counts: Tensor) -> Tensor:
    """2n / (κ − (n − 3)/(n − 1)), at most n − 1, as `designs.intervals.degrees_of_freedom`."""
    total = squares.sum(1)
    kurtosis = counts * quotient((squares * squares).sum(1), total * total)
    excess = kurtosis - (counts - 3) / (counts - 1)
    return torch.minimum(counts - 1.0, 2.0 * counts / excess.clamp_min(2.0 / counts))


def _inverse(q: Tensor, P: Tensor, w: Tensor, m: Tensor) -> Tensor:
    """Inverse of H over the weights that are not zero, zero elsewhere, shape (n, C, C)."""
    H = curvature(quotient(quotient(q, m), m), P)
    free = w > 0
    both = free[:, :, None] & free[:, None, :]
    identity = torch.eye(w.shape[1], dtype=w.dtype, device=w.device)
    scale = torch.where(free, H.diagonal(dim1=1, dim2=2), 1.0).sqrt()
    scales = scale[:, :, None] * scale[:, None, :]
    inverse, broken = torch.linalg.inv_ex(torch.where(both, H / scales, identity))
    inverse = torch.where(both, inverse / scales, 0.0)
    return torch.where((broken > 0)[:, None, None], torch.nan, inverse)
