"""What an engine says of one chunk of contexts."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from concept_ppl.contraction import Leaf, combine
from concept_ppl.logspace import by_row, logsumexp, normalise


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
