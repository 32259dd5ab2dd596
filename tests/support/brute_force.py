"""The reference: every joint value of the concepts, one after the other, in plain Python.

It shares nothing with the package: no torch, no Pyro, no tables with named dimensions; only
``itertools.product``, ``math.log`` and ``math.fsum`` on a plain description of the model.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NEVER = -math.inf
Values = tuple[int, ...]


@dataclass(frozen=True)
class Site:
    """p(site | parents): a row of probabilities for each combination of the parents' values.

    Among moving concepts a parent ``name`` is meant at the same position, ``name@1`` one before.
    """

    name: str
    parents: tuple[str, ...]
    rows: Mapping[Values, tuple[float, ...]]
    kind: str = "probs"
    """How a program writes it; see ``programs.py``."""

    @property
    def size(self) -> int:
        return len(next(iter(self.rows.values())))


@dataclass(frozen=True)
class World:
    """Concepts that stay, concepts that move (at position 0, later), tokens, next tokens.

    ``emission`` holds one site for all positions, or one for each.
    """

    static: tuple[Site, ...]
    emission: tuple[Site, ...]
    next_tokens: tuple[Site, ...] = ()
    first: tuple[Site, ...] = ()
    later: tuple[Site, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(site.name for site in (*self.static, *self.first))

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(site.size for site in (*self.static, *self.first))

    @property
    def vocabulary_size(self) -> int:
        return self.emission[0].size


@dataclass(frozen=True)
class Unrolled:
    """A world at one length: a variable for each concept and position, a site for each token."""

    concepts: tuple[Site, ...]
    tokens: tuple[Site, ...]
    next_tokens: tuple[Site, ...]
    at: tuple[Mapping[str, str], ...]
    """At each position, which variable a name means."""

    def last(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(self.at[-1][name] for name in names)


@dataclass(frozen=True)
class Reference:
    """What the posterior of one context must be."""

    log_evidence: float
    log_joint: list[float]
    log_marginals: dict[str, list[float]]
    entropy: float


def unroll(world: World, n_tokens: int) -> Unrolled:
    """Write a world out at a length; an empty context has an unobserved token."""
    n_tokens = max(n_tokens, 1)
    stays = {site.name: site.name for site in world.static}
    concepts = list(world.static)
    at: list[dict[str, str]] = []
    for t in range(n_tokens):
        own = {site.name: f"{site.name}_{t}" for site in world.first}
        before = {f"{name}@1": variable for name, variable in (at[-1] if at else {}).items()}
        place = stays | before | own
        moves = world.later if t else world.first
        concepts += [_renamed(site, own[site.name], place) for site in moves]
        at.append(stays | own)
    tokens = [
        _renamed(world.emission[min(t, len(world.emission) - 1)], f"x_{t}", at[t])
        for t in range(n_tokens)
    ]
    next_tokens = [_renamed(site, site.name, at[-1]) for site in world.next_tokens]
    return Unrolled(tuple(concepts), tuple(tokens), tuple(next_tokens), tuple(at))


def _renamed(site: Site, name: str, place: Mapping[str, str]) -> Site:
    return Site(name, tuple(place[parent] for parent in site.parents), site.rows)


def log(p: float) -> float:
    return math.log(p) if p > 0 else NEVER


def log_sum(values: Sequence[float]) -> float:
    peak = max(values, default=NEVER)
    if peak == NEVER:
        return NEVER
    return peak + math.log(math.fsum(math.exp(value - peak) for value in values))


def log_p(site: Site, value: int, assignment: Mapping[str, int]) -> float:
    return log(site.rows[tuple(assignment[parent] for parent in site.parents)][value])


def log_weights(
    model: Unrolled, context: Sequence[int], known: Mapping[str, int]
) -> list[tuple[dict[str, int], float]]:
    """Return log p(concepts, context) for each joint value of the concepts; −1 is not observed."""
    names = [site.name for site in model.concepts]
    every = []
    for values in itertools.product(*(range(site.size) for site in model.concepts)):
        assignment = dict(zip(names, values, strict=True))
        if any(assignment[name] != value for name, value in known.items()):
            weight = NEVER
        else:
            terms = [log_p(site, assignment[site.name], assignment) for site in model.concepts]
            terms += [
                log_p(site, token, assignment)
                for site, token in zip(model.tokens, context, strict=False)
                if token >= 0
            ]
            weight = math.fsum(terms) if NEVER not in terms else NEVER
        every.append((assignment, weight))
    return every


def marginal(
    weights: Sequence[tuple[Mapping[str, int], float]], names: Sequence[str], sizes: Sequence[int]
) -> list[float]:
    """Return log p(names | context) over all their joint values, the last fastest."""
    groups: dict[Values, list[float]] = {
        values: [] for values in itertools.product(*(range(size) for size in sizes))
    }
    for assignment, weight in weights:
        groups[tuple(assignment[name] for name in names)].append(weight)
    totals = [log_sum(group) for group in groups.values()]
    whole = log_sum(totals)
    return [total - whole if total > NEVER else NEVER for total in totals]


def solve(
    world: World, context: Sequence[int], known: Mapping[str, int] | None = None
) -> Reference:
    """Return the posterior of the reported concepts: moving ones at the last position."""
    model = unroll(world, len(context))
    weights = log_weights(model, context, known or {})
    last = model.last(world.names)
    joint = marginal(weights, last, world.sizes)
    return Reference(
        log_evidence=log_sum([weight for _, weight in weights]),
        log_joint=joint,
        log_marginals={
            name: marginal(weights, (variable,), (size,))
            for name, variable, size in zip(world.names, last, world.sizes, strict=True)
        },
        entropy=-math.fsum(math.exp(value) * value for value in joint if value > NEVER),
    )


def solve_prefixes(
    world: World, context: Sequence[int], known: Mapping[str, int] | None = None
) -> list[Reference]:
    """Return the filtered posterior at each position: given what was seen up to there."""
    references = []
    for t in range(1, len(context) + 1):
        seen = {site.name for site in unroll(world, t).concepts}
        own = {name: value for name, value in (known or {}).items() if name in seen}
        references.append(solve(world, context[:t], own))
    return references


def smooth(
    world: World, context: Sequence[int], known: Mapping[str, int] | None = None
) -> list[dict[str, list[float]]]:
    """Return, at each position, the log-marginals of what is there given the whole context."""
    model = unroll(world, len(context))
    weights = log_weights(model, context, known or {})
    return [
        {
            name: marginal(weights, (model.at[t][name],), (size,))
            for name, size in zip(world.names, world.sizes, strict=True)
        }
        for t in range(len(context))
    ]


def predict(world: World, context: Sequence[int]) -> dict[str, list[float]]:
    """Return log p(y | context) for each next-token site."""
    model = unroll(world, len(context))
    weights = log_weights(model, context, {})
    whole = log_sum([weight for _, weight in weights])
    return {
        site.name: [
            log_sum([weight + log_p(site, value, assignment) for assignment, weight in weights])
            - whole
            for value in range(site.size)
        ]
        for site in model.next_tokens
    }
