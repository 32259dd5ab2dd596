"""Readers of tokens that need no learning: what a state has to beat before it is called learned.

Each reader turns the vectors of a context's tokens into features by a rule that is fixed before any
data: sums, the last tokens, sums in which older tokens count less, products of neighbours, what
followed the last token earlier on. A linear map of the features is then fitted like that of a
state. A vector may be a token's input embedding, a random one, or what the token says of the
concepts in the world itself; the last is as good as vectors of single tokens get.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from concept_ppl.analyses.designs.arrays import FloatArray, IntArray, as_matrix
from concept_ppl.errors import InputError

DECAYS = (0.98, 0.95, 0.9, 0.8, 0.7, 0.5, 0.3)
LAST = (1, 2, 3, 4, 5)
POWERS = (0, 1, 2)
LEAST_SHARE = 1e-10
"""Directions in which vectors hold less than this share of the most are rounding."""


class ReaderFamily(Mapping[str, FloatArray]):
    """Readers of one kind, by what sets them apart; each is computed when it is asked for.

    Which of them is best is for the training folds to say: see `compare_controls`.
    """

    def __init__(self, members: Mapping[str, Callable[[], FloatArray]]) -> None:
        self._members = dict(members)

    def __getitem__(self, name: str) -> FloatArray:
        return self._members[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


@dataclass(frozen=True, slots=True, eq=False)
class TokenRows:
    """The tokens of contexts, and at which of them states are read.

    Attributes
    ----------
    tokens
        (Σ lengths,) token ids, context after context.
    lengths
        (n,) of the contexts.
    read
        (m,) ascending places among all tokens: each makes a row, and what stands behind it in its
        context counts for nothing.
    """

    tokens: IntArray
    lengths: IntArray
    read: IntArray

    @property
    def offsets(self) -> IntArray:
        """(n,) place of each context's first token."""
        return np.asarray(np.cumsum(self.lengths) - self.lengths)

    @property
    def context(self) -> IntArray:
        """(m,) number of the context of each row that is read."""
        return np.searchsorted(np.cumsum(self.lengths), self.read, side="right")

    @property
    def last(self) -> IntArray:
        """(m,) place of the last token that tells something, for each row that is read."""
        return self.read - self.closing

    @property
    def closing(self) -> int:
        """How many last tokens are the same in every context that is read at its end alone."""
        ends = np.cumsum(self.lengths)
        if not np.array_equal(self.read, ends - 1):
            return 0
        same = 0
        while same < self.lengths.min() - 1 and len(set(self.tokens[ends - 1 - same])) == 1:
            same += 1
        return same


def token_rows(
    tokens: npt.ArrayLike, lengths: npt.ArrayLike, read: npt.ArrayLike | None = None
) -> TokenRows:
    """Return checked `TokenRows`; by default each context is read at its last token.

    Raises
    ------
    InputError
        If a context is empty, lengths do not add up to the tokens, or ``read`` is not ascending
        among them.
    """
    ids, n = np.asarray(tokens, np.int64), np.asarray(lengths, np.int64)
    if len(n) == 0 or n.min() < 1 or n.sum() != len(ids):
        raise InputError(
            f"lengths must be 1 or more and add up to the {len(ids)} tokens; they add up to "
            f"{n.sum()}."
        )
    places = np.cumsum(n) - 1 if read is None else np.asarray(read, np.int64)
    if (
        len(places) == 0
        or (np.diff(places) <= 0).any()
        or not 0 <= places[0] <= places[-1] < n.sum()
    ):
        raise InputError(f"read must ascend among the {len(ids)} tokens, at least one of them.")
    return TokenRows(ids, n, places)


