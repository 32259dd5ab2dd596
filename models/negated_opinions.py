"""Adjectives that speak for an opinion, or for the other one where "not" stands before them."""

import csv
from collections.abc import Callable
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from pyro.ops.indexing import Vindex
from torch import Tensor

from concept_ppl.errors import ModelError

LEXICON = Path(__file__).with_suffix(".csv")
"""Columns word and tilt, log p(word | good) − log p(word | bad) in nats; for its making see the
datasheet data/opinion_words/README.md."""
OPINIONS = ("good", "bad")
OPENING, NOT, CLOSING = "The film was", "not", "and"


def build(
    negation: float = 0.4,
    strength: float = 1.0,
    lengths: tuple[int, int] = (8, 22),
) -> Callable[[int], None]:
    """Return the model: *The film was short, not local, not terrible, and …*

    Each word comes from the lexicon of the opinion, or, after *not*, from that of the other
    opinion. What a word tells turns round with the token before it, so that no sum over tokens,
    weighted by position or not, is near the log-odds of the opinion: a reader has to bind *not* to
    its word. (A sum over pairs of neighbours is exact.) The opening and the closing token are the
    same under every opinion. The next token ``y`` is one more word of the opinion's own lexicon.

    The concept ``lexicon`` moves: at each token it says which lexicon the next word is from.

    Parameters
    ----------
    negation
        Probability that *not* stands before a word, below 1. At 0 the log-odds are a sum over the
        words; at .5 such a sum tells next to nothing.
    strength
        Factor of all tilts of the lexicon; at 0, words tell nothing.
    lengths
        Shortest and longest context to simulate, in tokens, the opening and the closing included.

    Raises
    ------
    ModelError
        If a parameter is out of range.
    """
    if not 0 <= negation < 1 or strength < 0:
        raise ModelError(
            f"negation must lie from 0 to below 1 and strength be at least 0, not {negation} and "
            f"{strength}."
        )
    words, tilts = lexicon()
    emission = _emission(strength * tilts)
    next_word = _own_words(strength * tilts)
    never = torch.tensor(-torch.inf)
    opening, closing = never.repeat(2, len(words) + 3)
    opening[len(words)] = closing[len(words) + 2] = 0.0
    own = never.repeat(2, 2).fill_diagonal_(0.0)
    turn = _turn(negation)

    def model(n_tokens: int) -> None:
        opinion = pyro.sample("opinion", dist.Categorical(logits=torch.zeros(2)))
        before = None
        for t in pyro.markov(range(n_tokens)):
            # Neither the opening nor the last word is a "not".
            is_plain = before is None or t == n_tokens - 2
            logits = Vindex(own)[opinion] if is_plain else Vindex(turn)[opinion, before]
            following = pyro.sample(f"lexicon_{t}", dist.Categorical(logits=logits))
            if before is None:
                token = opening
            elif t == n_tokens - 1:
                token = closing
            else:
                token = Vindex(emission)[opinion, before, following]
            pyro.sample(f"x_{t}", dist.Categorical(logits=token))
            before = following
        pyro.sample("y", dist.Categorical(logits=Vindex(next_word)[opinion]))

    labels = (*(f"{word}," for word in words), OPENING, NOT, CLOSING)
    model.labels = {  # type: ignore[attr-defined]
        "opinion": OPINIONS,
        "lexicon": OPINIONS,
        "x": labels,
        "y": words,
    }
    model.lengths = tuple(lengths)  # type: ignore[attr-defined]
    model.concept = "opinion"  # type: ignore[attr-defined]
    return model


def lexicon() -> tuple[tuple[str, ...], Tensor]:
    """Return the words and their tilts in nats, shape (n_words,)."""
    with LEXICON.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    tilts = torch.tensor([float(row["tilt"]) for row in rows], dtype=torch.float64)
    return tuple(row["word"] for row in rows), tilts


def _turn(negation: float) -> Tensor:
    """Return log p(next lexicon | opinion, lexicon), shape (2, 2, 2).

    The lexicon of the opinion may be turned, by "not"; a turned one holds for one word.
    """
    table = torch.zeros(2, 2, 2, dtype=torch.float64)
    for opinion in range(2):
        other = 1 - opinion
        table[opinion, other, opinion] = 1.0
        table[opinion, opinion, opinion] = 1 - negation
        table[opinion, opinion, other] = negation
    return table.log()


def _own_words(tilts: Tensor) -> Tensor:
    """Return log p(word | opinion) of the opinion's own lexicon, shape (2, n_words)."""
    return torch.stack([tilts / 2, -tilts / 2]).log_softmax(1)


def _emission(tilts: Tensor) -> Tensor:
    """Return log p(token | opinion, lexicon, next lexicon), shape (2, 2, 2, n_words + 3)."""
    own = _own_words(tilts)
    n_words = len(tilts)
    table = torch.full((2, 2, 2, n_words + 3), -torch.inf, dtype=torch.float64)
    for opinion in range(2):
        table[opinion, :, opinion, :n_words] = own
        table[opinion, :, 1 - opinion, n_words + 1] = 0.0
    return table
