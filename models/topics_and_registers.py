"""A topic of the whole text and a register that switches within it, which tells words' senses."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from pyro.ops.indexing import Vindex
from torch import Tensor

from concept_ppl.errors import ModelError

LEXICON = Path(__file__).with_suffix(".csv")
"""Columns word; formal and casual, the topic that the word speaks for in that register, or none;
register, the one that the word speaks for, or none. Datasheet: data/topic_words/README.md."""
TOPICS = ("music", "sport", "cooking")
REGISTERS = ("formal", "casual")
COMMA = ","


def build(
    topic_evidence: float = 1.2,
    register_evidence: float = 1.5,
    formal: Sequence[float] = (0.5, 0.3, 0.7),
    switch: float = 0.1,
    lengths: tuple[int, int] = (8, 24),
) -> Callable[[int], None]:
    """Return the model: *moreover pitch soup yeah pitch …,*

    A hierarchy: the topic is drawn for the whole text, and how often its register is formal depends
    on the topic; the register may change from word to word; words depend on both. Some words speak
    for one topic in formal use and for another in casual use: a formal *pitch* is music, a casual
    one sport. What such a word tells of the topic depends on the register at its place, which the
    words around it tell; what register words tell of the topic depends on the topic's habits. The
    two concepts are dependent a priori and more so given a text: their joint posterior is not the
    product of the marginals. The closing comma is the same under all; the
    next token ``y`` is one more word, of the register that comes next.

    Parameters
    ----------
    topic_evidence, register_evidence
        A word that speaks for a topic (register) is e to this power times as likely in it as in the
        others; at 0, words tell nothing of the topic (register).
    formal
        Share of the formal register in texts on music, sport and cooking.
    switch
        Probability that the register is drawn anew, by its share in the topic, before a token.
    lengths
        Shortest and longest context to simulate, the comma included.

    Raises
    ------
    ModelError
        If a parameter is out of range.
    """
    if topic_evidence < 0 or register_evidence < 0 or not 0 <= switch <= 1:
        raise ModelError(
            f"topic_evidence and register_evidence must be at least 0 and switch a probability, "
            f"not {topic_evidence}, {register_evidence} and {switch}."
        )
    if len(formal) != len(TOPICS) or not all(0 < share < 1 for share in formal):
        raise ModelError(f"formal must be {len(TOPICS)} shares between 0 and 1, not {formal!r}.")
    words, senses, spoken = lexicon()
    log_weights = topic_evidence * senses + register_evidence * spoken
    emission = torch.nn.functional.pad(log_weights.log_softmax(2), (0, 1), value=-torch.inf)
    comma = torch.full((len(words) + 1,), -torch.inf).index_fill(0, torch.tensor([len(words)]), 0)
    share = torch.tensor([[one, 1 - one] for one in formal], dtype=torch.float64)
    move = switch * share[:, None] + (1 - switch) * torch.eye(2, dtype=torch.float64)
    log_share, log_move = share.log(), move.log()
    following = (move @ log_weights.softmax(2)).log()
    flat = torch.zeros(len(TOPICS))

    def model(n_tokens: int) -> None:
        topic = pyro.sample("topic", dist.Categorical(logits=flat))
        register = None
        for t in pyro.markov(range(n_tokens)):
            own = Vindex(log_share)[topic]
            logits = own if register is None else Vindex(log_move)[topic, register]
            register = pyro.sample(f"register_{t}", dist.Categorical(logits=logits))
            token = comma if t == n_tokens - 1 else Vindex(emission)[topic, register]
            pyro.sample(f"x_{t}", dist.Categorical(logits=token))
        if register is not None:
            pyro.sample("y", dist.Categorical(logits=Vindex(following)[topic, register]))

    model.labels = {  # type: ignore[attr-defined]
        "topic": TOPICS,
        "register": REGISTERS,
        "x": (*words, COMMA),
        "y": words,
    }
    model.lengths = tuple(lengths)  # type: ignore[attr-defined]
    return model


def lexicon() -> tuple[tuple[str, ...], Tensor, Tensor]:
    """Return the words, and for which topic (in a register) and which register each speaks.

    Both tables hold 0 and 1; shapes (topics, registers, words) and (registers, words).
    """
    with LEXICON.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    senses = [[[row[register] == topic for row in rows] for register in REGISTERS]
              for topic in TOPICS]  # fmt: skip
    spoken = [[row["register"] == register for row in rows] for register in REGISTERS]
    words = tuple(row["word"] for row in rows)
    return words, torch.tensor(senses).double(), torch.tensor(spoken).double()
