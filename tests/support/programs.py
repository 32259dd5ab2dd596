"""Random worlds, and each of them as a plain Pyro program.

Structure (how many concepts, who depends on whom, which distributions) is drawn by hypothesis, so
that a failure shrinks to a small program; the numbers in the tables come from a seed.
"""

import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from hypothesis import strategies as st
from pyro.ops.indexing import Vindex
from torch import Tensor

from .brute_force import Site, World

Program = Callable[[int], None]
WEIGHTS = (0.0, 0.0, 1e-9, 0.02, 0.1, 0.3, 0.5, 1.0, 1.0, 2.0, 5.0)
MAX_STATIC_JOINT = 150
CONCEPT_KINDS = ("probs", "logits", "bernoulli", "bernoulli logits", "one hot", "binomial")
TOKEN_KINDS = ("probs", "logits")


def random_row(rng: random.Random, size: int, *, zeros: bool = True) -> tuple[float, ...]:
    """Return probabilities, some of them zero."""
    choices = WEIGHTS if zeros else WEIGHTS[3:]
    weights = [rng.choice(choices) * rng.uniform(0.5, 1) for _ in range(size)]
    if not any(weights):
        weights[rng.randrange(size)] = 1.0
    total = math.fsum(weights)
    return tuple(weight / total for weight in weights)


def random_site(
    rng: random.Random,
    name: str,
    size: int,
    parents: Mapping[str, int],
    kind: str = "probs",
    *,
    zeros: bool = True,
) -> Site:
    """Return p(name | parents); a Bernoulli needs size 2, a binomial's rows are of its family."""
    if kind.startswith("bernoulli") and size != 2:
        kind = "probs"
    rows = {}
    for values in itertools.product(*(range(n) for n in parents.values())):
        row = random_row(rng, size, zeros=zeros)
        if kind == "binomial":
            p, n = (0.0 if zeros and rng.random() < 0.1 else rng.random()), size - 1
            row = tuple(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1))
        if kind == "bernoulli":  # what is written is p; 1 − p is what floating point makes of it
            row = (1 - row[1], row[1])
        rows[values] = row
    return Site(name, tuple(parents), rows, kind)


def table(site: Site, sizes: Sequence[int]) -> Tensor:
    """Return the site's rows as a tensor, shape (*parents, n_values)."""
    rows = torch.tensor([site.rows[values] for values in sorted(site.rows)], dtype=torch.float64)
    return rows.reshape(*sizes, site.size)


def distribution(site: Site, sizes: Sequence[int], parents: Sequence[Tensor]) -> Any:
    """Write the site as a user would: a literal table, picked from by ``Vindex``."""
    probs = table(site, sizes)

    def pick(values: Tensor) -> Tensor:
        return Vindex(values)[tuple(parents)] if parents else values

    if site.kind == "bernoulli":
        return dist.Bernoulli(pick(probs[..., 1]))
    if site.kind == "bernoulli logits":
        return dist.Bernoulli(logits=pick(probs[..., 1].log() - probs[..., 0].log()))
    if site.kind == "binomial":
        n = site.size - 1
        mean = (probs * torch.arange(n + 1.0)).sum(-1)
        return dist.Binomial(n, pick((mean / max(n, 1)).clamp(0, 1)))
    if site.kind == "one hot":
        return dist.OneHotCategorical(pick(probs))
    if site.kind == "logits":
        # A shift of each row is no change of a Categorical, and is how trained tables look.
        shift = torch.linspace(-3, 3, probs[..., :1].numel()).reshape(probs[..., :1].shape)
        return dist.Categorical(logits=pick(probs.log() + shift))
    return dist.Categorical(pick(probs))


def sample(site: Site, name: str, known: Mapping[str, Tensor]) -> Tensor:
    """Run the sample statement; return the index of the value, whatever the distribution's type."""
    sizes = [max(values[k] for values in site.rows) + 1 for k in range(len(site.parents))]
    value = pyro.sample(name, distribution(site, sizes, [known[p] for p in site.parents]))
    return value.argmax(-1) if site.kind == "one hot" else value.long()


