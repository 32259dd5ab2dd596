"""The parameters of highest posterior density: L-BFGS on all contexts, or Adam on minibatches.

The density is that of the parameters as the program has them (as Pyro's ``AutoDelta``), climbed in
unconstrained coordinates.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from concept_ppl.fitting.likelihoods.likelihood import Likelihood
from concept_ppl.fitting.likelihoods.parameters import flatten, unflatten

BLOCK = 5
"""L-BFGS iterations between two looks at the objective."""
INSIDE = 1e-10
"""A start on the edge of its range is moved so far inside."""


def _free(likelihood: Likelihood, values: Mapping[str, Tensor]) -> Tensor:
    """Return unconstrained coordinates; zeros of a simplex are moved inside."""
    moved = {}
    for name, parameter in likelihood.program.parameters.items():
        value = values[name].double()
        if parameter.kind == "simplex":
            value = value.clamp_min(INSIDE)
            value = value / value.sum(-1, keepdim=True)
        elif parameter.kind == "unit":
            value = value.clamp(INSIDE, 1 - INSIDE)
        moved[name] = value
    return flatten(likelihood.program.parameters, moved).detach().clone()


class FullBatch:
    """L-BFGS with a strong Wolfe line search; a step is a block of iterations."""

    leapt = False

    def __init__(self, likelihood: Likelihood, values: Mapping[str, Tensor]) -> None:
        self.likelihood = likelihood
        self.free = _free(likelihood, values).requires_grad_()
        self.optimiser = torch.optim.LBFGS(
            [self.free],
            max_iter=BLOCK,
            line_search_fn="strong_wolfe",
            tolerance_grad=1e-10,
            tolerance_change=0.0,
            history_size=20,
        )
        self.values = self._values(self.free)

    def _values(self, free: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            return unflatten(self.likelihood.program.parameters, free)[0]

    def step(self) -> tuple[float, float]:
        """Evaluate, then take a block of iterations."""
        self.values = self._values(self.free)
        first: list[tuple[float, float]] = []

        def closure() -> Tensor:
            self.optimiser.zero_grad()
            values, _ = unflatten(self.likelihood.program.parameters, self.free)
            log_evidence, log_prior = self.likelihood.log_density(values)
            first.append((float(log_evidence.detach()), float(log_prior.detach())))
            loss = -(log_evidence + log_prior)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        self.optimiser.step(closure)  # type: ignore[no-untyped-call]
        return first[0]

    def advance(self) -> None:
        """Nothing is left to do: the optimiser has moved."""

    def state(self) -> dict[str, Any]:
        """Return coordinates and curvature."""
        return {"free": self.free.detach().clone(), "optimiser": self.optimiser.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        with torch.no_grad():
            self.free.copy_(state["free"])
        self.optimiser.load_state_dict(state["optimiser"])


class Minibatches:
    """Adam on minibatches drawn without replacement; a step is one pass over the contexts."""

    leapt = False

    def __init__(
        self,
        likelihood: Likelihood,
        values: Mapping[str, Tensor],
        *,
        batch_size: int,
        passes: int,
        learning_rate: float,
        seed: int,
    ) -> None:
        self.likelihood, self.batch_size, self.passes = likelihood, batch_size, passes
        self.learning_rate = learning_rate
        self.rng = np.random.default_rng(seed)
        self.free = _free(likelihood, values).requires_grad_()
        self.optimiser = torch.optim.Adam([self.free], lr=learning_rate)
        self.done = 0
        self.values = self._values()

    def _values(self) -> dict[str, Tensor]:
        with torch.no_grad():
            return unflatten(self.likelihood.program.parameters, self.free)[0]

    def step(self) -> tuple[float, float]:
        """Evaluate all contexts, then take one pass, its step size falling as a half cosine."""
        self.values = self._values()
        with torch.no_grad():
            log_evidence, log_prior = self.likelihood.log_density(self.values)
        return float(log_evidence), float(log_prior)

    def advance(self) -> None:
        """Take one pass over the contexts."""
        n, program = self.likelihood.n_contexts, self.likelihood.program
        weights = self.likelihood.own_weights
        order = self.rng.permutation(n)
        starts = range(0, n, self.batch_size)
        for k, start in enumerate(starts):
            share = (self.done + k / len(starts)) / max(self.passes - 1, 1)
            for group in self.optimiser.param_groups:
                group["lr"] = self.learning_rate * 0.5 * (1 + np.cos(np.pi * min(share, 1.0)))
            rows = order[start : start + self.batch_size]
            self.optimiser.zero_grad()
            values, _ = unflatten(program.parameters, self.free)
            tables, log_prior = program.evaluate(values)
            each = self.likelihood.by_context(tables, rows)
            if weights is not None:
                each = each * torch.from_numpy(weights[rows])
            loss = -(each.sum() * (n / len(rows)) + log_prior) / n
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
        self.done += 1

    def state(self) -> dict[str, Any]:
        """Return coordinates, moments and the generator of the minibatches."""
        return {
            "free": self.free.detach().clone(),
            "optimiser": self.optimiser.state_dict(),
            "rng": self.rng.bit_generator.state,
            "done": self.done,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        with torch.no_grad():
            self.free.copy_(state["free"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.rng.bit_generator.state = state["rng"]
        self.done = state["done"]
