"""Train a predictor by next-token prediction alone, until its KL to the Bayes predictive is small.

    config = PredictorConfig("mlp", width=64, depth=2, representation=7)
    world = enumerate_contexts(load_model("concept_dag", vocabulary=6), 4)
    trained = train(config, exact_examples(world), seed=0, kl_target=1e-5)
    trained.states(world.contexts)          # f(x), site final_norm
    trained.unembedding                     # g(y)
    untrained(config, exact_examples(world), seed=0)  # its twin without a step

The loss is the cross-entropy of the training pairs, by default of all of them in every step; AdamW,
the learning rate warmed up and then lowered along a cosine. On a CPU the same seed gives the same
numbers bit for bit, also where training was killed and went on from its checkpoint.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from concept_ppl.errors import InputError
from concept_ppl.outputs import new_file

from .examples import Examples
from .predictor import (
    Network,
    Predictor,
    PredictorConfig,
    answer,
    as_batch,
    make_network,
    one_thread,
)

Report = Callable[[int, int, float], None]

CHECKPOINT_SECONDS = 5.0
"""A checkpoint is written at a look at the KL, at most this often."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to optimise.

    Attributes
    ----------
    learning_rate
        Its peak, after ``warmup`` steps; from there it goes to zero along a cosine over the rest of
        the steps. The default suits widths up to 64; give wider predictors less.
    warmup
        Steps.
    weight_decay
        Of AdamW.
    look_every
        Steps between looks at the KL.
    pairs_per_step
        ``None``: every training pair in each step. A number: so many drawn anew from the shares for
        each step, as from a stream of text; the steps are then noisy, and KL ends higher.
    """

    learning_rate: float = 1e-2
    warmup: int = 50
    weight_decay: float = 0.0
    look_every: int = 25
    pairs_per_step: int | None = None


def train(
    config: PredictorConfig,
    examples: Examples,
    *,
    seed: int,
    kl_target: float = 1e-4,
    max_steps: int = 5000,
    recipe: Recipe | None = None,
    checkpoint: str | Path | None = None,
    progress: Report | None = None,
    device: torch.device | str = "cpu",
) -> Predictor:
    """Train until KL to the Bayes predictive, averaged by p(x), is at most ``kl_target``.

    Parameters
    ----------
    config
        What the predictor is made of.
    examples
        Contexts, the shares of pairs to train on, and the Bayes predictive.
    seed
        Of the first weights.
    kl_target
        Nats. The Bayes predictive decides only when to stop: the loss knows nothing of it.
    max_steps
        Stop here if KL has not come down to the target; the predictor says so in ``reached``.
    recipe
        How to optimise.
    checkpoint
        File from which a killed training goes on, and in which a finished one is found again. It is
        replaced as a whole, so that it is never half-written.
    progress
        Called at each look with (steps done, steps at most, KL).
    device
        Where to train; the predictor's network stays there.

    Raises
    ------
    InputError
        If the target or the number of steps is not positive, the checkpoint is of another training,
        or training diverges.
    """
    if not (kl_target > 0 and max_steps > 0):
        raise InputError(
            f"kl_target and max_steps must be positive, not {kl_target} and {max_steps}."
        )
    run = _Run(config, examples, seed, kl_target, max_steps, recipe or Recipe(), device)
    store = None if checkpoint is None else Path(checkpoint)
    with one_thread():
        if store is not None and store.exists():
            run.restore(store)
        written = time.monotonic()
        while not run.is_finished:
            run.advance()
            if progress is not None:
                progress(run.steps, max_steps, run.kl)
            is_due = run.is_finished or time.monotonic() - written >= CHECKPOINT_SECONDS
            if store is not None and is_due:
                run.save(store)
                written = time.monotonic()
    return run.predictor()


def untrained(config: PredictorConfig, examples: Examples, *, seed: int) -> Predictor:
    """Return the network that `train` starts from, for controls: same seed, no step."""
    network = make_network(config, examples, seed)
    kl = _kl(network, examples)
    return Predictor(config, seed, kl, 0, 0.0, ((0, kl),), False, network)


def _kl(network: Network, examples: Examples) -> float:
    device = network.unembedding.weight.device
    return examples.kl(answer(network, examples.contexts, device))


class _Run:
    """A training under way: what a checkpoint holds, and how it goes on."""

    def __init__(
        self,
        config: PredictorConfig,
        examples: Examples,
        seed: int,
        kl_target: float,
        max_steps: int,
        recipe: Recipe,
        device: torch.device | str,
    ) -> None:
        self.config, self.examples, self.seed = config, examples, seed
        self.kl_target, self.max_steps, self.recipe = kl_target, max_steps, recipe
        self.network = make_network(config, examples, seed).to(device)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.tokens, self.lengths = (part.to(device) for part in as_batch(examples.contexts))
        self.shares = torch.from_numpy(examples.shares).to(torch.get_default_dtype())
        self.all_shares = self.shares.to(device)
        self.generator = torch.Generator().manual_seed(seed)
        self.steps, self.seconds = 0, 0.0
        self.history = [(0, _kl(self.network, examples))]

    @property
    def kl(self) -> float:
        return self.history[-1][1]

    @property
    def is_finished(self) -> bool:
        return self.kl <= self.kl_target or self.steps >= self.max_steps

    def advance(self) -> None:
        """Take steps up to the next look at the KL, and look."""
        start = time.perf_counter()
        for _ in range(min(self.recipe.look_every, self.max_steps - self.steps)):
            for group in self.optimiser.param_groups:
                group["lr"] = self._learning_rate()
            self.optimiser.zero_grad()
            self._loss().backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
            self.steps += 1
        kl = _kl(self.network, self.examples)
        if not math.isfinite(kl):
            raise InputError(
                f"training of {self.config.architecture} has diverged, KL is {kl} after "
                f"{self.steps} steps; give the recipe a smaller learning_rate."
            )
        self.history.append((self.steps, kl))
        self.seconds += time.perf_counter() - start

    def _loss(self) -> Tensor:
        """Cross-entropy in nats: of all pairs, or of a few that were drawn just now."""
        n_pairs = self.recipe.pairs_per_step
        if n_pairs is None:
            log_q: Tensor = self.network(self.tokens, self.lengths)
            return -(self.all_shares * log_q).sum()
        drawn = torch.multinomial(
            self.shares.reshape(-1), n_pairs, replacement=True, generator=self.generator
        )
        drawn = drawn.to(self.tokens.device)  # drawn on the CPU: the same pairs on each device
        rows, following = drawn // self.examples.n_next, drawn % self.examples.n_next
        log_q = self.network(self.tokens[rows], self.lengths[rows])
        return -log_q.gather(1, following.unsqueeze(1)).mean()

    def _learning_rate(self) -> float:
        warm = min(1.0, (self.steps + 1) / self.recipe.warmup)
        way = math.cos(0.5 * math.pi * self.steps / self.max_steps) ** 2
        return self.recipe.learning_rate * warm * way

    def predictor(self) -> Predictor:
        return Predictor(
            self.config,
            self.seed,
            self.kl,
            self.steps,
            self.seconds,
            tuple(self.history),
            self.kl <= self.kl_target,
            self.network,
        )

    def save(self, path: Path) -> None:
        with new_file(path, force=True) as temporary:
            torch.save(
                {
                    "training": self._identity(),
                    "network": self.network.state_dict(),
                    "optimiser": self.optimiser.state_dict(),
                    "generator": self.generator.get_state(),
                    "steps": self.steps,
                    "seconds": self.seconds,
                    "history": self.history,
                },
                temporary,
            )

    def restore(self, path: Path) -> None:
        try:
            stored: dict[str, Any] = torch.load(path, weights_only=True)
            is_own = stored["training"] == self._identity()
        except Exception as error:
            raise InputError(
                f"{path} is no checkpoint of a training; name another file."
            ) from error
        if not is_own:
            raise InputError(
                f"{path} is the checkpoint of another training (config, examples, seed, target, "
                "steps or recipe differ); name another file or remove it."
            )
        self.network.load_state_dict(stored["network"])
        self.optimiser.load_state_dict(stored["optimiser"])
        self.generator.set_state(stored["generator"])
        self.steps, self.seconds = stored["steps"], stored["seconds"]
        self.history = [(step, kl) for step, kl in stored["history"]]

    def _identity(self) -> dict[str, Any]:
        """Return all that decides the numbers: a checkpoint belongs to one training alone."""
        return {
            "config": asdict(self.config),
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "kl_target": self.kl_target,
            "max_steps": self.max_steps,
            "examples": self.examples.digest,
        }
