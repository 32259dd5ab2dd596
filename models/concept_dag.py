"""Concepts on a random directed acyclic graph, with knobs for what tokens and next token tell."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.ops.indexing import Vindex
from torch import Tensor

from concept_ppl.errors import ModelError

MOST_CELLS = 2**22
"""Largest table of the model: 32 MiB."""
CONCEPT_CONCENTRATION = 1.0
TOKEN_CONCENTRATION = 0.3

Parents = tuple[int, ...]


def build(
    cardinalities: Sequence[int] = (2, 3, 2),
    expected_degree: float = 1.0,
    token_parents: int | Sequence[int] | None = None,
    vocabulary: int = 20,
    x_informativeness: float = 1.0,
    y_determinism: float | None = 0.5,
    seed: int = 0,
    lengths: tuple[int, int] = (1, 8),
    learn: bool = False,
) -> Callable[[int], None]:
    """Return the model.

    The graph is an Erdős–Rényi graph whose edges point from the concept of lower number to the
    other. Each row of p(c_i | parents) is a draw from the flat Dirichlet distribution.

    Given the concepts that they depend on, tokens are independent. Log-ratios of the joint of all
    these token parents, and of the joint of all concepts, are therefore additive in the tokens. The
    log-odds of a single concept are not, because the others are summed out; the one exception is a
    concept that is the only token parent.

    The knobs change no random draw: worlds of one seed differ in nothing else.

    Parameters
    ----------
    cardinalities
        Number of values of the concepts ``c_0, c_1, …``, each at least 1.
    expected_degree
        Expected number of neighbours of a concept, parents and children together, from 0 to one
        less than there are concepts.
    token_parents
        The concepts that the tokens depend on, by number, or how many of them to draw at random;
        ``None`` for all.
    vocabulary
        Number of token values.
    x_informativeness
        Each row of p(x | token parents) is this share of a row of its own, drawn from a Dirichlet
        distribution with concentration 0.3, and the rest of one that all rows share. At 0 tokens
        tell nothing, at 1 the draws are as they are. I(c; x) never falls as the share grows: the
        tokens of a smaller share are those of a larger one with some of them drawn anew.
    y_determinism
        The next token is the number of the concepts' joint value (the last concept fastest) with
        this probability, else uniform over all joint values. At 1, ``y = c`` exactly; at 0, y tells
        nothing; in between, I(c; y) never falls, for the same reason. ``None`` leaves y out, where
        there are too many joint values for a table of their pairs.
    seed
        Of the graph and the tables.
    lengths
        Shortest and longest context to simulate.
    learn
        Leave the tables unknown: ``p_c_0``, ``p_c_1``, … of the concepts given their parents and
        ``p_x`` of the tokens, with flat Dirichlet priors, are sites to be fitted, on the graph of
        this seed. The next token and the knobs then play no part.

    Raises
    ------
    ModelError
        If a parameter is out of range, or a table would have more than ``MOST_CELLS`` cells.
    """
    sizes = _cardinalities(cardinalities)
    _require_range("expected_degree", expected_degree, len(sizes) - 1)
    _require_range("x_informativeness", x_informativeness, 1)
    if y_determinism is not None:
        _require_range("y_determinism", y_determinism, 1)
    if not (_is_count(vocabulary) and vocabulary > 0 and _is_count(seed)):
        raise ModelError(
            f"vocabulary must be a whole number from 1 and seed one from 0, not {vocabulary!r} and "
            f"{seed!r}."
        )
    rng = np.random.default_rng(seed)
    parents = random_graph(len(sizes), expected_degree, rng)
    read = _token_parents(token_parents, len(sizes), rng)
    if learn:
        return _unknown(sizes, parents, read, vocabulary, lengths)
    priors = [
        _dirichlet(f"c_{i}", [sizes[j] for j in parents[i]], size, CONCEPT_CONCENTRATION, rng)
        for i, size in enumerate(sizes)
    ]
    own = _dirichlet("x", [sizes[i] for i in read], vocabulary, TOKEN_CONCENTRATION, rng)
    shared = _dirichlet("x", [], vocabulary, 1.0, rng)
    emission = (x_informativeness * own + (1 - x_informativeness) * shared).log()
    concepts = [(table.log(), given) for table, given in zip(priors, parents, strict=True)]
    following = None if y_determinism is None else _copy(sizes, y_determinism).log()

    def model(n_tokens: int) -> None:
        c: list[Tensor] = []
        for i, (logits, given) in enumerate(concepts):
            own_logits = _pick(logits, [c[j] for j in given])
            c.append(pyro.sample(f"c_{i}", dist.Categorical(logits=own_logits)))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(logits=_pick(emission, [c[i] for i in read])))
        if following is not None:
            pyro.sample("y", dist.Categorical(logits=_pick(following, c)))

    model.lengths = tuple(lengths)  # type: ignore[attr-defined]
    return model


def _unknown(
    sizes: Sequence[int],
    parents: Sequence[Parents],
    read: Parents,
    vocabulary: int,
    lengths: tuple[int, int],
) -> Callable[[int], None]:
    """Return the model with flat priors over its tables."""

    def table(name: str, given: Parents, size: int) -> Tensor:
        flat = torch.ones(*[sizes[j] for j in given], size)
        site: Tensor = pyro.sample(name, dist.Dirichlet(flat).to_event(len(given)))
        return site

    def model(n_tokens: int) -> None:
        tables = [
            table(f"p_c_{i}", given, size)
            for i, (given, size) in enumerate(zip(parents, sizes, strict=True))
        ]
        emission = table("p_x", read, vocabulary)
        c: list[Tensor] = []
        for i, given in enumerate(parents):
            probs = _pick(tables[i], [c[j] for j in given])
            c.append(pyro.sample(f"c_{i}", dist.Categorical(probs)))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(_pick(emission, [c[i] for i in read])))

    model.lengths = tuple(lengths)  # type: ignore[attr-defined]
    return model


def _pick(logits: Tensor, values: Sequence[Tensor]) -> Tensor:
    return Vindex(logits)[tuple(values)] if values else logits


def random_graph(n: int, expected_degree: float, rng: np.random.Generator) -> list[Parents]:
    """Return each concept's parents; every pair is an edge with the same probability."""
    is_edge = rng.random((n, n)) * max(n - 1, 1) < expected_degree
    return [tuple(int(j) for j in np.flatnonzero(is_edge[i, :i])) for i in range(n)]