def token_readers(
    rows: TokenRows, vectors: npt.ArrayLike, *, widest: int = 576
) -> dict[str, ReaderFamily]:
    """Return the readers of tokens that have these vectors, a family a kind.

    Parameters
    ----------
    rows
        Tokens and where they are read. Last tokens that every context shares are passed over, so
        that "the last token" is one that tells something.
    vectors
        (Σ lengths, d) a vector for each token at its place.
    widest
        Most features of a reader. Vectors are taken in so many of their principal coordinates
        (uncentred, over all tokens) as fit; neighbours have a quarter more, for the sum.

    Returns
    -------
    families
        ``sum``, ``mean``; ``last tokens`` (1 to 5, side by side); ``decayed sum`` (older tokens
        count less by a factor a token, a member a factor); ``bank of decays`` (all of them side by
        side, and the plain sum); ``weighted by position`` (sums weighted by powers of the place,
        relative to the place that is read); ``neighbours`` (sum of the products of neighbouring
        tokens' coordinates, beside the sum; plain and decayed); ``look-up`` (sum of what followed
        earlier occurrences of the token that is read, beside that token).

    Raises
    ------
    InputError
        If there is not one finite vector for each token.
    """
    matrix = as_matrix(vectors, "vectors")
    if len(matrix) != len(rows.tokens):
        raise InputError(f"{len(matrix)} vectors for {len(rows.tokens)} tokens; give one for each.")
    reader = _Reader(rows, principal_coordinates(matrix), widest)
    return {
        "sum": ReaderFamily({"": partial(reader.sums, (1.0,))}),
        "mean": ReaderFamily({"": reader.mean}),
        "last tokens": ReaderFamily({str(k): partial(reader.last, k) for k in LAST}),
        "decayed sum": ReaderFamily({f"{one:g}": partial(reader.sums, (one,)) for one in DECAYS}),
        "bank of decays": ReaderFamily({"": partial(reader.sums, (1.0, *DECAYS))}),
        "weighted by position": ReaderFamily({"": reader.by_position}),
        "neighbours": ReaderFamily(
            {f"{one:g}": partial(reader.neighbours, one) for one in (1.0, 0.8)}
        ),
        "look-up": ReaderFamily({"": reader.look_up}),
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Reader:
    """Features of every kind, at the places that are read, from one walk along the positions.

    ``coordinates`` (Σ lengths, r) are the principal ones of the vectors, the leading first.
    """

    rows: TokenRows
    coordinates: FloatArray
    widest: int

    def leading(self, width: int) -> FloatArray:
        """Return the first ``width`` coordinates, at least one."""
        return self.coordinates[:, : max(1, width)]

    def sums(self, decays: Sequence[float]) -> FloatArray:
        V = self.leading(self.widest // len(decays))
        factors = np.repeat(np.asarray(decays), V.shape[1])
        return self._walk(
            len(factors), lambda state, at, _: factors * state + np.tile(V[at], len(decays))
        )

    def mean(self) -> FloatArray:
        return self.sums((1.0,)) / self._places()[:, None]

    def last(self, k: int) -> FloatArray:
        V = self.leading(self.widest // k)
        return self._walk(
            k * V.shape[1], lambda state, at, _: np.hstack([V[at], state[:, : -V.shape[1]]])
        )

    def by_position(self) -> FloatArray:
        V = self.leading(self.widest // len(POWERS))
        moments = self._walk(
            len(POWERS) * V.shape[1],
            lambda state, at, t: (
                state + np.hstack([(t + 1.0) ** power * V[at] for power in POWERS])
            ),
        )
        scale = self._places()[:, None] ** np.repeat(np.asarray(POWERS, float), V.shape[1])
        return np.asarray(moments / scale)

    def neighbours(self, decay: float) -> FloatArray:
        side = math.isqrt(self.widest)
        V = self.leading(side)
        W = self.leading(self.widest // 4)

        def step(state: FloatArray, at: IntArray, t: int) -> FloatArray:
            products = (
                np.einsum("ni,nj->nij", V[at - 1], V[at]).reshape(len(at), -1)
                if t
                else np.zeros((len(at), V.shape[1] ** 2))
            )
            return np.asarray(decay * state + np.hstack([products, W[at]]))

        return self._walk(V.shape[1] ** 2 + W.shape[1], step)

    def look_up(self) -> FloatArray:
        V = self.leading(self.widest // 2)
        tokens, last = self.rows.tokens, self.rows.last
        found = np.zeros((len(last), V.shape[1]))
        starts = self.rows.offsets[self.rows.context]
        for i, (start, place) in enumerate(zip(starts, last, strict=True)):
            alike = start + np.flatnonzero(tokens[start:place] == tokens[place])
            found[i] = V[alike + 1].sum(axis=0)
        return np.hstack([found, V[last]])

    def _places(self) -> FloatArray:
        """(m,) how many tokens stand up to each place that is read, it included."""
        return np.asarray(self.rows.last - self.rows.offsets[self.rows.context] + 1.0)

    def _walk(
        self, width: int, step: Callable[[FloatArray, IntArray, int], FloatArray]
    ) -> FloatArray:
        """Run ``step(state, places, t)`` along the positions, all contexts side by side."""
        rows, last = self.rows, self.rows.last
        telling, offsets = rows.lengths - rows.closing, rows.offsets
        wanted = np.full(len(rows.tokens), -1)
        wanted[last] = np.arange(len(last))
        state = np.zeros((len(telling), width))
        found = np.empty((len(last), width))
        for t in range(int(telling.max())):
            own = np.flatnonzero(telling > t)
            at = offsets[own] + t
            state[own] = step(state[own], at, t)
            is_read = wanted[at] >= 0
            found[wanted[at[is_read]]] = state[own[is_read]]
        return found


def principal_coordinates(vectors: FloatArray) -> FloatArray:
    """Coordinates (n, rank) of vectors (n, d) along their uncentred components, leading first."""
    values, components = np.linalg.eigh(vectors.T @ vectors)
    kept = np.flatnonzero(values > LEAST_SHARE * values[-1])[::-1]
    return np.asarray(vectors @ components[:, kept])


def random_vectors(tokens: npt.ArrayLike, *, width: int = 576, seed: int = 0) -> FloatArray:
    """Return vectors (n, ≤ width) that say which token (n,) stands there, and nothing else.

    Indicators where there are no more kinds of token than ``width``; otherwise one Gaussian vector
    a kind.
    """
    kinds, index = np.unique(np.asarray(tokens), return_inverse=True)
    if len(kinds) <= width:
        return np.asarray(np.eye(len(kinds))[index])
    generator = np.random.default_rng(seed)
    return np.asarray(generator.normal(size=(len(kinds), width))[index] / math.sqrt(width))
