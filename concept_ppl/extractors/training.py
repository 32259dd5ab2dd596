"""Fitting a dictionary by stochastic gradients: batches, AdamW, a file to go on from."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from concept_ppl.errors import InputError
from concept_ppl.predictors.adaptation.progress_files import (
    Progress,
    restore_progress,
    save_progress,
)

from .baselines import centre_and_scale
from .conca import Conca, ConcaSettings
from .dictionary import Dictionary
from .state_batches import batch_at

SAVE_SECONDS = 60.0
WARM_UP = 0.05
"""Share of the steps over which the rate rises; it then falls along a cosine."""


@dataclass(frozen=True, slots=True)
class TrainingRecipe:
    """How a dictionary is trained.

    Attributes
    ----------
    steps, batch
        Steps, and states in each.
    learning_rate
        At its peak.
    seed
        Of weights and of the order of states.
    """

    steps: int = 3000
    batch: int = 1024
    learning_rate: float = 3e-3
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse sizes that train nothing."""
        if self.steps < 1 or self.batch < 1 or not self.learning_rate > 0:
            raise InputError(
                f"steps is {self.steps}, batch {self.batch}, learning_rate {self.learning_rate}; "
                "all must be positive."
            )

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        warm = max(1, round(WARM_UP * self.steps))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        done = (step - warm) / max(1, self.steps - warm)
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))


def fit_conca(
    states: NDArray[np.floating],
    settings: ConcaSettings,
    recipe: TrainingRecipe | None = None,
    *,
    under_way: str | Path | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Dictionary:
    """Fit ConCA to states (n, d); see `concept_ppl.extractors.conca`.

    Parameters
    ----------
    states
        In memory or memory-mapped; they are centred and brought to mean square 1 a coordinate by
        what all rows say, one pass before training.
    settings, recipe
        Which variant; how it is trained.
    under_way
        A file from which a killed training goes on, to the same numbers.
    device
        Where it is trained.
    progress
        Called with (steps done, steps).

    Raises
    ------
    InputError
        If the states are no matrix, an argument is not usable, or training diverges.
    """
    recipe = recipe or TrainingRecipe()
    if states.ndim != 2 or len(states) < 2:
        raise InputError(f"states must be a matrix (contexts, width), not of shape {states.shape}.")
    shift, scale = centre_and_scale(states)
    module = Conca(settings, states.shape[1], recipe.seed).to(device)
    centre = torch.from_numpy(shift)

    def batch(step: int) -> torch.Tensor:
        return ((batch_at(states, step, recipe.batch, recipe.seed) - centre) / scale).to(device)

    identity = {"conca": asdict(settings), "recipe": asdict(recipe), "n": len(states)}
    losses = train_module(module, batch, recipe, identity, under_way, progress)
    said = {**asdict(settings), **asdict(recipe), "loss": losses[-1], "n_states": len(states)}
    return module.dictionary(shift, scale, said)


def train_module(
    module: nn.Module,
    batch: Callable[[int], torch.Tensor],
    recipe: TrainingRecipe,
    identity: Mapping[str, Any],
    under_way: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[float]:
    """Minimise a module's own loss; return the loss of each step.

    Parameters
    ----------
    module
        Whose call on a batch is its loss.
    batch
        Of a step, counted from 0.
    recipe
        Steps and rates.
    identity
        All that decides the numbers, so that no other training goes on from the file.
    under_way, progress
        As `fit_conca` takes them.

    Raises
    ------
    InputError
        If the loss is not finite, or the file is of another training.
    """
    weights = dict(module.named_parameters())
    optimiser = torch.optim.AdamW(weights.values(), lr=recipe.learning_rate, weight_decay=0.0)
    losses: list[float] = []
    path = None if under_way is None else Path(under_way)
    if path is not None and path.exists():
        losses = list(restore_progress(path, weights, optimiser, identity).losses)
    saved = time.monotonic()
    for step in range(len(losses), recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate(step)
        optimiser.zero_grad()
        loss = module(batch(step))
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise InputError(
                f"training has diverged, its loss is {losses[-1]} after {step + 1} steps; give it "
                "a smaller learning rate."
            )
        if progress is not None:
            progress(step + 1, recipe.steps)
        if path is not None and time.monotonic() - saved > SAVE_SECONDS:
            save_progress(path, Progress(step + 1, tuple(losses)), weights, optimiser, identity)
            saved = time.monotonic()
    if path is not None:
        done = Progress(len(losses), tuple(losses))
        save_progress(path, done, weights, optimiser, identity)
    return losses