def _dirichlet(
    site: str, parents: Sequence[int], size: int, concentration: float, rng: np.random.Generator
) -> Tensor:
    """Return p(site | parents), shape (*parents, size), each row a Dirichlet draw."""
    _require_cells(site, [*parents, size])
    rows = rng.dirichlet(np.full(size, concentration), math.prod(parents))
    return torch.as_tensor(rows.reshape(*parents, size))


def _copy(sizes: Sequence[int], determinism: float) -> Tensor:
    """Return p(y | c), shape (*sizes, Π sizes): y is the number of c, or anything."""
    n_joint = math.prod(sizes)
    _require_cells("y", [n_joint, n_joint])
    noise = torch.full((n_joint, n_joint), (1 - determinism) / n_joint, dtype=torch.float64)
    copy = determinism * torch.eye(n_joint, dtype=torch.float64) + noise
    return copy.reshape(*sizes, n_joint)


def _cardinalities(cardinalities: Sequence[int]) -> tuple[int, ...]:
    sizes = tuple(cardinalities)
    if not sizes or not all(_is_count(size) and size > 0 for size in sizes):
        raise ModelError(
            f"cardinalities must be whole numbers from 1, as 2,3,2, not {cardinalities!r}."
        )
    return sizes


def _token_parents(
    asked: int | Sequence[int] | None, n: int, rng: np.random.Generator
) -> tuple[int, ...]:
    order = rng.permutation(n)
    if asked is None:
        return tuple(range(n))
    if isinstance(asked, int) and 1 <= asked <= n:
        return tuple(sorted(int(i) for i in order[:asked]))
    named = asked if isinstance(asked, tuple | list) else ()
    if not named or not all(_is_count(i) and i < n for i in named) or len({*named}) < len(named):
        raise ModelError(
            f"token_parents must be different concepts' numbers from 0 to {n - 1}, as 0,2 (one as "
            f"2,), or how many of them to draw, 1 to {n}, not {asked!r}."
        )
    return tuple(named)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _require_range(name: str, value: object, most: float) -> None:
    if not (isinstance(value, int | float) and 0 <= value <= most):
        raise ModelError(f"{name} must be a number from 0 to {most}, not {value!r}.")


def _require_cells(site: str, shape: Sequence[int]) -> None:
    cells = math.prod(shape)
    if cells > MOST_CELLS:
        remedy = (
            "use y_determinism=None for no next token"
            if site == "y"
            else "use fewer parents or smaller cardinalities"
        )
        raise ModelError(
            f"the table of '{site}' would have {cells:,} cells, {MOST_CELLS:,} are allowed; "
            f"{remedy}."
        )
