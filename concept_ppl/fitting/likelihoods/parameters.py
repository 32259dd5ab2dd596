"""Which numbers of a program are to be learned: continuous sites and ``pyro.param`` statements."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import biject_to, constraints

from concept_ppl.errors import ModelError
from concept_ppl.programs.control_flow import plain
from concept_ppl.programs.enumeration import plates_of
from concept_ppl.programs.tables import is_enumerable

TINY = 1e-100


@dataclass(frozen=True)
class Parameter:
    """One continuous site or ``pyro.param`` statement.

    Attributes
    ----------
    name : str
    shape : tuple of int
    constraint : torch constraint
        The values that it may have.
    prior : Pyro distribution or None
        None for ``pyro.param``.
    plates : tuple
        The plates around a site.
    initial : Tensor
        The value that the program starts with: a draw from the prior, or as written.
    """

    name: str
    shape: tuple[int, ...]
    constraint: Any
    prior: Any
    plates: tuple[Any, ...]
    initial: Tensor

    @property
    def transform(self) -> Any:
        """Return the map from unconstrained numbers to values."""
        return biject_to(self.constraint)

    @property
    def free_shape(self) -> tuple[int, ...]:
        """Shape of the unconstrained numbers."""
        return tuple(self.transform.inverse_shape(torch.Size(self.shape)))

    @property
    def n_free(self) -> int:
        """How many numbers are free."""
        return math.prod(self.free_shape)

    @property
    def kind(self) -> str:
        """Return ``simplex``, ``unit``, ``real`` or ``other``."""
        base = self.constraint
        while isinstance(base, constraints.independent):
            base = base.base_constraint
        if base is constraints.simplex:
            return "simplex"
        if base is constraints.real or base is constraints.real_vector:
            return "real"
        bounds = (getattr(base, "lower_bound", None), getattr(base, "upper_bound", None))
        return "unit" if bounds == (0.0, 1.0) else "other"

    def inside(self, value: Tensor, least: float = TINY) -> Tensor:
        """Return the value, zeros of a simplex lifted so that a density there is a number."""
        if self.kind == "unit":
            return value.clamp(least, 1 - 1e-16)
        return value.clamp_min(least) if self.kind == "simplex" else value

    def random(self, generator: torch.Generator) -> Tensor:
        """Draw a value from the inside of the range, a simplex uniformly."""
        if self.kind == "simplex":
            weights = torch.rand(self.shape, generator=generator, dtype=torch.float64)
            exponential = (-torch.log1p(-weights)).clamp_min(1e-12)
            return exponential / exponential.sum(-1, keepdim=True)
        if self.kind == "unit":
            return torch.rand(self.shape, generator=generator, dtype=torch.float64) * 0.98 + 0.01
        free = torch.randn(self.free_shape, generator=generator, dtype=torch.float64)
        value: Tensor = self.transform(free)
        return value


class Parameters(Messenger):  # type: ignore[misc]
    """Give continuous sites and ``pyro.param`` statements values, and record what they are.

    Parameters
    ----------
    values
        By name; a site without one is drawn from its prior, a param keeps the value that it has.
    """

    def __init__(self, values: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.values = dict(values or {})
        self.found: dict[str, Parameter] = {}
        self._fixed: set[str] = set()

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["done"] or msg["is_observed"] or type(msg["fn"]).__name__ == "_Subsample":
            return
        fn, name = msg["fn"], msg["name"]
        if is_enumerable(fn) or getattr(fn.support, "is_discrete", False):
            return
        if msg["scale"] != 1.0 or msg["mask"] is not None:
            raise ModelError(f"site '{name}' is scaled or masked; a prior must be plain.")
        value = self.values[name] if name in self.values else plain(fn.sample())
        if tuple(fn.shape()) != tuple(value.shape):
            raise ModelError(
                f"continuous site '{name}' has shape {tuple(value.shape)}, but its prior has shape "
                f"{tuple(fn.shape())}, because it depends on a concept or the prior has the wrong "
                f"shape; a parameter is drawn before the concepts, in the shape of its table."
            )
        plates = tuple(plates_of(msg))
        self.found[name] = Parameter(name, tuple(value.shape), fn.support, fn, plates, value)
        msg["value"], msg["done"] = value, True

    def _pyro_param(self, msg: dict[str, Any]) -> None:
        if msg["done"]:
            self._fixed.add(msg["name"])
        elif msg["name"] in self.values:
            msg["value"], msg["done"] = self.values[msg["name"]], True

    def _pyro_post_param(self, msg: dict[str, Any]) -> None:
        name, value = msg["name"], msg["value"]
        if name in self._fixed:
            return
        constraint = msg["kwargs"].get("constraint", constraints.real)
        shape = tuple(value.shape)
        written = value.detach().to(torch.float64)
        self.found[name] = Parameter(name, shape, constraint, None, (), written)

    def log_prior(self) -> Tensor:
        """Return Σ log p of the sites at their values."""
        terms = [
            p.prior.log_prob(p.inside(p.initial)).sum() for p in self.found.values() if p.prior
        ]
        return torch.stack(terms).sum() if terms else torch.zeros((), dtype=torch.float64)


def flatten(parameters: Mapping[str, Parameter], values: Mapping[str, Tensor]) -> Tensor:
    """Return all values as one unconstrained vector, in the order of the parameters."""
    parts = [p.transform.inv(values[name]).reshape(-1) for name, p in parameters.items()]
    return torch.cat(parts)


def unflatten(
    parameters: Mapping[str, Parameter], free: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the values of an unconstrained vector, and log |∂ values / ∂ vector|."""
    values: dict[str, Tensor] = {}
    log_volume = free.new_zeros(())
    parts = torch.split(free, [p.n_free for p in parameters.values()])
    for part, (name, parameter) in zip(parts, parameters.items(), strict=True):
        own = part.reshape(parameter.free_shape)
        transform = parameter.transform
        values[name] = transform(own)
        log_volume = log_volume + transform.log_abs_det_jacobian(own, values[name]).sum()
    return values, log_volume
