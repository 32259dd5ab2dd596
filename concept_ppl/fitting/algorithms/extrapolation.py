"""How far a series of EM steps may leap: the squared extrapolation of three of its points.

From θ₀, θ₁ = M(θ₀), θ₂ = M(θ₁), with r = θ₁ − θ₀, v = θ₂ − 2θ₁ + θ₀ and a = |r| / |v|, the leap
goes to θ₀ + 2ar + a²v. Where EM contracts slowly the leap sums the steps that are left; on a
plateau, where each step is a little longer than the one before, it runs ahead along them.
Probabilities are extrapolated as square roots, whose distances are those of the information
metric. Source: Varadhan and Roland (2008), https://doi.org/10.1111/j.1467-9469.2007.00585.x
(scheme S3).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from concept_ppl.fitting.likelihoods.parameters import Parameter
from concept_ppl.fitting.likelihoods.ties import View, views_of

Values = Mapping[str, Tensor]
LEAST_ROOT = 0.1
"""A probability falls at most to the square of this share of itself in one leap: none is lost."""


class Leaps:
    """Coordinates of a program's parameters in which EM is extrapolated.

    Parameters
    ----------
    parameters
        Of the program.
    views
        How those that M-steps update in closed form are read as rows of probabilities.
    """

    def __init__(self, parameters: Mapping[str, Parameter], views: Sequence[View]) -> None:
        self.parameters = parameters
        self.views = {view.name: view for view in views}
        for name, parameter in parameters.items():
            if name not in self.views and parameter.kind in {"simplex", "unit"}:
                self.views[name] = views_of(parameter)[0]

    def leap(self, points: Sequence[Values], longest: float) -> tuple[dict[str, Tensor], float]:
        """Return where three points lead, and the length a ≥ 1 that was taken, at most longest."""
        first, second, third = ([self._roots(p, name) for name in self.parameters] for p in points)
        steps = [b - a for a, b in zip(first, second, strict=True)]
        turns = [c - b - step for b, c, step in zip(second, third, steps, strict=True)]
        length = _norm(steps) / max(_norm(turns), 1e-300)
        length = min(max(length, 1.0), longest)
        values = {}
        for name, a, step, turn, c in zip(self.parameters, first, steps, turns, third, strict=True):
            moved = a + 2 * length * step + length**2 * turn
            values[name] = self._value(name, moved, c)
        return values, length

    def _roots(self, values: Values, name: str) -> Tensor:
        if name in self.views:
            view = self.views[name]
            return view.log_rows(values[name].detach())[: view.n_own].exp().sqrt()
        own: Tensor = self.parameters[name].transform.inv(values[name].detach())
        return own

    def _value(self, name: str, moved: Tensor, last: Tensor) -> Tensor:
        if name not in self.views:
            own: Tensor = self.parameters[name].transform(moved)
            return own
        rows = torch.maximum(moved, LEAST_ROOT * last).square()
        rows = rows / rows.sum(-1, keepdim=True)
        return self.views[name].value(rows, self.parameters[name].shape)


def _norm(parts: Sequence[Tensor]) -> float:
    return float(torch.stack([part.square().sum() for part in parts]).sum().sqrt())
