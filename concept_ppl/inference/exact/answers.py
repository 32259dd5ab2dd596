"""What an engine says of one chunk of contexts."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from concept_ppl.logspace import by_row, logsumexp, normalise

from .contraction import Leaf, combine


@dataclass(frozen=True)
class Wanted:
    """What to compute beyond marginals, evidence and entropy."""

    joint: bool = False
    filtered: bool = False
    smoothed: bool = False


@dataclass
class Answer:
    """One chunk of contexts, answered.

    Attributes
    ----------
    log_evidence, entropy : Tensor, shape (n,)
        log p(x), and H(c | x) of all reported concepts jointly, in nats.
    log_marginals : dict of str to Tensor, shape (n, K)
    log_joint : Tensor, shape (n, C), or None
        The last concept fastest.
    filtered, smoothed : dict of str to Tensor, shape (sum of lengths, K)
        Log-posteriors at every position, in the order of ``contexts.tokens``.
    running_evidence : Tensor, shape (sum of lengths,), or None
        log p(x_{≤t}), with ``filtered``.
    """

    log_evidence: Tensor
    entropy: Tensor
    log_marginals: dict[str, Tensor]
    log_joint: Tensor | None = None
    filtered: dict[str, Tensor] = field(default_factory=dict)
    smoothed: dict[str, Tensor] = field(default_factory=dict)
    running_evidence: Tensor | None = None

    def __post_init__(self) -> None:
        """Lift an entropy that rounding left a hair below zero."""
        self.entropy = torch.where(self.entropy > 0, self.entropy, 0.0)


Key = tuple[str, str]
"""A field of an answer, and the concept where the field holds a table for each; else empty."""
PLAIN = ("log_evidence", "entropy", "log_joint", "running_evidence")
BY_CONCEPT = ("log_marginals", "filtered", "smoothed")
BY_POSITION = ("running_evidence", "filtered", "smoothed")


def gather(answers: Iterable[Answer], n_contexts: int, n_positions: int) -> Answer:
    """Put the answers of consecutive chunks together, each written down as it comes.

    A chunk is free again once the next one is asked for, so that what is held is the whole answer
    and one chunk. Only answers with gradients wait to be joined at the end.
    """
    columns: dict[Key, _Column] = {}
    for answer in answers:
        for key, part in _tables(answer):
            total = n_positions if key[0] in BY_POSITION else n_contexts
            columns.setdefault(key, _Column(total)).add(part)
    return _answer({key: column.joined() for key, column in columns.items()})


@dataclass
class _Column:
    """One table of the whole answer, filled from the top."""

    total: int
    done: int = 0
    whole: Tensor | None = None
    waiting: list[Tensor] = field(default_factory=list)

    def add(self, part: Tensor) -> None:
        is_all = self.whole is None and len(part) == self.total
        if part.requires_grad or is_all or self.waiting:
            self.waiting.append(part)
            return
        if self.whole is None:
            self.whole = part.new_empty(self.total, *part.shape[1:])
        self.whole[self.done : self.done + len(part)] = part
        self.done += len(part)

    def joined(self) -> Tensor:
        if self.whole is not None:
            return self.whole
        return self.waiting[0] if len(self.waiting) == 1 else torch.cat(self.waiting)


def _tables(answer: Answer) -> Iterator[tuple[Key, Tensor]]:
    for name in PLAIN:
        if (table := getattr(answer, name)) is not None:
            yield (name, ""), table
    for name in BY_CONCEPT:
        yield from (((name, concept), t) for concept, t in getattr(answer, name).items())


def _answer(tables: dict[Key, Tensor]) -> Answer:
    plain = {name: table for (name, concept), table in tables.items() if not concept}
    grouped: dict[str, dict[str, Tensor]] = {name: {} for name in BY_CONCEPT}
    for (name, concept), table in tables.items():
        if concept:
            grouped[name][concept] = table
    return Answer(**plain, **grouped)  # type: ignore[arg-type]


def p_log_p(weights: Tensor, log_weights: Tensor) -> Tensor:
    """Σ p log p over the last dimension, with 0 · (−inf) = 0."""
    return (weights * log_weights.clamp_min(-1e300 if log_weights.itemsize == 8 else -3e38)).sum(-1)


def answer_from_table(names: tuple[str, ...], log_table: Tensor, *, joint: bool) -> Answer:
    """Answer from log p(c, x) over all reported concepts, shape (n, *sizes)."""
    flat = by_row(log_table)
    log_posterior = normalise(flat, 1)
    state = Leaf(names, log_posterior.reshape(log_table.shape), batched=True)
    return Answer(
        log_evidence=logsumexp(flat, 1),
        entropy=-p_log_p(log_posterior.exp(), log_posterior),
        log_marginals={name: combine([state], (name,)).table for name in names},
        log_joint=log_posterior if joint else None,
    )
