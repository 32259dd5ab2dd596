"""A variational posterior of the parameters, by stochastic inference with Pyro's guides."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import torch
from numpy.typing import NDArray
from pyro.infer import SVI, Trace_ELBO, autoguide
from pyro.optim import ClippedAdam
from torch import Tensor

from concept_ppl.errors import InputError, ModelError, listed
from concept_ppl.fitting.likelihoods.collapse import collapsed_program
from concept_ppl.fitting.likelihoods.likelihood import Likelihood

from .ascents import Pace
from .checkpoints import Checkpoint

FINAL_SHARE = 0.01
"""Of the step size, at the last step."""
LOOK_EVERY = 50
"""Steps between two reports of the bound."""


@dataclass(frozen=True)
class Variational:
    """What SVI reached: draws from the guide, and the bound on the way.

    Attributes
    ----------
    draws : dict of str to float64 array, shape (n_draws, *shape)
    history : float64 array
        Evidence lower bound a token, the mean of each ``LOOK_EVERY`` steps.
    bound : float
        Mean of the last looks, in nats.
    """

    draws: dict[str, NDArray[np.float64]]
    history: NDArray[np.float64]
    bound: float


def make_guide(name: str, program: Any) -> Any:
    """Return one of Pyro's automatic guides by its name."""
    kind = getattr(autoguide, name, None)
    if not (isinstance(kind, type) and issubclass(kind, autoguide.AutoGuide)):
        known = listed(n for n in dir(autoguide) if n.startswith("Auto") and n not in {"AutoGuide"})
        raise InputError(f"guide '{name}' is none of Pyro's: {known}.")
    return kind(program)


def variational(
    likelihood: Likelihood,
    *,
    guide: str,
    steps: int,
    learning_rate: float,
    batch_size: int | None,
    draws: int,
    run: int,
    seed: int,
    checkpoint: Checkpoint,
    pace: Pace,
) -> Variational:
    """Maximise the evidence lower bound, then draw from the guide; Pyro's global state is kept.

    Raises
    ------
    InputError
        If there is no such guide.
    ModelError
        If the program has no site with a prior.
    """
    if all(p.prior is None for p in likelihood.program.parameters.values()):
        raise ModelError(
            f"model {likelihood.program.name} has only pyro.params, which have no posterior; use "
            f"method 'em' or 'map', or give them priors by pyro.sample."
        )
    program = collapsed_program(likelihood, batch_size=batch_size)
    with pyro.get_param_store().scope(), torch.random.fork_rng(devices=[]):
        pyro.set_rng_seed((seed * 1_000_003 + run) % 2**32)
        chosen = make_guide(guide, program)
        decay = FINAL_SHARE ** (1 / max(steps, 1))
        optimiser = ClippedAdam({"lr": learning_rate, "lrd": decay})
        svi = SVI(program, chosen, optimiser, Trace_ELBO())
        losses = _climb(svi, chosen, optimiser, steps, likelihood, checkpoint, pace, run)
        if hasattr(chosen, "laplace_approximation"):
            chosen = chosen.laplace_approximation()
        found = _draw(likelihood, chosen, draws)
    looks = [
        float(np.mean(losses[start : start + LOOK_EVERY]))
        for start in range(0, len(losses), LOOK_EVERY)
    ]
    history = -np.array(looks) / likelihood.weighted_tokens
    return Variational(found, history, -float(np.mean(losses[-LOOK_EVERY:])))


def _climb(
    svi: Any,
    guide: Any,
    optimiser: Any,
    steps: int,
    likelihood: Likelihood,
    checkpoint: Checkpoint,
    pace: Pace,
    run: int,
) -> list[float]:
    losses: list[float] = []
    state = checkpoint.load()
    guide()  # makes the guide's parameters, on which a stored state is laid
    if state is not None:
        # The guide has just made its constraints anew; their numbers are what is stored.
        own = pyro.get_param_store().get_state()
        pyro.get_param_store().set_state({**own, "params": state["params"]})
        _tell_modules(guide)
        optimiser.set_state(state["optimiser"])
        torch.set_rng_state(state["rng"])
        losses = list(state["losses"])
    for step in range(len(losses), steps):
        losses.append(float(svi.step()))
        if not np.isfinite(losses[-1]):
            raise ModelError(
                f"the evidence lower bound of model {likelihood.program.name} is not finite at "
                f"step {step}; use a smaller learning rate."
            )
        if step % LOOK_EVERY == LOOK_EVERY - 1 or step == steps - 1:
            bound = -float(np.mean(losses[-LOOK_EVERY:]))
            pace.tell(run, step, bound / likelihood.weighted_tokens)
            checkpoint.save(
                lambda: {
                    "params": pyro.get_param_store().get_state()["params"],
                    "optimiser": optimiser.get_state(),
                    "rng": torch.get_rng_state(),
                    "losses": list(losses),
                },
                now=step == steps - 1,
            )
    return losses


def _tell_modules(guide: Any) -> None:
    """Let a guide, which is a module, hold the parameters that the store now holds."""
    store = pyro.get_param_store()
    prefix = f"{guide._pyro_name}." if getattr(guide, "_pyro_name", "") else ""
    with torch.no_grad():
        for name, parameter in guide.named_parameters():
            key = prefix + name.replace("_unconstrained", "")
            if key in store._params:
                parameter.copy_(store._params[key])
                store._params[key] = parameter


def _draw(likelihood: Likelihood, guide: Any, draws: int) -> dict[str, NDArray[np.float64]]:
    parameters = likelihood.program.parameters
    store = pyro.get_param_store()
    found: dict[str, list[Tensor]] = {name: [] for name in parameters}
    with torch.no_grad():
        for _ in range(draws):
            sampled: Mapping[str, Tensor] = guide()
            for name, parameter in parameters.items():
                value = store[name] if parameter.prior is None else sampled[name]
                found[name].append(value.detach().reshape(parameter.shape).double())
    return {name: torch.stack(values).numpy() for name, values in found.items()}
