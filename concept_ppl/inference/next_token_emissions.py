"""What does each value of a concept say of the next token: the rows p(y | c) of the predictive.

    p(y | x) = Σ_c p(c | x) p(y | c)

holds where the context tells nothing of y beyond c. Whether it does is read off the factor graph:
c, held fixed, must cut every path from what y depends on to a token of the context.
"""

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from concept_ppl.errors import InputError
from concept_ppl.inference.exact.contraction import Leaf, align, combine, contract
from concept_ppl.logspace import logsumexp, normalise
from concept_ppl.programs.factors import Factor, FactorGraph
from concept_ppl.programs.graph_assembly import Model
from concept_ppl.programs.tracing import compile_model

from .queries import next_table
from .results import Posterior

Scope = tuple[str, ...]


@dataclass(frozen=True)
class NextTokenEmission:
    """log p(next token | value) for every value of a concept at the last position.

    Attributes
    ----------
    concepts : tuple of str
        The concept, or those whose joint values the rows stand for; moving ones go by their base
        name and mean their site at the last position of the context.
    values : tuple of str
        A name for each row: the value's label, or ``name=label`` of each concept, last fastest.
    log_p : Tensor, shape (C, n_next)
        Natural logarithms, −inf where a value never emits a token.
    """

    concepts: tuple[str, ...]
    values: tuple[str, ...]
    log_p: Tensor

    def log_posterior(self, answer: Posterior) -> Tensor:
        """Return log p(value | x) of the rows' values, shape (n_contexts, C).

        Parameters
        ----------
        answer
            The posterior of the contexts; with its joint where the rows are of several concepts.

        Raises
        ------
        InputError
            If there is no joint, and one is needed.
        """
        if len(self.concepts) == 1:
            return answer.log_marginals[self.concepts[0]]
        if answer.log_joint is None:
            raise InputError("the joint was not computed; ask for it with joint=True.")
        names = tuple(concept.name for concept in answer.concepts)
        sizes = [concept.size for concept in answer.concepts]
        joint = Leaf(names, answer.log_joint.reshape(len(answer), *sizes), batched=True)
        return combine([joint], self.concepts).table.reshape(len(answer), -1)


