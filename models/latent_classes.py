"""Answers to items, one a position, independent given a class; the class is the concept."""

from collections.abc import Callable, Sequence

import pyro
import pyro.distributions as dist
import torch
from pyro.ops.indexing import Vindex
from torch import Tensor

from concept_ppl.errors import ModelError


def build(
    classes: int = 3,
    items: int = 6,
    answers: int | Sequence[int] = 4,
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
    classes, items
        Numbers of classes and of items (the longest context).
    answers
        Number of values of an answer, one for all items or one for each.
    concentration
        Of the Dirichlet distribution from which the answers' distributions are drawn; the smaller,
        the surer the answers.
    seed
        Of the random tables.
    learn
        Leave the tables unknown: ``share`` of the classes and ``response``, shape (items, classes,
        answers), with flat Dirichlet priors, are sites to be fitted. Where items differ in their
        number of answers, each has a site of its own: ``response_0``, ``response_1``, …, shape
        (classes, answers of the item). ``concentration`` and ``seed`` then play no part.

    Raises
    ------
    ModelError
        If a parameter is out of range, or a context has more tokens than there are items.
    """
    own_answers = [answers] * items if isinstance(answers, int) else list(answers)
    _require(classes, items, own_answers, concentration)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        share = torch.distributions.Dirichlet(torch.full((classes,), 5.0)).sample()
        response = _drawn(classes, own_answers, concentration)

    def model(n_tokens: int) -> None:
        if n_tokens > items:
            raise ModelError(f"a context has {n_tokens} tokens, but there are {items} items.")
        own_share, own_response = share, response
        if learn:
            own_share = pyro.sample("share", dist.Dirichlet(torch.ones(classes)))
            own_response = _unknown(classes, own_answers)
        kind = pyro.sample("class", dist.Categorical(own_share))
        with pyro.plate("position", n_tokens):
            item = torch.arange(n_tokens)
            pyro.sample("x", dist.Categorical(Vindex(own_response)[item, kind]))

    model.lengths = (items, items)  # type: ignore[attr-defined]
    return model


def _require(classes: int, items: int, answers: Sequence[int], concentration: float) -> None:
    if classes < 2 or items < 1 or min(answers, default=0) < 2 or not concentration > 0:
        raise ModelError(
            f"classes and answers must be at least 2, items at least 1 and concentration above 0, "
            f"not {classes}, {min(answers, default=0)}, {items} and {concentration}."
        )
    if len(answers) != items:
        raise ModelError(
            f"answers are given for {len(answers)} items, but there are {items}; give one number "
            f"for all, or one for each."
        )


def _drawn(classes: int, answers: Sequence[int], concentration: float) -> Tensor:
    """Return random rows, shape (items, classes, most answers), zero where an item has fewer."""
    if len(set(answers)) == 1:
        rows = torch.distributions.Dirichlet(torch.full((answers[0],), concentration))
        return rows.sample((len(answers), classes))
    each = [torch.distributions.Dirichlet(torch.full((a,), concentration)) for a in answers]
    return _filled_up([rows.sample((classes,)) for rows in each])


def _unknown(classes: int, answers: Sequence[int]) -> Tensor:
    """Sample the rows from flat priors: one site, or one for each item where they differ."""
    if len(set(answers)) == 1:
        ones = torch.ones(len(answers), classes, answers[0])
        rows: Tensor = pyro.sample("response", dist.Dirichlet(ones).to_event(2))
        return rows
    return _filled_up(
        [
            pyro.sample(f"response_{t}", dist.Dirichlet(torch.ones(classes, a)).to_event(1))
            for t, a in enumerate(answers)
        ]
    )


def _filled_up(rows: Sequence[Tensor]) -> Tensor:
    most = max(own.shape[-1] for own in rows)
    return torch.stack([torch.nn.functional.pad(own, (0, most - own.shape[-1])) for own in rows])
