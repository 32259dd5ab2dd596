"""Pyro's No-U-Turn Sampler on one vector of coordinates, an iteration at a time, whole when stored.

Pyro runs chains from start to end; here a chain can be stopped between two iterations, stored as
numbers, and go on to the draws that it would have made. Source: Hoffman and Gelman (2014),
https://jmlr.org/papers/v15/hoffman14a.html, as ``pyro.infer.NUTS`` has it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pyro.infer import NUTS
from torch import Tensor

Array = NDArray[np.float64]
Density = Callable[[Array], tuple[float, Array]]
"""From coordinates to the log density and its gradient."""
SITE = "coordinates"

KERNEL = (
    *("_t", "_accept_cnt", "_mean_accept_prob", "_divergences"),
    *("_potential_energy_last", "energy"),
)
"""What iterations change in Pyro's kernel,"""
POINTS = ("_initial_params", "_z_last", "_z_grads_last")
"""of that, what is kept by site,"""
ADAPTER = ("step_size", "_current_window")
"""and in what adapts it."""


@dataclass(frozen=True)
class Transition:
    """What one iteration did.

    Attributes
    ----------
    energy : float
        Of the point and the momentum from which it started.
    acceptance_rate : float
        Mean over its trajectory.
    n_steps, tree_depth : int
        Leapfrog steps, and how often the trajectory doubled.
    diverging : bool
    """

    energy: float
    acceptance_rate: float
    n_steps: int
    tree_depth: int
    diverging: bool


class _Kernel(NUTS):  # type: ignore[misc]
    """Pyro's kernel, which keeps what it says of an iteration to itself."""

    def _sample_r(self, name: str) -> Any:
        unscaled: dict[Any, Tensor]
        r, unscaled = super()._sample_r(name)
        if self._potential_energy_last is not None:
            kinetic = self._kinetic_energy(unscaled)
            self.energy = float(kinetic + self._potential_energy_last)
        return r, unscaled

    @property
    def log_density(self) -> float:
        return -float(self._potential_energy_last)

    @property
    def n_diverging(self) -> int:
        return len(self._divergences)

    def sum_of_acceptance(self, warmup: int) -> float:
        """Sum over the iterations since the warm-up began or, after it, ended."""
        n = self._t if self._t <= warmup else self._t - warmup
        return float(self._mean_accept_prob * n)

    def state(self) -> dict[str, Any]:
        """Return all that iterations change, as numbers and tensors."""
        adapter = self._adapter
        (welford,) = adapter.mass_matrix_adapter._adapt_scheme.values()
        return {
            "self": {name: getattr(self, name) for name in KERNEL},
            "points": {name: getattr(self, name)[SITE] for name in POINTS},
            "adapter": {name: getattr(adapter, name) for name in ADAPTER},
            "averaging": dict(vars(adapter._step_size_adapt_scheme)),
            "inverse_mass": self.inverse_mass_matrix[SITE,],
            "welford": dict(vars(welford)),
        }

    def restore(self, state: Mapping[str, Any], warmup: int) -> None:
        """Go on from a state."""
        self._warmup_steps = warmup
        for name in KERNEL:
            setattr(self, name, state["self"][name])
        for name in POINTS:
            setattr(self, name, {SITE: state["points"][name]})
        inverse_mass = state["inverse_mass"]
        self._adapter.configure(
            warmup,
            mass_matrix_shape={(SITE,): inverse_mass.shape},
            find_reasonable_step_size_fn=self._find_reasonable_step_size,
            options={"dtype": inverse_mass.dtype, "device": inverse_mass.device},
        )
        self.mass_matrix_adapter.inverse_mass_matrix = {(SITE,): inverse_mass}
        (welford,) = self.mass_matrix_adapter._adapt_scheme.values()
        for part, name in (
            (self._adapter, "adapter"),
            (self._adapter._step_size_adapt_scheme, "averaging"),
            (welford, "welford"),
        ):
            for attribute, value in state[name].items():
                setattr(part, attribute, value)


