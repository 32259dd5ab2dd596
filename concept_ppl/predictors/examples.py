"""What a predictor is trained on: contexts, the next tokens that follow, and the Bayes predictive.

Training pairs are kept as shares: how often context and next token occur together. From enumeration
the share of a pair is p(x) p(y|x), the limit of infinite data; of sampled pairs it is their
frequency. The cross-entropy of shares is that of the pairs themselves, pair by pair, so that one
loss serves both.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from concept_ppl.contexts.tokens import UNOBSERVED, Contexts
from concept_ppl.errors import InputError
from concept_ppl.inference.enumerated_contexts import EnumeratedContexts

FloatArray = npt.NDArray[np.float64]

TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Examples:
    """Contexts with weights, what follows them in training, and what Bayes would predict.

    Attributes
    ----------
    contexts : Contexts
        Of differing lengths, if need be; no token unobserved.
    weights : (n_contexts,)
        p(x), by which KL to the Bayes predictive is averaged; they sum to one.
    log_predictive : (n_contexts, n_next)
        Bayes log p(y | x) in nats, −inf where impossible.
    shares : (n_contexts, n_next)
        The share of each pair of context and next token in training; they sum to one.
    vocabulary : int
        Number of token values of a context; next tokens may have another number.

    Raises
    ------
    InputError
        If shapes differ, a token is unobserved or outside the vocabulary, or weights, predictive or
        shares are no distributions.
    """

    contexts: Contexts
    weights: FloatArray
    log_predictive: FloatArray
    shares: FloatArray
    vocabulary: int

    def __post_init__(self) -> None:
        """Refuse what is no distribution."""
        n, tokens = len(self.contexts), self.contexts.tokens
        if n == 0 or self.weights.shape != (n,) or self.log_predictive.shape[:1] != (n,):
            raise InputError(
                f"{n} contexts need {n} weights and rows of log_predictive, at least one, not "
                f"{self.weights.shape} and {self.log_predictive.shape}."
            )
        if self.shares.shape != self.log_predictive.shape or self.shares.ndim != 2:
            raise InputError(
                f"shares have shape {self.shares.shape}, log_predictive "
                f"{self.log_predictive.shape}; give both a row a context, a column a next token."
            )
        if tokens.size and not (tokens.min() > UNOBSERVED and tokens.max() < self.vocabulary):
            raise InputError(
                f"contexts hold tokens {tokens.min()} to {tokens.max()}; predictors read tokens 0 "
                f"to {self.vocabulary - 1}, all observed."
            )
        for name, sums in (
            ("weights", self.weights.sum(keepdims=True)),
            ("shares", self.shares.sum(keepdims=True).reshape(1)),
            ("rows of exp(log_predictive)", np.exp(self.log_predictive).sum(axis=1)),
        ):
            off = ~(np.abs(sums - 1.0) < TOLERANCE)
            if off.any():
                raise InputError(f"{name} sum to {sums[off][0]}, not 1; give probabilities.")

    @property
    def n_next(self) -> int:
        """Number of next-token values."""
        return int(self.shares.shape[1])

    @property
    def digest(self) -> str:
        """SHA-256 of all that is held, hexadecimal."""
        digest = hashlib.sha256(str(self.vocabulary).encode())
        contexts = self.contexts
        for array in (
            contexts.tokens,
            contexts.lengths,
            self.weights,
            self.log_predictive,
            self.shares,
        ):
            digest.update(f"{array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    @property
    def bayes_entropy(self) -> float:
        """H(y | x) of the Bayes predictive in nats: the loss that no predictor goes below."""
        p = np.exp(self.log_predictive)
        return float(-self.weights @ _p_times(p, self.log_predictive).sum(axis=1))

    def kl(self, log_predictive: FloatArray) -> float:
        """Return Σ p(x) KL(p(y|x) ‖ q(y|x)) in nats of a predictor's log q, (n_contexts, n_next).

        Infinite where q rules out what can happen.
        """
        p = np.exp(self.log_predictive)
        own, theirs = _p_times(p, self.log_predictive), _p_times(p, log_predictive)
        return float(self.weights @ (own - theirs).sum(axis=1))


def exact_examples(world: EnumeratedContexts) -> Examples:
    """Train on p(x) p(y|x) itself, the limit of infinitely many pairs."""
    weights, log_predictive = world.probabilities.numpy(), world.log_predictive.numpy()
    shares = weights[:, None] * np.exp(log_predictive)
    return Examples(world.contexts, weights, log_predictive, shares, world.vocabulary)


def sampled_examples(world: EnumeratedContexts, n_pairs: int, *, seed: int) -> Examples:
    """Train on pairs drawn from p(x) p(y|x).

    KL is still averaged over all contexts, those that were not drawn included.

    Parameters
    ----------
    world
        All contexts of a world; draws from the joint of the enumerated contexts and next tokens.
    n_pairs
        How many pairs, with repetition.
    seed
        Same seed, same pairs.
    """
    if n_pairs < 1:
        raise InputError(f"n_pairs is {n_pairs}; draw at least 1.")
    exact = exact_examples(world)
    joint = exact.shares.ravel() / exact.shares.sum()
    counts = np.random.default_rng(seed).multinomial(n_pairs, joint)
    shares = (counts / n_pairs).reshape(exact.shares.shape)
    return Examples(exact.contexts, exact.weights, exact.log_predictive, shares, exact.vocabulary)


def _p_times(p: FloatArray, log_q: FloatArray) -> FloatArray:
    """Return p log q, with 0 · (−inf) = 0."""
    with np.errstate(invalid="ignore"):
        return np.where(p > 0, p * log_q, 0.0)
