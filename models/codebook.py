"""A hidden map from names to colours, read off noisy pairs; the last name's colour is asked for."""

import itertools
import math
from collections.abc import Callable, Sequence

import pyro
import pyro.distributions as dist
import torch
from pyro.ops.indexing import Vindex
from torch import Tensor

from concept_ppl.errors import ModelError

NAMES = ("Anna", "Ben", "Clara", "David", "Emma")
COLOURS = ("red", "blue", "green", "black", "white")
OPENING = "So,"
MOST_MAPS = 256


def build(
    names: int = 4,
    noise: float = 0.3,
    exclusive: bool = True,
    lengths: tuple[int, int] = (9, 31),
) -> Callable[[int], None]:
    """Return the model: *Anna red, Ben blue, Anna green, … Anna*.

    Names and colours alternate, and the last token is a name. The map from names to colours is
    drawn once for a context, all maps equally likely; at each mention a name is drawn, and its
    colour follows, or, with probability ``noise``, one of the others. The next token ``y`` is the
    last name's colour with the same noise.

    The concept to read is ``colour``, that of the name that stands last: a function of the map and
    of that name. It moves from mention to mention, and the map turns it into the name that is
    written, so that no other concept is needed to remember the name. Its log-odds are those of the
    right pairs, picked by the last name: no sum over tokens, nor over pairs, tells more than a
    little. Where no two names share a colour, pairs of *other* names tell too, by what they rule
    out, so that counting the colours of the last name is not enough either.

    Parameters
    ----------
    names
        Number of names and of colours.
    noise
        Probability that a colour is wrong.
    exclusive
        Whether no two names share a colour. If not, each name's colour is drawn independently, and
        counts of the colours that followed the last name are all that tells: a control, in which a
        simple reader is exact.
    lengths
        Shortest and longest context to simulate, in tokens: twice the number of pairs, and one. An
        even length has an opening word before the first pair.

    Raises
    ------
    ModelError
        If a parameter is out of range.
    """
    if not (2 <= names <= len(NAMES) and 0 < noise < 1):
        raise ModelError(
            f"names must be 2 to {len(NAMES)} and noise between 0 and 1, not {names} and {noise}."
        )
    n_maps = math.factorial(names) if exclusive else names**names
    if n_maps > MOST_MAPS:
        raise ModelError(
            f"{names} names whose colours need not differ have {n_maps:,} maps, {MOST_MAPS} are "
            f"allowed; use fewer names or exclusive=True."
        )
    every = itertools.product(range(names), repeat=names)
    maps = [one for one in every if not exclusive or len(set(one)) == names]
    mention, written = _mentions(maps, names)
    same = torch.eye(names, dtype=torch.float64).log()
    following = torch.full((names, names), noise / (names - 1), dtype=torch.float64)
    following = following.fill_diagonal_(1 - noise).log()
    said = torch.full((names, 2 * names + 1), -torch.inf, dtype=torch.float64)
    said[:, names : 2 * names] = following
    opening = torch.full((2 * names + 1,), -torch.inf, dtype=torch.float64)
    opening[-1] = 0.0

    def model(n_tokens: int) -> None:
        book = pyro.sample("map", dist.Categorical(logits=torch.zeros(len(maps))))
        colour = None
        for t in pyro.markov(range(n_tokens)):
            is_opening = t == 0 and n_tokens % 2 == 0
            is_name = (n_tokens - 1 - t) % 2 == 0
            is_mention = colour is None or is_name
            logits = Vindex(mention)[book] if is_mention else Vindex(same)[colour]
            colour = pyro.sample(f"colour_{t}", dist.Categorical(logits=logits))
            if is_opening:
                token = opening
            else:
                token = Vindex(written)[book, colour] if is_name else Vindex(said)[colour]
            pyro.sample(f"x_{t}", dist.Categorical(logits=token))
        if colour is not None:
            pyro.sample("y", dist.Categorical(logits=Vindex(following)[colour]))

    colours = COLOURS[:names]
    model.labels = {  # type: ignore[attr-defined]
        "map": ["-".join(colours[i] for i in one) for one in maps],
        "colour": colours,
        "x": (*NAMES[:names], *(f"{colour}," for colour in colours), OPENING),
        "y": colours,
    }
    model.lengths = tuple(lengths)  # type: ignore[attr-defined]
    model.concept = "colour"  # type: ignore[attr-defined]
    return model


def _mentions(maps: Sequence[Sequence[int]], names: int) -> tuple[Tensor, Tensor]:
    """Return log p(colour | map), shape (maps, K), and log p(name token | map, colour).

    A name is drawn uniformly and its colour is that of the map. The other way round: a colour comes
    as often as names have it, and is written as one of these. For a colour that no name has, the
    second row is never used and left uniform.
    """
    has = torch.zeros(len(maps), names, names, dtype=torch.float64)
    for i, one in enumerate(maps):
        has[i, list(one), range(names)] = 1.0
    counts = has.sum(2)
    written = torch.zeros(len(maps), names, 2 * names + 1, dtype=torch.float64)
    written[:, :, :names] = torch.where(counts[..., None] > 0, has, 1.0)
    return (counts / names).log(), (written / written.sum(2, keepdim=True)).log()
