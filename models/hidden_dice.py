"""Throws of a die that is exchanged unseen now and then, fair or loaded, shown as digits."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from pyro.ops.indexing import Vindex
from torch import Tensor

from concept_ppl.errors import ModelError

DICE = ("fair", "low", "high")
SIDES = ("1", "2", "3", "4", "5", "6")


def build(
    switch: float = 0.05,
    tilt: float = 1.2,
    lengths: tuple[int, int] = (10, 80),
) -> Callable[[int], None]:
    """Return the model: *3 1 4 6 6 5 …*, a token for each throw.

    One die is fair, one favours 1, 2 and 3, one favours 4, 5 and 6. Before each throw but the first
    the die may be exchanged for one of the others. The next token ``y`` is one more throw, of the
    die that comes *next*.

    There is no word in it that a language model could know beforehand: what it knows of the die, it
    learns from the throws. A state can be read behind any throw, and from the tenth on there is
    enough behind it; the last throw itself then tells something, so that the last token alone is a
    control to beat.

    Parameters
    ----------
    switch
        Probability that the die is exchanged.
    tilt
        A loaded die shows each of the three sides that it favours e^tilt times as often as each of
        the others; at 0 all dice are fair.
    lengths
        Shortest and longest context to simulate.

    Raises
    ------
    ModelError
        If a parameter is out of range.
    """
    if not 0 <= switch <= 1 or tilt < 0:
        raise ModelError(
            f"switch must be a probability and tilt at least 0, not {switch} and {tilt}."
        )
    throws = _throws(tilt)
    n = len(DICE)
    move = torch.full((n, n), switch / (n - 1), dtype=torch.float64).fill_diagonal_(1 - switch)
    log_move, log_throws, log_following = move.log(), throws.log(), (move @ throws).log()
    first = torch.zeros(n)

    def model(n_tokens: int) -> None:
        die = None
        for t in pyro.markov(range(n_tokens)):
            logits = first if die is None else Vindex(log_move)[die]
            die = pyro.sample(f"die_{t}", dist.Categorical(logits=logits))
            pyro.sample(f"x_{t}", dist.Categorical(logits=Vindex(log_throws)[die]))
        if die is not None:
            pyro.sample("y", dist.Categorical(logits=Vindex(log_following)[die]))

    model.labels = {"die": DICE, "x": SIDES, "y": SIDES}  # type: ignore[attr-defined]
    model.lengths = tuple(lengths)  # type: ignore[attr-defined]
    return model


def _throws(tilt: float) -> Tensor:
    """Return p(side | die), shape (3, 6)."""
    weights = torch.zeros(3, 6, dtype=torch.float64)
    weights[1, :3] = weights[2, 3:] = tilt
    return weights.softmax(1)
