"""Draws from the posterior of the parameters, chain after chain, by the No-U-Turn Sampler.

Each chain starts at a draw from the prior, where a prior that names the values of concepts names
them too. It has a seed of its own and is stored on the way, so that one that was stopped ends in
the draws that it would have made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concept_ppl.errors import ModelError
from concept_ppl.fitting.likelihoods.likelihood import Likelihood
from concept_ppl.fitting.likelihoods.parameters import flatten, unflatten

from .ascents import Pace
from .checkpoints import Checkpoint
from .flat_density import flat_density
from .no_u_turn import Sampler

Array = NDArray[np.float64]
MOVED_INSIDE = 0.05
"""How far the probabilities at which a chain starts are moved towards equal ones."""
STATISTICS = ("diverging", "step_size", "tree_depth", "n_steps", "acceptance_rate", "energy")


@dataclass
class Chain:
    """One chain after its warm-up.

    Attributes
    ----------
    draws : dict of str to float64 array, shape (n_draws, *shape)
    stats : dict of str to array, shape (n_draws,)
    warmup : dict of str to float64 array
    history : float64 array, shape (n_warmup + n_draws,)
        Log-evidence a token.
    """

    draws: dict[str, Array]
    stats: dict[str, NDArray[Any]]
    warmup: dict[str, Array]
    history: Array


class Coordinates:
    """The log posterior density over unconstrained coordinates, and the way back to parameters."""

    def __init__(self, likelihood: Likelihood) -> None:
        self.likelihood = likelihood
        self.flat = flat_density(likelihood)
        self.parameters = likelihood.program.parameters
        self.n_free = likelihood.program.n_free

    def density(self, free: Array) -> tuple[float, Array]:
        """Return log-evidence + log prior + log |∂ parameters / ∂ coordinates|, and its slope."""
        with np.errstate(all="ignore"):
            if self.flat is not None:
                return self.flat(free)
        leaf = torch.from_numpy(free).requires_grad_()
        values, log_volume = unflatten(self.parameters, leaf)
        try:
            log_evidence, log_prior = self.likelihood.log_density(values)
        except ValueError:  # a distribution's own check: far outside, where numbers end
            return -np.inf, np.zeros_like(free)
        total = log_evidence + log_prior + log_volume
        (slope,) = torch.autograd.grad(total, leaf)
        return float(total.detach()), slope.numpy()

    def values(self, free: Array) -> dict[str, Array]:
        """Return the parameters at some coordinates."""
        if self.flat is not None:
            found = self.flat.values(free)
            return {name: found[name].reshape(p.shape) for name, p in self.parameters.items()}
        return {
            n: v.numpy() for n, v in unflatten(self.parameters, torch.from_numpy(free))[0].items()
        }

    def coordinates(self, values: Mapping[str, Tensor]) -> Array:
        """Return the coordinates of some parameters."""
        if self.flat is not None:
            return self.flat.start(dict(values))
        return flatten(self.parameters, values).detach().numpy().copy()

    def log_evidence(self, free: Array, log_density: float) -> float:
        """Return the log-evidence from the density, without another pass over the contexts."""
        if self.flat is not None:
            return log_density - self.flat.prior_and_volume(self.flat.log_rows(free))
        with torch.no_grad():
            values, log_volume = unflatten(self.parameters, torch.from_numpy(free))
            return log_density - float(self.likelihood.program.log_prior(values) + log_volume)


def sample_chains(
    likelihood: Likelihood,
    *,
    chains: int,
    warmup: int,
    draws: int,
    seed: int,
    target_acceptance: float,
    max_tree_depth: int,
    start: Mapping[str, Tensor] | None,
    checkpoint: Checkpoint,
    pace: Pace,
) -> list[Chain]:
    """Sample the chains, from where the checkpoint left off.

    Raises
    ------
    ModelError
        If a parameter has no prior, or no start of finite density is found.
    """
    for name, parameter in likelihood.program.parameters.items():
        if parameter.prior is None:
            raise ModelError(
                f"parameter '{name}' is a pyro.param, which has no prior, so it has no posterior; "
                f"make it a pyro.sample with a prior, or use method 'em', 'map' or 'svi'."
            )
    coordinates = Coordinates(likelihood)
    state = checkpoint.load() or {"done": [], "current": None}
    done = [Chain(**one) for one in state["done"]]
    stored = state["current"]
    for chain in range(len(done), chains):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(chain,)))
        where = _start(coordinates, rng, start)
        own_seed = int(rng.integers(2**63))
        sampler = Sampler(where, warmup, target_acceptance, max_tree_depth, own_seed)
        running = _Running(coordinates, sampler)
        if stored is not None:
            running.restore(stored)
            stored = None
        while running.sampler.iteration < warmup + draws:
            running.iterate()
            pace.tell(chain, len(running.history) - 1, running.history[-1])
            checkpoint.save(
                lambda r=running: {"done": [vars(c) for c in done], "current": r.state()}  # type: ignore[misc]
            )
        done.append(running.finished())
        checkpoint.save(lambda: {"done": [vars(c) for c in done], "current": None}, now=True)
    return done


class _Running:
    """A chain on its way, and what it has recorded."""

    def __init__(self, coordinates: Coordinates, sampler: Sampler) -> None:
        self.coordinates, self.sampler = coordinates, sampler
        self.draws: dict[str, list[Any]] = {name: [] for name in coordinates.parameters}
        self.stats: dict[str, list[Any]] = {name: [] for name in STATISTICS}
        self.history: list[float] = []
        self.warmup_diverging = 0

    def iterate(self) -> None:
        """Take one iteration and record it; of the warm-up, the history alone."""
        sampler = self.sampler
        transition = sampler.step(self.coordinates.density)
        log_evidence = self.coordinates.log_evidence(sampler.position, sampler.log_density)
        self.history.append(log_evidence / self.coordinates.likelihood.weighted_tokens)
        if sampler.iteration <= sampler.warmup:
            self.warmup_diverging += transition.diverging
            return
        for name, value in self.coordinates.values(sampler.position).items():
            self.draws[name].append(np.array(value))
        for name in STATISTICS:
            self.stats[name].append(
                sampler.step_size if name == "step_size" else getattr(transition, name)
            )

    def finished(self) -> Chain:
        """Return the chain that it has become."""
        warmup = {
            "step_size": np.array(self.sampler.step_size),
            "inverse_mass_diagonal": self.sampler.inverse_mass,
            "diverging": np.array(float(self.warmup_diverging)),
        }
        return Chain(_stacked(self.draws), _stacked(self.stats), warmup, np.array(self.history))

    def state(self) -> dict[str, Any]:
        """Return what :meth:`restore` needs."""
        return {
            "sampler": self.sampler.state(),
            "draws": _stacked(self.draws),
            "stats": _stacked(self.stats),
            "history": np.array(self.history),
            "warmup_diverging": self.warmup_diverging,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.sampler.restore(state["sampler"])
        self.draws = {name: list(rows) for name, rows in state["draws"].items()}
        self.stats = {name: list(values) for name, values in state["stats"].items()}
        self.history = state["history"].tolist()
        self.warmup_diverging = state["warmup_diverging"]


def _stacked(found: Mapping[str, list[Any]]) -> dict[str, NDArray[Any]]:
    return {name: np.array(values) for name, values in found.items()}


def _inside(coordinates: Coordinates, start: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Move probabilities a little towards equal ones: a zero would start a chain far outside."""
    moved = dict(start)
    for name, parameter in coordinates.parameters.items():
        if parameter.kind in {"simplex", "unit"}:
            even = 1 / parameter.shape[-1] if parameter.kind == "simplex" else 0.5
            moved[name] = (1 - MOVED_INSIDE) * start[name] + MOVED_INSIDE * even
    return moved


def _start(
    coordinates: Coordinates, rng: np.random.Generator, start: Mapping[str, Tensor] | None
) -> Array:
    if start is not None:
        return coordinates.coordinates(_inside(coordinates, start))
    program = coordinates.likelihood.program
    for _ in range(100):
        drawn = program.prior_draw(int(rng.integers(2**31)))
        free = coordinates.coordinates(_inside(coordinates, drawn))
        log_density, slope = coordinates.density(free)
        if np.isfinite(log_density) and np.isfinite(slope).all():
            return free
    raise ModelError(
        f"model {program.name}: none of 100 draws from the prior has a finite density; give a "
        f"start."
    )
