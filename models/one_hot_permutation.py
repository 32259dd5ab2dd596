"""Binary concepts whose joint value is permuted and written in bits: some are read, some follow."""

import math
from collections.abc import Callable

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from numpy.typing import NDArray
from pyro.ops.indexing import Vindex
from torch import Tensor

from concept_ppl.errors import ModelError
from concept_ppl.models.concept_dag import random_graph

MOST_CONCEPTS = 10
MOST_BITS = 16
MOST_CELLS = 2**22
"""Largest table of the model: 32 MiB."""


def build(
    concepts: int = 3,
    bits: int = 6,
    masked: int = 3,
    collisions: float = 0.0,
    noise: float = 0.0,
    expected_degree: float = 1.0,
    parameter_range: tuple[float, float] = (0.2, 0.8),
    seed: int = 0,
) -> Callable[[int], None]:
    """Return the model, the simulated world of Liu et al. (https://arxiv.org/abs/2503.08980).

    Each joint value of the concepts is a one-hot vector; a random permutation gives it a number,
    its code, which is written in binary. A random choice of the bits is masked: read together as a
    binary number, they are the next token y. The others, in order, are the tokens of the context,
    the bit at position t at ``x_t``. Bits are functions of the concepts: what a bit rules out has
    posterior probability zero, exactly.

    Given the concepts, bits are independent: joint log-ratios are additive in the tokens, position
    by position. Without noise they are therefore 0 plus the prior's, or infinite; with noise they
    are finite. The log-odds of a single concept are not additive, because the others are summed
    out. Log-ratios of y are not either, unless y determines all concepts.

    The knobs change no random draw but through the number of bits and concepts.

    Parameters
    ----------
    concepts
        Number of binary concepts ``c_0, c_1, …``.
    bits
        Number of observed bits, the masked ones included. With fewer bits than concepts some joint
        values must share a code.
    masked
        How many bits make the next token, which has 2^masked values; at least one is left to read.
    collisions
        How far the map from concepts to bits is from invertible: the share of joint values that
        take the code of another, drawn at random, in place of their own. At 0 the map is invertible
        if there are codes enough; at 1 a single code is left.
    noise
        Probability that a bit of the context, not of the next token, is read as its opposite.
    expected_degree
        Expected number of neighbours of a concept in the random graph, parents and children
        together, from 0 to one less than there are concepts.
    parameter_range
        Each p(c_i = 1 | parents) is uniform between the two.
    seed
        Of the graph, its tables, the permutation and the mask.

    Raises
    ------
    ModelError
        If a parameter is out of range, or the context is longer than there are bits to read.
    """
    _require(concepts, bits, masked, collisions, noise, expected_degree, parameter_range)
    rng = np.random.default_rng(seed)
    parents = random_graph(concepts, expected_degree, rng)
    priors = [_bernoulli(len(given), parameter_range, rng) for given in parents]
    code = _codes(2**concepts, 2**bits, collisions, rng)
    order = rng.permutation(bits)
    written = code[:, None] >> np.arange(bits) & 1
    following = written[:, np.sort(order[:masked])] @ (2 ** np.arange(masked))
    read = [_read(written[:, bit], noise, concepts) for bit in np.sort(order[masked:])]
    next_token = _indicator(following, 2**masked, concepts)

    def model(n_tokens: int) -> None:
        if n_tokens > len(read):
            raise ModelError(
                f"one_hot_permutation has {len(read)} bits to read, not {n_tokens}; ask for "
                f"contexts of at most {len(read)} tokens or give it more bits."
            )
        c: list[Tensor] = []
        for i, (logits, given) in enumerate(zip(priors, parents, strict=True)):
            own = Vindex(logits)[tuple(c[j] for j in given)] if given else logits
            c.append(pyro.sample(f"c_{i}", dist.Categorical(logits=own)))
        for t, emission in enumerate(read[:n_tokens]):
            pyro.sample(f"x_{t}", dist.Categorical(logits=Vindex(emission)[tuple(c)]))
        pyro.sample("y", dist.Categorical(logits=Vindex(next_token)[tuple(c)]))

    model.lengths = (len(read), len(read))  # type: ignore[attr-defined]
    return model


def _bernoulli(
    n_parents: int, parameter_range: tuple[float, float], rng: np.random.Generator
) -> Tensor:
    """Return log p(c_i | parents), shape (2, …, 2)."""
    p = rng.uniform(*parameter_range, size=(2,) * n_parents)
    return torch.as_tensor(np.stack([1 - p, p], axis=-1)).log()


def _codes(
    n_joint: int, n_codes: int, collisions: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the code of each joint value, the last concept fastest, shape (n_joint,)."""
    permutation, order = rng.permutation(max(n_joint, n_codes)), rng.permutation(n_joint)
    available = permutation[permutation < n_codes]
    n_own = min(max(n_joint - round(collisions * n_joint), 1), n_codes)
    rank = np.empty(n_joint, np.int64)
    rank[order] = np.arange(n_joint)
    donor = rng.random(n_joint)
    return np.asarray(available[np.where(rank < n_own, rank, (donor * n_own).astype(np.int64))])


def _read(bit: NDArray[np.int64], noise: float, concepts: int) -> Tensor:
    """Return log p(x_t | c), shape (2, …, 2): the bit, or with some noise its opposite."""
    clean = _indicator(bit, 2, concepts).exp()
    return ((1 - noise) * clean + noise * (1 - clean)).log()


def _indicator(values: NDArray[np.int64], n_values: int, concepts: int) -> Tensor:
    """Return log 1[value of c = k], shape (2, …, 2, n_values)."""
    table = torch.eye(n_values, dtype=torch.float64)[torch.from_numpy(values)]
    return table.log().reshape(*[2] * concepts, n_values)


def _require(
    concepts: int,
    bits: int,
    masked: int,
    collisions: float,
    noise: float,
    expected_degree: float,
    parameter_range: tuple[float, float],
) -> None:
    if not (1 <= concepts <= MOST_CONCEPTS and 2 <= bits <= MOST_BITS and 1 <= masked < bits):
        raise ModelError(
            f"concepts must be 1 to {MOST_CONCEPTS}, bits 2 to {MOST_BITS} and masked 1 to one "
            f"less than there are bits, not {concepts}, {bits} and {masked}."
        )
    if math.prod((2**concepts, 2**masked)) > MOST_CELLS:
        raise ModelError(
            f"the table of 'y' would have {2 ** (concepts + masked):,} cells, {MOST_CELLS:,} are "
            "allowed; mask fewer bits."
        )
    for name, value, most in (
        ("collisions", collisions, 1),
        ("noise", noise, 0.5),
        ("expected_degree", expected_degree, concepts - 1),
    ):
        if not 0 <= value <= most:
            raise ModelError(f"{name} must be a number from 0 to {most}, not {value!r}.")
    if len(parameter_range) != 2 or not 0 < parameter_range[0] <= parameter_range[1] < 1:
        raise ModelError(
            f"parameter_range must be two probabilities above 0 and below 1, the smaller first, "
            f"as 0.2,0.8, not {parameter_range!r}."
        )