def as_program(world: World, *, moving: str = "markov") -> Program:
    """Return the world as a Pyro function of the number of tokens.

    ``moving``: concepts that move are written in a ``pyro.markov`` loop, or in the position plate.
    """

    def static_program(n_tokens: int) -> None:
        known: dict[str, Tensor] = {}
        for site in world.static:
            known[site.name] = sample(site, site.name, known)
        with pyro.plate("position", n_tokens):
            for site in world.first:
                known[site.name] = sample(site, site.name, known)
            sample_tokens(world, known, n_tokens)
        for site in world.next_tokens:
            sample(site, site.name, known)

    def looping_program(n_tokens: int) -> None:
        known: dict[str, Tensor] = {}
        for site in world.static:
            known[site.name] = sample(site, site.name, known)
        for t in pyro.markov(range(n_tokens)):
            known |= {f"{site.name}@1": known[site.name] for site in world.first if t}
            for site in world.later if t else world.first:
                known[site.name] = sample(site, f"{site.name}_{t}", known)
            emission = world.emission[min(t, len(world.emission) - 1)]
            sample(emission, f"x_{t}", known)
        for site in world.next_tokens:
            sample(site, site.name, known)

    return looping_program if world.later and moving == "markov" else static_program


def sample_tokens(world: World, known: Mapping[str, Tensor], n_tokens: int) -> None:
    """Write the site x of a position plate, with one table for all positions or one for each."""
    first = world.emission[0]
    if len(world.emission) == 1:
        sample(first, "x", known)
        return
    sizes = [max(values[k] for values in first.rows) + 1 for k in range(len(first.parents))]
    probs = torch.stack([table(site, sizes) for site in world.emission])
    index = (torch.arange(n_tokens), *(known[parent] for parent in first.parents))
    if first.kind == "logits":
        pyro.sample("x", dist.Categorical(logits=Vindex(probs.log())[index]))
    else:
        pyro.sample("x", dist.Categorical(Vindex(probs)[index]))


@st.composite
def static_worlds(
    draw: st.DrawFn, *, zeros: bool = True, n_positions: int = 8, max_joint: int = MAX_STATIC_JOINT
) -> World:
    """Chains, trees, loops, colliders, independent roots: any DAG, cardinalities 1 to 5."""
    rng = random.Random(draw(st.integers(0, 10**6)))
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    while math.prod(sizes) > max_joint:
        sizes.remove(max(sizes))
    concepts: dict[str, int] = {}
    static = []
    for name, size in zip("abcde", sizes, strict=False):
        parents = draw_parents(draw, concepts, 2)
        kind = draw(st.sampled_from(CONCEPT_KINDS))
        static.append(random_site(rng, name, size, parents, kind, zeros=zeros))
        concepts[name] = size
    emission = draw_emission(draw, rng, concepts, n_positions, zeros=zeros)
    return World(tuple(static), emission, draw_next(draw, rng, concepts))


@st.composite
def moving_worlds(draw: st.DrawFn, *, zeros: bool = True, loop: bool = True) -> World:
    """One or two concepts that move from position to position, perhaps beside one that stays.

    Without ``loop`` there is no memory: each position has values of its own.
    """
    rng = random.Random(draw(st.integers(0, 10**6)))
    stays = {"s": draw(st.integers(1, 3))} if draw(st.booleans()) else {}
    static = tuple(random_site(rng, name, size, {}, zeros=zeros) for name, size in stays.items())
    moves = {"m": draw(st.integers(1, 3))}
    if draw(st.integers(0, 3)) == 0:
        moves = {"m": 2, "n": 2}
    first, later = [], []
    here: dict[str, int] = dict(stays)
    for name, size in moves.items():
        same = draw_parents(draw, here, 2)
        kind = draw(st.sampled_from(CONCEPT_KINDS))
        first.append(random_site(rng, name, size, same, kind, zeros=zeros))
        before = {
            f"{other}@1": n for other, n in moves.items() if other == name or rng.random() < 0.5
        }
        if loop:
            later.append(random_site(rng, name, size, same | before, kind, zeros=zeros))
        here[name] = size
    emission = draw_emission(draw, rng, here, 6, zeros=zeros)
    # Behind a position plate there is no last value to depend on.
    next_tokens = draw_next(draw, rng, here if loop else stays)
    return World(static, emission, next_tokens, tuple(first), tuple(later or first))


def draw_parents(draw: st.DrawFn, concepts: Mapping[str, int], most: int) -> dict[str, int]:
    """Return some of the concepts, in any order."""
    names = st.lists(st.sampled_from(sorted(concepts)), max_size=most, unique=True)
    return {name: concepts[name] for name in draw(names)} if concepts else {}


def draw_emission(
    draw: st.DrawFn,
    rng: random.Random,
    concepts: Mapping[str, int],
    n_positions: int,
    *,
    zeros: bool = True,
) -> tuple[Site, ...]:
    """Return p(x | some concepts), the same at all positions or one table for each."""
    parents = draw_parents(draw, concepts, 3)
    size, kind = draw(st.integers(1, 4)), draw(st.sampled_from(TOKEN_KINDS))
    count = n_positions if draw(st.booleans()) else 1
    sites = [random_site(rng, "x", size, parents, kind, zeros=zeros) for _ in range(count)]
    return tuple(sites)


