"""How sure is a point? Standard errors from the curvature of the log posterior at it.

    Cov(θ̂) ≈ B (Bᵀ J B)⁻¹ Bᵀ,     J = −∂² [Σ weight · log p(x | θ) + log p(θ)] / ∂θ²

The columns of B span the directions in which the parameters may move: a row of probabilities keeps
its sum, and a probability on the edge of its range (zero or one) stays. Source: Efron and Hinkley
(1978), https://doi.org/10.1093/biomet/65.3.457.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concept_ppl.fitting.likelihoods.likelihood import Likelihood
from concept_ppl.fitting.likelihoods.parameters import Parameter

EDGE = 1e-3
"""Expected count, of all tokens, below which a probability lies on the edge."""
FLOOR = 1e-100
"""What stands for a zero: second derivatives divide by its square."""
MOST_WORK = 2e9
"""Free directions · table cells of all contexts, some minutes at most."""
SINGULAR = 1e-10
"""Smallest eigenvalue of the information over its largest that counts as above zero."""


@dataclass(frozen=True)
class Curvature:
    """Standard errors by parameter, or the reason why there are none."""

    standard_errors: dict[str, NDArray[np.float64]]
    invalid_because: str | None = None


def observed_information(likelihood: Likelihood, values: Mapping[str, Tensor]) -> Curvature:
    """Return the standard error of every parameter, NaN on the edge of its range."""
    parameters = likelihood.program.parameters
    edge = min(EDGE / likelihood.weighted_tokens, EDGE)
    bases = {name: directions(p, values[name], edge) for name, p in parameters.items()}
    n_free = sum(basis.shape[1] for basis in bases.values())
    cells = sum(
        part.n_contexts * int(np.prod([part.piece.template.sizes[n] for n in _scope(part)]))
        for part in likelihood.evidence
    )
    if n_free * cells > MOST_WORK:
        return Curvature(
            {},
            f"{n_free:,} free directions and {cells:,} table cells take too long; take standard "
            f"errors from method 'nuts' or from fewer contexts",
        )
    information = _information(likelihood, values, bases, n_free)
    eigenvalues = np.linalg.eigvalsh(information) if n_free else np.ones(1)
    if not eigenvalues[0] > SINGULAR * max(eigenvalues[-1], 1e-300):
        return Curvature(
            {},
            "the observed information is not positive definite (smallest eigenvalue "
            f"{eigenvalues[0]:.3g}, largest {eigenvalues[-1]:.3g}): the data do not tell all "
            "parameters apart, or the point is no maximum",
        )
    covariance = np.linalg.inv(information)
    errors, start = {}, 0
    for name, basis in bases.items():
        stop = start + basis.shape[1]
        variances = np.einsum("ij,jk,ik->i", basis, covariance[start:stop, start:stop], basis)
        is_fixed = ~(basis != 0).any(1)
        with np.errstate(invalid="ignore"):
            found = np.where(is_fixed, np.nan, np.sqrt(variances))
        errors[name] = found.reshape(parameters[name].shape)
        start = stop
    return Curvature(errors)


def _scope(part: object) -> tuple[str, ...]:
    """Return the concepts of a context's table, those of the last position where they move."""
    graph = part.piece.template  # type: ignore[attr-defined]
    return getattr(part, "scope", tuple(graph.concepts)[-8:])


def directions(parameter: Parameter, value: Tensor, edge: float) -> NDArray[np.float64]:
    """Return an orthonormal basis of the ways a parameter may move, shape (n_values, n_free).

    A probability within ``edge`` of zero or one does not move.
    """
    flat = value.detach().numpy().reshape(-1)
    if parameter.kind != "simplex":
        is_free = np.ones(len(flat), bool)
        if parameter.kind == "unit":
            is_free = (flat > edge) & (flat < 1 - edge)
        return np.eye(len(flat))[:, is_free]
    width = parameter.shape[-1]
    columns = []
    for row in range(len(flat) // width):
        inside = row * width + np.flatnonzero(flat[row * width : (row + 1) * width] > edge)
        k = len(inside)
        contrasts = np.linalg.svd(np.eye(k) - 1 / k)[0][:, : k - 1]
        own = np.zeros((len(flat), k - 1))
        own[inside] = contrasts
        columns.append(own)
    return np.concatenate(columns, axis=1)


def _information(
    likelihood: Likelihood,
    values: Mapping[str, Tensor],
    bases: Mapping[str, NDArray[np.float64]],
    n_free: int,
) -> NDArray[np.float64]:
    """Return −∂² along the directions, row by row, by differentiating the gradient."""
    steps = torch.zeros(n_free, dtype=torch.float64, requires_grad=True)
    moved, start = {}, 0
    for name, basis in bases.items():
        own = steps[start : start + basis.shape[1]]
        change = torch.from_numpy(basis) @ own
        own_values = likelihood.program.parameters[name].inside(values[name].detach(), FLOOR)
        moved[name] = own_values + change.reshape(own_values.shape)
        start += basis.shape[1]
    tables, log_prior = likelihood.program.evaluate(moved)
    each = torch.cat(
        [part.by_context(own) for part, own in zip(likelihood.evidence, tables, strict=True)]
    )
    weights = torch.from_numpy(likelihood.weights)
    objective = torch.where(weights > 0, weights * each, 0.0).sum() + log_prior
    (gradient,) = torch.autograd.grad(objective, steps, create_graph=True)
    rows = [
        torch.autograd.grad(gradient[i], steps, retain_graph=True)[0].numpy() for i in range(n_free)
    ]
    matrix = -np.stack(rows) if rows else np.empty((0, 0))
    return (matrix + matrix.T) / 2
