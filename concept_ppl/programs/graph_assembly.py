"""What an enumeration recorded, put together: sites become concepts, priors, emissions, steps."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from concept_ppl.errors import ModelError, listed

from .enumeration import POSITION, Enumeration, TracedSite
from .factors import Concept, Emission, Factor, FactorGraph, TokenTable

Model = Callable[[int], Any]
"""A Pyro program for one context: takes the number of tokens."""


def assemble(model: Model, name: str, n_tokens: int, enumeration: Enumeration) -> FactorGraph:
    """Put the tables that an enumeration recorded together to a graph."""
    sites = enumeration.sites.values()
    tokens = [site for site in sites if site.role == "token"]
    vocabulary_size = _require_tokens(name, tokens, n_tokens)
    labels = getattr(model, "labels", {})
    concepts: dict[str, Concept] = {}
    moving: dict[str, tuple[str, ...]] = {}
    priors: list[Factor] = []
    local = {site.name for site in sites if site.role == "concept" and site.plate == POSITION}
    labelled: dict[tuple[str, int], tuple[str, ...]] = {}
    for site in sites:
        _require_local_use(site, local)
        if site.role == "observed":
            priors.append(Factor(site.name, site.parents, site.table))
        if site.role != "concept":
            continue
        members = _members(site, local)
        _require_own_names(name, [factor.scope[-1] for factor in members], concepts)
        values = enumeration.values[site.name]
        key = (
            re.sub(r"_\d+$", "", site.name) if site.name not in labels else site.name,
            id(values),
        )
        if key not in labelled or not site.in_markov:
            labelled[key] = _value_labels(site, values, labels)
        value_labels = labelled[key]
        concepts |= {
            factor.scope[-1]: Concept(factor.scope[-1], value_labels) for factor in members
        }
        priors += members
        if site.plate == POSITION:
            moving[site.name] = tuple(factor.scope[-1] for factor in members)
    moving |= _steps(sites, n_tokens)
    steps = {step for each in moving.values() for step in each}
    _require_own_names(name, moving, concepts.keys() - steps)
    last = {steps[-1]: base for base, steps in moving.items()}
    next_tokens = {
        factor.site: replace(
            factor, scope=tuple(last.get(parent, parent) for parent in factor.scope)
        )
        for site in sites
        if site.role == "next"
        for factor in _next_factors(site)
    }
    token_labels = labels.get("x")
    return FactorGraph(
        name=name,
        n_tokens=n_tokens,
        vocabulary_size=vocabulary_size,
        concepts=concepts,
        moving=moving,
        priors=tuple(priors),
        emissions=_emissions(tokens, n_tokens, moving),
        next_tokens=next_tokens,
        token_labels=tuple(token_labels) if token_labels is not None else None,
    )


def _require_tokens(name: str, tokens: list[TracedSite], n_tokens: int) -> int:
    names = [site.name for site in tokens]
    if names == ["x"]:
        (site,) = tokens
        if site.plate != POSITION or site.plate_size != n_tokens:
            raise ModelError(
                f"model {name}: site 'x' must lie in pyro.plate(\"{POSITION}\", n_tokens)."
            )
    elif sorted(names) != sorted(f"x_{t}" for t in range(n_tokens)):
        raise ModelError(
            f"model {name} has no context of {n_tokens} tokens: name the token site x, in "
            f'pyro.plate("{POSITION}", n_tokens), or x_0, x_1, … in a loop over range(n_tokens).'
        )
    sizes = {site.table.shape[-1] for site in tokens}
    if len(sizes) > 1:
        raise ModelError(f"model {name}: its token sites have different numbers of values.")
    return sizes.pop()


def _require_own_names(model: str, names: Iterable[str], taken: Collection[str]) -> None:
    """Refuse a concept called as another is reported: a member of a plate, or one that moves."""
    if twice := [name for name in names if name in taken]:
        raise ModelError(
            f"model {model}: two concepts would be called '{twice[0]}', one of them by its plate "
            f"or loop; rename the other."
        )


def _require_local_use(site: TracedSite, local: Collection[str]) -> None:
    """Refuse a concept of the position plate outside of it: it has one value per position."""
    outside = [parent for parent in site.parents if parent in local]
    if outside and site.plate != POSITION:
        raise ModelError(
            f"site '{site.name}' lies outside plate '{POSITION}' but depends on '{outside[0]}', "
            f"which has one value per position."
        )


def _members(site: TracedSite, local: Collection[str]) -> list[Factor]:
    """Return one factor per member of the site's plate, or the site's own."""
    if site.plate is None:
        return [Factor(site.name, (*site.parents, site.name), site.table)]
    factors = []
    for member in range(site.plate_size):
        own = f"{site.name}.{member}"
        table = site.table[member if site.table.shape[0] > 1 else 0]
        parents = tuple(f"{p}.{member}" if p in local else p for p in site.parents)
        if site.plate != POSITION:
            parents, table = _without_idle(parents, table)
        factors.append(Factor(own, (*parents, own), table))
    return factors


def _next_factors(site: TracedSite) -> list[Factor]:
    if site.plate is None:
        return [Factor(site.name, site.parents, site.table)]
    return [
        Factor(f"{site.name}.{m}", site.parents, site.table[m if site.table.shape[0] > 1 else 0])
        for m in range(site.plate_size)
    ]


def _without_idle(parents: tuple[str, ...], table: Tensor) -> tuple[tuple[str, ...], Tensor]:
    """Drop the dimensions along which a table does not change (other members of a plate)."""
    if table.requires_grad:
        return parents, table  # equal at these values of the parameters is not equal at all
    kept: list[str] = []
    for parent in parents:
        axis = len(kept)
        first = table.narrow(axis, 0, 1)
        if torch.equal(first.expand_as(table), table):
            table = first.squeeze(axis)
        else:
            kept.append(parent)
    return tuple(kept), table


def _value_labels(site: TracedSite, values: Tensor, labels: Mapping[str, Any]) -> tuple[str, ...]:
    base = re.sub(r"_\d+$", "", site.name) if site.in_markov else site.name
    given = labels.get(site.name, labels.get(base))
    if given is None:
        if values.dim() > 1:
            return tuple(str(k) for k in range(len(values)))
        return tuple(f"{float(v):g}" for v in values)
    if len(given) != len(values):
        raise ModelError(
            f"site '{site.name}' has {len(values)} values but {len(given)} labels: {listed(given)}."
        )
    return tuple(str(label) for label in given)


def _steps(sites: Iterable[TracedSite], n_tokens: int) -> dict[str, tuple[str, ...]]:
    """Find the concepts of a ``pyro.markov`` loop: ``language_0 … language_{n-1}`` is language."""
    indexed: dict[str, dict[int, str]] = {}
    for site in sites:
        match = re.fullmatch(r"(\w+)_(\d+)", site.name)
        if site.role == "concept" and site.in_markov and match:
            indexed.setdefault(match[1], {})[int(match[2])] = site.name
    return {
        base: tuple(steps[t] for t in range(n_tokens))
        for base, steps in indexed.items()
        if set(steps) == set(range(n_tokens))
    }


def _emissions(
    tokens: list[TracedSite], n_tokens: int, moving: Mapping[str, tuple[str, ...]]
) -> tuple[Emission, ...]:
    if tokens[0].name == "x":
        (site,) = tokens
        if not moving:
            return (Emission(0, n_tokens, site.parents, TokenTable(site.table)),)
        shared = [TokenTable(table[None]) for table in site.table]
        scopes = [
            tuple(moving[p][t] if p in moving else p for p in site.parents) for t in range(n_tokens)
        ]
        pairs = zip(scopes, shared * (n_tokens // len(shared)), strict=True)
        return tuple(Emission(t, t + 1, scope, table) for t, (scope, table) in enumerate(pairs))
    tables: dict[int, TokenTable] = {}
    emissions = []
    for site in sorted(tokens, key=lambda site: int(site.name[2:])):
        t = int(site.name[2:])
        table = tables.setdefault(id(site.table), TokenTable(site.table[None]))
        emissions.append(Emission(t, t + 1, site.parents, table))
    return tuple(emissions)
