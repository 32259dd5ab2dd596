"""A program with unknown tables: its parameters, and its log-tables as functions of them.

The program is run a few times to learn its structure. Where every row of its tables is constant or
a row of a parameter (`ties`), the tables are looked up from then on;
elsewhere the program runs again, enumerated, at each new value of its parameters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concept_ppl.errors import ModelError
from concept_ppl.programs.enumeration import POSITION, GivenValues
from concept_ppl.programs.factors import Emission, Factor, FactorGraph, TokenTable
from concept_ppl.programs.graph_assembly import Model
from concept_ppl.programs.tracing import compile_lengths, count_plates, retrace

from .parameters import Parameter, Parameters
from .ties import FREE, TableTies, View, find_ties, padded_views, stacked_rows, views_of

Values = Mapping[str, Tensor]


@dataclass(frozen=True)
class Piece:
    """The program at one context length (or at all, where shorter contexts are prefixes).

    Attributes
    ----------
    rows : int64 array
        The contexts that it answers.
    template : FactorGraph
        The structure; its numbers are those of random parameters.
    n_plates : int
    ties : tuple of TableTies
        Of each table, in the order of :meth:`tables`.
    """

    rows: NDArray[np.int64]
    template: FactorGraph
    n_plates: int
    ties: tuple[TableTies, ...] = ()

    @cached_property
    def _shared(self) -> tuple[list[int], list[int]]:
        """The first factor of each distinct table, and which of these each factor reads.

        Steps of a concept that moves share the table of their loop.
        """
        base = {step: name for name, steps in self.template.moving.items() for step in steps}
        number: dict[Any, int] = {}
        first, reads = [], []
        for place, factor in enumerate(self.template.priors):
            names = tuple(base.get(name, name) for name in factor.scope)
            is_step = bool(names) and factor.scope[-1] in base
            key = (id(factor.table), names) if is_step else place
            if key not in number:
                number[key] = len(number)
                first.append(place)
            reads.append(number[key])
        return first, reads

    @property
    def own_priors(self) -> list[Factor]:
        """A factor for each distinct table of concepts and of observed sites."""
        return [self.template.priors[place] for place in self._shared[0]]

    @property
    def n_priors(self) -> int:
        """How many of the tables are those of concepts and of observed sites."""
        return len(self._shared[0])

    @property
    def token_emissions(self) -> list[int]:
        """The first emission of each distinct token table."""
        first: dict[int, int] = {}
        for place, emission in enumerate(self.template.emissions):
            first.setdefault(id(emission.tokens), place)
        return list(first.values())

    @property
    def value_dims(self) -> list[int]:
        """For each table, 1 where its last dimension is the values of a site, else 0."""
        sites = self._sites()
        concepts = [int(factor.site in sites) for factor in self.own_priors]
        return concepts + [1] * (len(self.token_emissions) + len(self.template.next_tokens))

    def _sites(self) -> set[str]:
        """Names of the sites that are concepts, with or without the number of a plate's member."""
        names = set(self.template.concepts)
        return names | {name.rpartition(".")[0] for name in names if "." in name}

    def tables(self, graph: FactorGraph) -> list[Tensor]:
        """Return the distinct tables of a graph of this structure: priors, tokens, next tokens."""
        token_tables = [graph.emissions[place].tokens.table for place in self.token_emissions]
        pairs = self._pairs(graph)
        found = [_in_scope(*pairs[place]) for place in self._shared[0]]
        next_tokens = [factor.table for factor in graph.next_tokens.values()]
        return [*found, *token_tables, *next_tokens]

    def _pairs(self, graph: FactorGraph) -> list[tuple[Factor, Factor]]:
        if [f.site for f in graph.priors] != [f.site for f in self.template.priors]:
            raise ModelError(
                f"model {graph.name} has other sites at other values of its parameters; write it "
                f"without branches on them."
            )
        return list(zip(graph.priors, self.template.priors, strict=True))

    def graph(self, tables: Sequence[Tensor]) -> FactorGraph:
        """Return the graph with these tables in place of its own."""
        n, places = self.n_priors, self.token_emissions
        tokens = {
            id(self.template.emissions[place].tokens): TokenTable(table)
            for place, table in zip(places, tables[n:], strict=False)
        }
        priors = zip(self.template.priors, self._shared[1], strict=True)
        following = zip(self.template.next_tokens.items(), tables[n + len(places) :], strict=True)
        kept = {k: v for k, v in self.template._cache.items() if k.startswith("tree:")}
        return replace(
            self.template,
            priors=tuple(Factor(f.site, f.scope, tables[which]) for f, which in priors),
            emissions=tuple(
                Emission(e.start, e.stop, e.scope, tokens[id(e.tokens)])
                for e in self.template.emissions
            ),
            next_tokens={name: replace(f, table=table) for (name, f), table in following},
            _cache=kept,
        )