def draw_next(draw: st.DrawFn, rng: random.Random, concepts: Mapping[str, int]) -> tuple[Site, ...]:
    """Return no, one or two next-token sites."""
    names = draw(st.sampled_from([(), ("y",), ("y", "y_other")]))
    return tuple(
        random_site(rng, name, draw(st.integers(1, 4)), draw_parents(draw, concepts, 2))
        for name in names
    )


@st.composite
def contexts_of(draw: st.DrawFn, world: World, longest: int = 8) -> list[list[int]]:
    """Return one to five contexts of lengths from 0, some tokens unobserved (−1)."""
    token = st.integers(-1, world.vocabulary_size - 1)
    return draw(st.lists(st.lists(token, max_size=longest), min_size=1, max_size=5))


@st.composite
def knowledge_of(
    draw: st.DrawFn, names_and_sizes: Mapping[str, int], n: int
) -> dict[str, list[int]]:
    """Return partial evidence: for some variables a value or −1 for each context."""
    names = draw(st.lists(st.sampled_from(sorted(names_and_sizes)), max_size=2, unique=True))
    return {
        name: draw(st.lists(st.integers(-1, names_and_sizes[name] - 1), min_size=n, max_size=n))
        for name in names
    }


def plated_world(seed: int, n_members: int, *, zeros: bool = True) -> tuple[World, Program]:
    """A root, a concept in a plate of its own that depends on it, tokens that see two members.

    Members of a plate are combined elementwise along the plate's dimension, which is kept.
    """
    rng = random.Random(seed)
    root = random_site(rng, "root", 3, {}, zeros=zeros)
    members = [
        random_site(rng, f"z.{m}", 2, {"root": 3}, "probs", zeros=zeros) for m in range(n_members)
    ]
    ends = {"z.0": 2, f"z.{n_members - 1}": 2}
    emission = random_site(rng, "x", 3, ends, zeros=zeros)
    after = random_site(rng, "y", 2, {"root": 3})
    world = World((root, *members), (emission,), (after,))
    stacked = torch.stack([table(site, [3]) for site in members])
    x_table, y_table = table(emission, list(ends.values())), table(after, [3])
    prior = table(root, [])

    def model(n_tokens: int) -> None:
        value = pyro.sample("root", dist.Categorical(prior))
        with pyro.plate("member", n_members) as member:
            z = pyro.sample("z", dist.Categorical(Vindex(stacked)[member, value]))
        first, last = z[..., :1], z[..., -1:]
        with pyro.plate("position", n_tokens):
            index = (first, last) if n_members > 1 else (first,)
            pyro.sample("x", dist.Categorical(Vindex(x_table)[index]))
        pyro.sample("y", dist.Categorical(Vindex(y_table)[value]))

    return world, model


def example_static_world() -> World:
    """Two dependent concepts, some zeros, tokens that know their position."""
    return World(
        static=(
            Site("a", (), {(): (0.3, 0.7)}, "bernoulli"),
            Site("b", ("a",), {(0,): (0.5, 0.5, 0.0), (1,): (0.1, 0.2, 0.7)}),
        ),
        emission=tuple(
            Site("x", ("b", "a"), {(b, a): _token_row(t, a, b) for b in range(3) for a in range(2)})
            for t in range(2)
        ),
        next_tokens=(Site("y", ("b",), {(0,): (1.0, 0.0), (1,): (0.4, 0.6), (2,): (0.0, 1.0)}),),
    )


def _token_row(t: int, a: int, b: int) -> tuple[float, float]:
    p = (1 + t + a + 2 * b) / 8
    return (1 - p, p)


def example_moving_world() -> World:
    """A concept that moves beside one that stays."""
    return World(
        static=(Site("s", (), {(): (0.4, 0.6)}),),
        emission=(
            Site("x", ("m", "s"), {(m, s): _token_row(0, m, s) for m in (0, 1) for s in (0, 1)}),
        ),
        next_tokens=(Site("y", ("m",), {(0,): (0.9, 0.1), (1,): (0.3, 0.7)}),),
        first=(Site("m", ("s",), {(0,): (0.2, 0.8), (1,): (0.7, 0.3)}),),
        later=(Site("m", ("m@1",), {(0,): (0.9, 0.1), (1,): (0.25, 0.75)}),),
    )