@dataclass
class Sampler:
    """One chain: where it is, what it has adapted, and its own random numbers.

    Everything but the density is in here.

    Attributes
    ----------
    position : float64 array, shape (n_free,)
        Where it starts, later where it is.
    warmup, target, max_tree_depth
        Iterations that adapt; the acceptance rate that they aim for; most doublings.
    seed : int
        Of its random numbers.
    iteration : int
        How many are done.
    log_density : float
        At the position, nats.
    """

    position: Array
    warmup: int
    target: float
    max_tree_depth: int
    seed: int
    iteration: int = field(init=False, default=0)
    log_density: float = field(init=False, default=np.nan)

    def __post_init__(self) -> None:
        self.kernel = _Kernel(
            potential_fn=_unset,
            target_accept_prob=self.target,
            max_tree_depth=self.max_tree_depth,
        )
        self.random_state = torch.Generator().manual_seed(self.seed).get_state()

    @property
    def step_size(self) -> float:
        """Length of a leapfrog step."""
        return float(self.kernel.step_size)

    @property
    def inverse_mass(self) -> Array:
        """(n_free,) diagonal of the inverse metric."""
        (diagonal,) = self.kernel.inverse_mass_matrix.values()
        inverse_mass: Array = diagonal.detach().numpy().astype(np.float64)
        return inverse_mass

    def state(self) -> dict[str, Any]:
        """Return what :meth:`restore` needs, once an iteration is done."""
        return {
            "position": self.position,
            "iteration": self.iteration,
            "log_density": self.log_density,
            "random_state": self.random_state,
            "kernel": self.kernel.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.position, self.random_state = state["position"], state["random_state"]
        self.iteration, self.log_density = state["iteration"], state["log_density"]
        self.kernel.restore(state["kernel"], self.warmup)

    def step(self, density: Density) -> Transition:
        """Take one iteration, and adapt while warming up."""
        potential = _Potential(density)
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self.random_state)
            self.kernel.potential_fn = potential
            where = {SITE: torch.from_numpy(self.position)}
            if self.iteration == 0:
                self.kernel.initial_params = where
                self.kernel.setup(self.warmup)
                potential.n_calls = 0
            transition = self._transition(where, potential)
            self.kernel.potential_fn = _unset
            self.random_state = torch.get_rng_state()
        self.log_density = self.kernel.log_density
        self.iteration += 1
        return transition

    def _transition(self, where: dict[str, Tensor], potential: "_Potential") -> Transition:
        diverged = self.kernel.n_diverging
        accepted = self.kernel.sum_of_acceptance(self.warmup)
        before = accepted if self.iteration != self.warmup else 0.0
        self.position = self.kernel.sample(where)[SITE].detach().numpy().copy()
        n_steps = potential.n_calls
        # A difference of running sums, so that rounding may carry it past its ends.
        rate = min(max(self.kernel.sum_of_acceptance(self.warmup) - before, 0.0), 1.0)
        return Transition(
            self.kernel.energy,
            rate,
            n_steps,
            int(np.ceil(np.log2(n_steps + 1))),
            self.kernel.n_diverging > diverged,
        )


def _unset(_: dict[str, Tensor]) -> Tensor:
    """Stand for the density of a sampler that is stored: that is the caller's to give."""
    raise RuntimeError("a sampler takes its density with each step")


class _Potential:
    """The negative log density as Pyro takes it, with its own slope, counting how often."""

    def __init__(self, density: Density) -> None:
        self.density = density
        self.n_calls = 0

    def __call__(self, point: dict[str, Tensor]) -> Tensor:
        self.n_calls += 1
        log_density, slope = self.density(point[SITE].detach().numpy())
        energy: Tensor = _WithSlope.apply(  # type: ignore[no-untyped-call]
            point[SITE], -log_density, torch.from_numpy(-slope)
        )
        return energy


class _WithSlope(torch.autograd.Function):
    """A number whose slope is already known."""

    @staticmethod
    def forward(ctx: Any, point: Tensor, value: float, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return point.new_tensor(value)

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return outer * slope, None, None
