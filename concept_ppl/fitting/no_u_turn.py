"""Draws from the posterior of the parameters by the No-U-Turn Sampler, chain after chain.

Pyro's kernel with one flat vector of unconstrained coordinates; each chain has seeds of its own,
so that a chain that was interrupted starts again and ends in the same draws. Source: Hoffman and
Gelman (2014), https://jmlr.org/papers/v15/hoffman14a.html.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import torch
from numpy.typing import NDArray
from pyro.infer.mcmc import NUTS
from torch import Tensor

from concept_ppl.errors import ModelError
from concept_ppl.fitting.ascents import Pace
from concept_ppl.fitting.checkpoints import Checkpoint
from concept_ppl.fitting.likelihood import Likelihood
from concept_ppl.fitting.parameters import flatten, unflatten

START_WIDTH = 2.0
"""Chains start uniformly within so much of zero, in unconstrained coordinates."""


@dataclass
class Chain:
    """One chain after its warm-up.

    Attributes
    ----------
    free : float64 array, shape (n_draws, n_free)
    stats : dict of str to array, shape (n_draws,)
    warmup : dict of str to float64 array
    history : float64 array, shape (n_warmup + n_draws,)
        Log-evidence a token.
    """

    free: NDArray[np.float64]
    stats: dict[str, NDArray[Any]]
    warmup: dict[str, NDArray[np.float64]]
    history: NDArray[np.float64]


class _Potential:
    """−log posterior density of the unconstrained coordinates; counts its calls."""

    def __init__(self, likelihood: Likelihood) -> None:
        self.likelihood = likelihood
        self.calls = 0

    def __call__(self, z: Mapping[str, Tensor]) -> Tensor:
        free = z["free"]
        values, log_volume = unflatten(self.likelihood.program.parameters, free)
        log_evidence, log_prior = self.likelihood.log_density(values)
        self.calls += 1
        return -(log_evidence + log_prior + log_volume)


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
    """Sample the chains that the checkpoint does not hold yet.

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
    state = checkpoint.load() or {"chains": []}
    done = [Chain(**one) for one in state["chains"]]
    for chain in range(len(done), chains):
        with torch.random.fork_rng(devices=[]), pyro.validation_enabled(False):
            pyro.set_rng_seed((seed * 1_000_003 + chain) % 2**32)
            done.append(
                _one_chain(
                    likelihood, chain, warmup, draws, target_acceptance, max_tree_depth, start, pace
                )
            )
        checkpoint.save(lambda: {"chains": [vars(one) for one in done]}, now=True)
    return done


def _one_chain(
    likelihood: Likelihood,
    chain: int,
    warmup: int,
    draws: int,
    target_acceptance: float,
    max_tree_depth: int,
    start: Mapping[str, Tensor] | None,
    pace: Pace,
) -> Chain:
    potential = _Potential(likelihood)
    kernel = NUTS(
        potential_fn=potential,
        target_accept_prob=target_acceptance,
        max_tree_depth=max_tree_depth,
    )
    z = {"free": _start(likelihood, potential, start)}
    kernel.initial_params = z
    kernel.setup(warmup)
    free, history, warm_diverging = [], [], []
    stats: dict[str, list[Any]] = {n: [] for n in ("lp", "diverging", "step_size", "n_steps")}
    for iteration in range(warmup + draws):
        calls, divergences = potential.calls, len(kernel._divergences)
        z = kernel.sample(z)
        energy = float(kernel._potential_energy_last)
        log_evidence = _log_evidence(likelihood, z["free"], energy)
        history.append(log_evidence / likelihood.weighted_tokens)
        pace.tell(chain, iteration, history[-1])
        diverged = len(kernel._divergences) > divergences
        if iteration < warmup:
            warm_diverging.append(diverged)
            continue
        free.append(z["free"].detach().numpy().copy())
        stats["lp"].append(-energy)
        stats["diverging"].append(diverged)
        stats["step_size"].append(float(kernel.step_size))
        stats["n_steps"].append(potential.calls - calls)
    mass = next(iter(kernel.inverse_mass_matrix.values())).numpy().copy()
    adapted = {
        "step_size": np.array(float(kernel.step_size)),
        "inverse_mass_diagonal": mass,
        "acceptance_rate": np.array(float(kernel._mean_accept_prob)),
        "diverging": np.array(float(sum(warm_diverging))),
    }
    arrays = {name: np.array(values) for name, values in stats.items()}
    return Chain(np.array(free), arrays, adapted, np.array(history))


def _log_evidence(likelihood: Likelihood, free: Tensor, energy: float) -> float:
    """Return the log-evidence from the energy, without another pass over the contexts."""
    program = likelihood.program
    with torch.no_grad():
        values, log_volume = unflatten(program.parameters, free)
        log_prior = program.log_prior(values)
    return -energy - float(log_prior + log_volume)


def _start(
    likelihood: Likelihood, potential: _Potential, start: Mapping[str, Tensor] | None
) -> Tensor:
    parameters = likelihood.program.parameters
    if start is not None:
        return flatten(parameters, start).detach().clone()
    for _ in range(100):
        free = (torch.rand(likelihood.program.n_free, dtype=torch.float64) * 2 - 1) * START_WIDTH
        with torch.no_grad():
            if bool(torch.isfinite(potential({"free": free}))):
                return free
    raise ModelError(
        f"model {likelihood.program.name}: none of 100 random starts has a finite density; give a "
        f"start."
    )