def next_token_emission(
    model: Model | FactorGraph,
    n_tokens: int,
    concept: str | Sequence[str] | None = None,
    *,
    site: str = "y",
    within: int | None = None,
    values: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> NextTokenEmission:
    """Return log p(next token | concept) for contexts of ``n_tokens``, exactly.

    Whatever else the next token depends on is summed out, given the concept: its own later steps,
    say, where the next token is one more of the context. That is legitimate only where the context
    tells nothing of these given the concept; otherwise there is no p(y | concept), and it is
    refused. The weights that Bayes's predictive has in these rows are the posterior.

    Parameters
    ----------
    model
        A Pyro program (see :func:`~concept_ppl.compile_model`) or its compiled graph.
    n_tokens
        Length of the contexts.
    concept
        A concept, or several whose joint value counts. By default those that the next token depends
        on; where it comes from a later position, the last ones on the way there.
    site
        A next-token site of the program, or ``x`` for the next token of the context itself, as
        :func:`concept_ppl.predictive` has it: under the program of one position more.
    within
        Length of the text in which the token ``x`` that follows the context stands, by default
        ``n_tokens + 1``. A program that closes its text in a way of its own (with a comma, say)
        speaks of words only where the text goes on.
    values, device, dtype
        As in :func:`concept_ppl.posterior`.

    Raises
    ------
    InputError
        If there is no such site or concept, the next token depends on the context through other
        concepts too, or a value cannot occur where its row would have to be a conditional
        probability.
    """
    if n_tokens < 0:
        raise InputError(f"n_tokens is {n_tokens}; a context has 0 tokens or more.")
    length = n_tokens + 1 if site == "x" else n_tokens
    if within is not None and not (site == "x" and within >= length):
        raise InputError(
            f"within is {within}; it is for site 'x' alone, and at least one more than the "
            f"{n_tokens} tokens of the context."
        )
    graph = _graph(model, max(within or length, 1), values, device, dtype)
    scope, table = next_table(graph, site, length)
    last = _last_sites(graph, n_tokens)
    priors, tokens = _unpruned(graph, n_tokens, {*scope, *last.values()})
    cliques = [set(factor.scope) for factor in priors]
    names = _named(graph, concept, last) if concept is not None else None
    chosen = (
        tuple(s for s in last.values() if s in _reached(scope, set(last.values()), cliques))
        if names is None
        else tuple(last[name] for name in names)
    )
    passed = _reached(scope, set(chosen), cliques) - set(chosen)
    asked = {site_name: name for name, site_name in last.items()}
    concepts = tuple(asked[each] for each in chosen)
    _require_cut(graph, site, concepts, passed, tokens)
    log_p = _rows(graph, priors, scope, table, chosen)
    return NextTokenEmission(concepts, _names_of_values(graph, concepts, chosen), log_p)


def _graph(
    model: Model | FactorGraph,
    length: int,
    values: Mapping[str, Any] | None,
    device: torch.device | str,
    dtype: torch.dtype,
) -> FactorGraph:
    if not isinstance(model, FactorGraph):
        return compile_model(model, length, values=values, device=device, dtype=dtype, lengths=())
    if length > model.n_tokens or (length < model.n_tokens and not model.prefix_consistent):
        raise InputError(
            f"model {model.name} was compiled for {model.n_tokens} tokens, {length} are needed; "
            f"compile it for {length}."
        )
    return model


def _last_sites(graph: FactorGraph, n_tokens: int) -> dict[str, str]:
    """Return each reported concept's site at the last position of the context, by its name."""
    names = tuple(graph.reported)
    return dict(zip(names, graph.at_length(names, n_tokens), strict=True))


def _named(
    graph: FactorGraph, concept: str | Sequence[str], last: Mapping[str, str]
) -> tuple[str, ...]:
    names = (concept,) if isinstance(concept, str) else tuple(concept)
    for name in names:
        if name not in last:
            known = ", ".join(last)
            raise InputError(f"model {graph.name} has no concept '{name}'; it has: {known}.")
    if not names or len({*names}) < len(names):
        raise InputError(f"concept is {', '.join(names) or 'empty'}; name each concept once.")
    return names


def _unpruned(
    graph: FactorGraph, n_tokens: int, kept: Collection[str]
) -> tuple[list[Factor], list[Scope]]:
    """Return the tables that bear on ``kept`` and the tokens, and the tokens' own scopes.

    A concept that nothing depends on sums to one.
    """
    tokens = [emission.scope for emission in graph.emissions if emission.start < n_tokens]
    needed = {*kept, *itertools.chain.from_iterable(tokens)}
    priors = list(graph.priors)
    while True:
        uses: dict[str, int] = {}
        for factor in priors:
            for name in factor.scope:
                uses[name] = uses.get(name, 0) + 1
        left = [
            f for f in priors if not (_is_own(f) and uses[f.site] == 1 and f.site not in needed)
        ]
        if len(left) == len(priors):
            return left, tokens
        priors = left


def _is_own(factor: Factor) -> bool:
    """Whether a table is a concept's own, and not that of a site that the program observes."""
    return bool(factor.scope) and factor.scope[-1] == factor.site


def _reached(start: Iterable[str], stop: Collection[str], cliques: Sequence[set[str]]) -> set[str]:
    """Return all concepts that share a table with what was reached, not walking past ``stop``."""
    found, waiting = set(start), [name for name in start if name not in stop]
    while waiting:
        name = waiting.pop()
        fresh = {other for clique in cliques if name in clique for other in clique} - found
        found |= fresh
        waiting += [other for other in fresh if other not in stop]
    return found


def _require_cut(
    graph: FactorGraph, site: str, concepts: Scope, passed: set[str], tokens: Sequence[Scope]
) -> None:
    told = sorted({name for scope in tokens for name in scope if name in passed})
    if told:
        given = ", ".join(f"'{name}'" for name in concepts)
        raise InputError(
            f"model {graph.name}: given {given}, the context still tells of the next token "
            f"'{site}' through '{told[0]}', so there is no p({site} | {', '.join(concepts)}); "
            f"leave concept out, or name '{told[0]}' too."
        )


def _rows(
    graph: FactorGraph, priors: Sequence[Factor], scope: Scope, table: Tensor, chosen: Scope
) -> Tensor:
    """Return Σ p(rest of the scope | chosen) p(y | scope), shape (Π chosen, n_next)."""
    rest = tuple(name for name in scope if name not in chosen)
    n_next = table.shape[-1]
    whole = (*chosen, *rest)
    sizes = [math.prod(graph.sizes[name] for name in part) for part in (chosen, rest)]
    logits = align(scope, table.movedim(-1, 0), whole, batched=True)
    logits = logits.expand(n_next, *(graph.sizes[name] for name in whole))
    logits = logits.reshape(n_next, *sizes).movedim(0, -1)
    if not rest:
        return logits.squeeze(1).contiguous()
    leaves = [Leaf(factor.scope, factor.table) for factor in priors]
    joint = contract(leaves, graph.sizes, whole).reshape(*sizes)
    never = torch.isneginf(joint).all(1).nonzero()
    if len(never):
        number = int(never[0])
        label = _names_of_values(graph, chosen, chosen)[number]
        raise InputError(
            f"model {graph.name}: value {label} of {', '.join(chosen)} cannot occur, so no next "
            f"token follows it; give a length at which it can."
        )
    return logsumexp(normalise(joint, 1).unsqueeze(2) + logits, 1)


def _names_of_values(graph: FactorGraph, names: Scope, sites: Scope) -> tuple[str, ...]:
    labels = [graph.concepts[site].labels for site in sites]
    if len(names) == 1:
        return labels[0]
    return tuple(
        ", ".join(f"{name}={label}" for name, label in zip(names, row, strict=True))
        for row in itertools.product(*labels)
    )
