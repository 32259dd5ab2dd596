"""How far could the weights of a mixture be off: by sampled tokens, or by misfit.

Write s_y = p(y | ·) / m_y for the scores of a token, m the fitted mixture, g = Σ_y q_y s_y (one for
each weight that is not zero) and H = Σ_y q_y s_y s_y', over these weights. Smoothing adds its own
curvature, A = H + diag(smoothing / C w²).

*Sampling.* q are the shares of n tokens that were drawn: A⁻¹ (H − g g') A⁻¹ / n. Without smoothing
this is (H⁻¹ − w w') / n: scores of one token have second moment H, which is also the Hessian,
whether the mixture is right or not, so that the inverse information and the sandwich of
misspecified models are the same matrix.

*Misfit.* q is known, and is the mixture times a factor of each token's own: q_y ∝ m_y (1 + ε_y).
Where these ε are independent with mean zero, of any sizes, the weights are off by

    ŵ − w ≈ A⁻¹ Σ_y m_y ε_y (s_y − g),

a weighted regression over tokens. Its variance is estimated as that of any regression whose errors
differ in size: residuals q_y / m_y − 1, their squares divided by one minus the leverage q_y s_y'
A⁻¹ s_y (HC2), and Student's quantiles with the degrees of freedom that few heavy tokens leave
(Satterthwaite; Imbens and Kolesár 2016, https://doi.org/10.1162/REST_a_00552).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .mixture_likelihoods import SMALLEST, chunks, curvature, mix, pull, quotient


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


def sampling_errors(
    q: Tensor, P: Tensor, weights: Tensor, n_draws: Tensor, smoothing: float = 0.0
) -> WeightErrors:
    """Errors by drawing ``n_draws`` (n,) tokens; q (n, V) are their shares, P as `mixture_weights`.

    Returns
    -------
    WeightErrors
        Of fixed active weights: that a weight at zero might not be is not in them.
    """
    variances = []
    for rows in chunks(q, P):
        own = P[rows] if P.ndim == 3 else P
        fit = _linearised(q[rows], own, weights[rows], smoothing)
        spread = fit.inverse @ fit.H @ fit.inverse
        variance = spread.diagonal(dim1=1, dim2=2) - fit.centre * fit.centre
        variances.append(variance / n_draws[rows, None])
    variance = torch.cat(variances)
    errors = torch.where(weights > 0, variance.clamp_min(0.0).sqrt(), torch.nan)
    return WeightErrors(errors, torch.full_like(errors, torch.inf))


def misfit_errors(q: Tensor, P: Tensor, weights: Tensor, smoothing: float = 0.0) -> WeightErrors:
    """Errors by factors of each token's own; q and P as `mixture_weights`, weights (n, C)."""
    errors, freedoms = [], []
    for rows in chunks(q, P):
        own = P[rows] if P.ndim == 3 else P
        part, df = _misfit(q[rows], own, weights[rows], smoothing)
        errors.append(part)
        freedoms.append(df)
    return WeightErrors(torch.cat(errors), torch.cat(freedoms))


def _misfit(q: Tensor, P: Tensor, w: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    fit = _linearised(q, P, w, smoothing)
    n_values = w.shape[1]
    leverage = torch.zeros_like(q)
    for c in range(n_values):
        leverage += P[..., c, :] * mix(fit.inverse[:, c], P)
    leverage *= quotient(quotient(q, fit.m), fit.m)
    residual = (q - fit.m) / (1.0 - leverage).clamp_min(torch.finfo(q.dtype).eps).sqrt()
    counts = (fit.m > 0).sum(1)
    variance, df = torch.empty_like(w), torch.empty_like(w)
    for c in range(n_values):
        score = quotient(mix(fit.inverse[:, c], P), fit.m) - fit.centre[:, c : c + 1]
        squares = (residual * score) ** 2
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


@dataclass(frozen=True, slots=True, eq=False)
class _Linearised:
    """The mixture m (n, V); H and A⁻¹ (n, C, C), zero but for the free weights; A⁻¹ g (n, C)."""

    m: Tensor
    H: Tensor
    inverse: Tensor
    centre: Tensor


def _linearised(q: Tensor, P: Tensor, w: Tensor, smoothing: float) -> _Linearised:
    m, free = mix(w, P), w > 0
    ratio = quotient(q, m)
    both = free[:, :, None] & free[:, None, :]
    H = torch.where(both, curvature(quotient(ratio, m), P), 0.0)
    own = torch.where(free, smoothing / w.shape[1] / (w * w).clamp_min(SMALLEST), 1.0)
    A = H + torch.diag_embed(own)
    scale = A.diagonal(dim1=1, dim2=2).sqrt()
    scales = scale[:, :, None] * scale[:, None, :]
    inverse, broken = torch.linalg.inv_ex(A / scales)
    inverse = torch.where(both, inverse / scales, 0.0)
    inverse = torch.where((broken > 0)[:, None, None], torch.nan, inverse)
    slopes = torch.where(free, pull(ratio, P), 0.0)
    return _Linearised(m, H, inverse, (inverse @ slopes[:, :, None]).squeeze(2))