def _in_scope(factor: Factor, of: Factor) -> Tensor:
    """Return a factor's table without the dimensions along which the structure does not vary."""
    table = factor.table
    for axis in reversed(range(len(factor.scope))):
        if factor.scope[axis] not in of.scope:
            table = table.select(axis, 0)
    return table


@dataclass(frozen=True)
class Program:
    """A Pyro program whose continuous sites and params are unknown.

    Attributes
    ----------
    model : Model
    name : str
    given : GivenValues
        Values of sites that stay as they are.
    parameters : mapping of str to Parameter
        In program order.
    pieces : tuple of Piece
    views : tuple of View
        How each parameter is read as rows of probabilities.
    closed : frozenset of str
        Parameters that touch no row but those that are rows of theirs.
    fixed_priors : bool
        Whether no prior depends on another parameter.
    """

    model: Model
    name: str
    given: GivenValues
    parameters: Mapping[str, Parameter]
    pieces: tuple[Piece, ...]
    views: tuple[View, ...]
    closed: frozenset[str]
    fixed_priors: bool

    @property
    def is_looked_up(self) -> bool:
        """Whether tables and priors are known without running the program again."""
        return self.fixed_priors and all(t.is_closed for piece in self.pieces for t in piece.ties)

    @property
    def n_free(self) -> int:
        """Number of unconstrained coordinates."""
        return sum(parameter.n_free for parameter in self.parameters.values())

    def evaluate(self, values: Values) -> tuple[list[list[Tensor]], Tensor]:
        """Return the tables of each piece and the log prior density, differentiable in the values.

        The density is that of the values themselves, in nats; params add nothing.
        """
        if self.is_looked_up:
            rows = stacked_rows(self.views, values)
            tables = [[tie.look_up(rows) for tie in piece.ties] for piece in self.pieces]
            return tables, self.log_prior(values)
        found = []
        for piece in self.pieces:
            handler = Parameters(values)
            graph = retrace(
                self.model, piece.template.n_tokens, self.given, handler, piece.n_plates
            )
            found.append(piece.tables(graph))
        return found, handler.log_prior()

    def log_prior(self, values: Values) -> Tensor:
        """Return the log prior density of the values, in nats; params add nothing."""
        if not self.fixed_priors:
            piece = self.pieces[0]
            handler = Parameters(values)
            retrace(self.model, piece.template.n_tokens, self.given, handler, piece.n_plates)
            return handler.log_prior()
        terms = [
            p.prior.log_prob(p.inside(values[name])).sum()
            for name, p in self.parameters.items()
            if p.prior is not None
        ]
        return torch.stack(terms).sum() if terms else torch.zeros((), dtype=torch.float64)

    def prior_draw(self, seed: int) -> dict[str, Tensor]:
        """Draw every site from its prior; params keep the values that the program writes."""
        drawn = Parameters()
        length = self.pieces[0].template.n_tokens
        _seeded(lambda: count_plates(self.model, length, self.given, drawn), seed)
        return {name: parameter.initial.double() for name, parameter in drawn.found.items()}

    def random_values(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw every parameter from the inside of its range."""
        return {name: p.random(generator) for name, p in self.parameters.items()}


def learn_structure(
    model: Model, lengths: NDArray[np.int64], *, values: Mapping[str, Any] | None = None
) -> Program:
    """Run a program to learn its parameters and how its tables depend on them.

    Parameters
    ----------
    model
        See :func:`~concept_ppl.compile_model`.
    lengths
        Of the contexts that are to be answered.
    values
        Parameters that are known and stay as they are.

    Raises
    ------
    ModelError
        If the program has nothing to learn or cannot be answered exactly.
    """
    given = GivenValues({**getattr(model, "values", {}), **(values or {})})
    longest = int(max(lengths.max(initial=1), 1))
    first = Parameters()
    n_plates = _seeded(lambda: count_plates(model, longest, given, first))
    name = getattr(model, "__name__", type(model).__name__)
    if not first.found:
        raise ModelError(
            f"model {name} has nothing to learn: it has no continuous site and no pyro.param; give "
            f"its tables priors, as pyro.sample('table', dist.Dirichlet(torch.ones(3, 5)))."
        )
    parameters = first.found
    for parameter in parameters.values():
        if POSITION in {frame.name for frame in parameter.plates}:
            raise ModelError(
                f"continuous site '{parameter.name}' lies in plate '{POSITION}', whose "
                f"tokens differ in number; draw it before, in a plate of its own."
            )
    generator = torch.Generator().manual_seed(1)
    here, there = ({n: p.random(generator) for n, p in parameters.items()} for _ in range(2))
    compiled = compile_lengths(model, lengths, values={**given.values, **here})
    pieces = [Piece(rows, graph, n_plates) for graph, rows in compiled]
    return _tied(model, name, given, parameters, pieces, here, there)


def _seeded(call: Any, seed: int = 0) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return call()


def _tied(
    model: Model,
    name: str,
    given: GivenValues,
    parameters: Mapping[str, Parameter],
    pieces: list[Piece],
    here: Values,
    there: Values,
) -> Program:
    views = tuple(view for parameter in parameters.values() for view in views_of(parameter))
    traced, open_parameters, fixed = [], set[str](), True
    for piece in pieces:
        changed, base = {}, _priors_at(model, given, piece, here)
        for one in parameters:
            handler = Parameters({**here, one: there[one]})
            graph = retrace(model, piece.template.n_tokens, given, handler, piece.n_plates)
            changed[one] = piece.tables(graph)
            for other, parameter in handler.found.items():
                if other != one and not _same_prior(parameter, base[other], here[other]):
                    fixed = False
                    open_parameters |= {one, other}
        traced.append((piece, piece.tables(piece.template), changed))
    padded = dict.fromkeys(
        view
        for piece, tables, changed in traced
        for view in padded_views(
            list(parameters.values()),
            tables,
            *find_ties(tables, changed, views, here, there, piece.value_dims),
        )
    )
    views = (*views, *padded)
    done = []
    for piece, tables, changed in traced:
        ties, touched = find_ties(tables, changed, views, here, there, piece.value_dims)
        for tie, touches in zip(ties, touched, strict=True):
            for one, mask in touches.items():
                if bool((mask & (tie.index == FREE)).any()):
                    open_parameters.add(one)
        done.append(replace(piece, ties=tuple(ties)))
    closed = frozenset(parameters) - open_parameters
    return Program(model, name, given, parameters, tuple(done), views, closed, fixed)


def _priors_at(
    model: Model, given: GivenValues, piece: Piece, values: Values
) -> Mapping[str, Parameter]:
    handler = Parameters(values)
    retrace(model, piece.template.n_tokens, given, handler, piece.n_plates)
    return handler.found


def _same_prior(one: Parameter, other: Parameter, value: Tensor) -> bool:
    if one.prior is None:
        return True
    return torch.allclose(one.prior.log_prob(value), other.prior.log_prob(value), atol=1e-12)
