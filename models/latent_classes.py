"""Answers to items, one a position, independent given a class; the class is the concept."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from pyro.ops.indexing import Vindex

from concept_ppl.errors import ModelError


def build(
    classes: int = 3,
    items: int = 6,
    answers: int = 4,
    concentration: float = 0.5,
    seed: int = 0,
    learn: bool = False,
) -> Callable[[int], None]:
    """Return the model.

    Latent class analysis (Lazarsfeld and Henry 1968): the token at position t is the answer to item
    t, from a distribution of its own for each class and item. Given the class, answers are
    independent, so the log-odds of the class are additive in them.

    Parameters
    ----------
    classes, items, answers
        Numbers of classes, of items (the longest context), and of values of an answer.
    concentration
        Of the Dirichlet distribution from which the answers' distributions are drawn; the smaller,
        the surer the answers.
    seed
        Of the random tables.
    learn
        Leave the tables unknown: ``share`` of the classes and ``response``, shape (items, classes,
        answers), with flat Dirichlet priors, are sites to be fitted. ``concentration`` and ``seed``
        then play no part.

    Raises
    ------
    ModelError
        If a parameter is out of range, or a context has more tokens than there are items.
    """
    if classes < 2 or items < 1 or answers < 2 or not concentration > 0:
        raise ModelError(
            f"classes and answers must be at least 2, items at least 1 and concentration above 0, "
            f"not {classes}, {answers}, {items} and {concentration}."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        share = torch.distributions.Dirichlet(torch.full((classes,), 5.0)).sample()
        rows = torch.distributions.Dirichlet(torch.full((answers,), concentration))
        response = rows.sample((items, classes))

    def model(n_tokens: int) -> None:
        if n_tokens > items:
            raise ModelError(f"a context has {n_tokens} tokens, but there are {items} items.")
        own_share, own_response = share, response
        if learn:
            flat = dist.Dirichlet(torch.ones(items, classes, answers)).to_event(2)
            own_share = pyro.sample("share", dist.Dirichlet(torch.ones(classes)))
            own_response = pyro.sample("response", flat)
        kind = pyro.sample("class", dist.Categorical(own_share))
        with pyro.plate("position", n_tokens):
            item = torch.arange(n_tokens)
            pyro.sample("x", dist.Categorical(Vindex(own_response)[item, kind]))

    model.lengths = (items, items)  # type: ignore[attr-defined]
    return model
