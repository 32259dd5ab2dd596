"""How a language model's training is continued: which weights, how many steps, at what rate."""

import math
from dataclasses import dataclass

from concept_ppl.errors import InputError

from .world_texts import AT_ONCE


@dataclass(frozen=True, slots=True)
class AdaptationRecipe:
    """How to optimise.

    Attributes
    ----------
    steps
        Of AdamW, each on texts of its own.
    batch
        Texts in a step.
    learning_rate
        Its peak; from there it falls along a cosine to ``last_share`` of it.
    warmup
        Share of the steps over which the rate rises from 0.
    weight_decay
        Of AdamW.
    blocks
        The last so many blocks learn; ``None``: every weight, embeddings included.
    lora
        Rank of the LoRA maps that learn in place of the blocks' own weights; 0: the weights.
    last_share
        What is left of the peak rate at the end.

    Raises
    ------
    InputError
        If a number is out of range.
    """

    steps: int
    batch: int = 32
    learning_rate: float = 3e-4
    warmup: float = 0.05
    weight_decay: float = 0.01
    blocks: int | None = None
    lora: int = 0
    last_share: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        if self.steps < 1 or not 1 <= self.batch <= AT_ONCE:
            raise InputError(
                f"steps must be at least 1 and batch 1 to {AT_ONCE:,}, not {self.steps} and "
                f"{self.batch}."
            )
        if not (self.learning_rate > 0 and 0 <= self.warmup <= 1 and self.weight_decay >= 0):
            raise InputError(
                f"learning_rate must be positive, warmup a share and weight_decay at least 0, not "
                f"{self.learning_rate}, {self.warmup} and {self.weight_decay}."
            )
        if self.lora < 0 or (self.blocks is not None and self.blocks < 1):
            raise InputError(
                f"lora is a rank, 0 for none, and blocks at least 1, not {self.lora} and "
                f"{self.blocks}."
            )

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        rising = min(1.0, (step + 1) / max(1.0, self.warmup * self.steps))
        falling = math.cos(0.5 * math.pi * step / self.steps) ** 2
        return self.learning_rate * rising * (self.last_share + (1 - self.last_share) * falling)

    def spread(self, n: int) -> tuple[int, ...]:
        """Return ``n`` steps to look at, the first 0 and the last the end, even in √steps.

        Most of what a training changes it changes early.
        """
        if n < 2:
            raise InputError(f"{n} looks are no before and after; ask for at least 2.")
        looks = {round(self.steps * (i / (n - 1)) ** 2) for i in range(n)}
        return tuple(sorted(looks))
