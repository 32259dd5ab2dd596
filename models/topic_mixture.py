"""Tokens of one topic each context; the topic is the concept, the next token follows it."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from pyro.ops.indexing import Vindex

from concept_ppl.errors import ModelError


def build(
    topics: int = 4,
    vocabulary: int = 50,
    x_informativeness: float = 0.5,
    y_determinism: float = 0.5,
    seed: int = 0,
    lengths: tuple[int, int] = (1, 8),
    learn: bool = False,
    concentration: float = 1.0,
) -> Callable[[int], None]:
    """Return the model.

    Given the topic, tokens are independent: the log-odds of the topic are additive in the tokens.

    Parameters
    ----------
    topics, vocabulary
        Numbers of topics, equally likely, and of token values.
    x_informativeness
        Each topic's token distribution is this share of its own random one (Dirichlet with
        concentration 0.3) and the rest of one that all topics share; at 0 tokens tell nothing.
    y_determinism
        The next token is the topic's own number with this probability, else uniform over all
        topics' numbers; at 1, ``y = c`` exactly, at 0, y tells nothing.
    seed
        Of the random tables.
    lengths
        Shortest and longest context to simulate.
    learn
        Leave the tables unknown: ``share`` of the topics, with a flat Dirichlet prior, and
        ``emission`` of each are sites to be fitted. The next token, ``seed`` and the knobs then
        play no part.
    concentration
        Of the Dirichlet prior of each unknown emission: 1 is flat; below, most tokens are rare in
        most topics, as words are, and the posterior has no mode for ``em`` and ``map`` to find.

    Raises
    ------
    ModelError
        If a parameter is out of range.
    """
    if topics < 2 or vocabulary < 2:
        raise ModelError(
            f"topics and vocabulary must be at least 2, not {topics} and {vocabulary}."
        )
    for name, value in (("x_informativeness", x_informativeness), ("y_determinism", y_determinism)):
        if not 0 <= value <= 1:
            raise ModelError(f"{name} must lie between 0 and 1, not {value}.")
    if not concentration > 0:
        raise ModelError(f"concentration must be above 0, not {concentration}.")
    if learn:
        return _unknown(topics, vocabulary, lengths, concentration)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sparse = torch.full((vocabulary,), 0.3)
        own = torch.distributions.Dirichlet(sparse).sample((topics,))
        shared = torch.distributions.Dirichlet(torch.ones(vocabulary)).sample()
    emission = (x_informativeness * own + (1 - x_informativeness) * shared).log()
    copy = y_determinism * torch.eye(topics) + (1 - y_determinism) / topics
    following = copy.log()
    prior = torch.zeros(topics)

    def model(n_tokens: int) -> None:
        topic = pyro.sample("topic", dist.Categorical(logits=prior))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(logits=Vindex(emission)[topic]))
        pyro.sample("y", dist.Categorical(logits=Vindex(following)[topic]))

    model.lengths = tuple(lengths)  # type: ignore[attr-defined]
    return model


def _unknown(
    topics: int, vocabulary: int, lengths: tuple[int, int], concentration: float
) -> Callable[[int], None]:
    """Return the model with priors over its tables."""

    def model(n_tokens: int) -> None:
        share = pyro.sample("share", dist.Dirichlet(torch.ones(topics)))
        prior = dist.Dirichlet(torch.full((topics, vocabulary), concentration)).to_event(1)
        emission = pyro.sample("emission", prior)
        topic = pyro.sample("topic", dist.Categorical(share))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(Vindex(emission)[topic]))

    model.lengths = tuple(lengths)  # type: ignore[attr-defined]
    return model
