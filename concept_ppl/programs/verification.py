"""Does a program mean the same when it is enumerated as when it is run with single values?

``TABLE[a][b]`` and other plain indexing give wrong tables under enumeration without a word. Running
the program as written, with single values, and looking those up in the traced tables finds this
out. The values are a Latin hypercube: in as many runs as a concept has values, each comes up once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from concept_ppl.errors import ModelError

from .enumeration import GivenValues, plates_of, require_answerable, role
from .factors import Factor, FactorGraph
from .loops import FEWEST, Again, Visits, ends_of, run
from .positions import further
from .tables import log_table, observed_log_prob, support

MIN_RUNS = 8
SITES_RUN = 2000
"""Sites that are run in all, a fraction of a second; a long program gets fewer runs."""
TOLERANCE = 1e-5
"""On log-probabilities, relative and absolute: wide enough for tables written in float32."""


@dataclass
class Draws:
    """Value indices for a series of runs, a Latin hypercube (McKay, Beckman and Conover 1979).

    In K runs each of a concept's K values, impossible ones included, comes up once, in an order
    drawn from the generator.
    """

    generator: torch.Generator
    turn: int = -1
    orders: dict[str, Tensor] = field(default_factory=dict)

    def index(self, site: str, shape: tuple[int, ...], n_values: int) -> Tensor:
        """Return the value index of each member of a site in this run."""
        if site not in self.orders:
            order = torch.rand((n_values, *shape), generator=self.generator).argsort(0)
            self.orders[site] = order
        return self.orders[site][self.turn % n_values]


@dataclass
class Assignment(Messenger):  # type: ignore[misc]
    """Run the program as written, with one value per concept, and record each site's table.

    Parameters
    ----------
    draws
        Choose the values; each assignment is their next turn.
    passes
        Of each long loop, those that run; all of them where there are none.
    """

    draws: Draws
    passes: Sequence[Sequence[int]] | None = None
    indices: dict[str, Tensor] = field(default_factory=dict)
    tables: dict[str, Tensor] = field(default_factory=dict)
    plates: dict[str, Any] = field(default_factory=dict)
    observed: dict[str, Tensor] = field(default_factory=dict)
    n_plates: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.draws.turn += 1
        self.loops: list[Again] = []
        self._drawn_in: dict[tuple[int, int], list[str]] = {}

    def walker(self, positions: range) -> Again:
        """Return what chooses the passes of a loop; of one that is not known, both ends run."""
        known = self.passes is not None and len(self.loops) < len(self.passes)
        chosen = self.passes[len(self.loops)] if known and self.passes else ends_of(positions)
        self.loops.append(Again(positions, chosen))
        return self.loops[-1]

    @property
    def is_partial(self) -> bool:
        """Whether passes were left out."""
        return any(len(loop.passes) < len(loop.positions) for loop in self.loops)

    def behind_gaps(self) -> dict[str, Tensor]:
        """Return the values that a pass behind passes that did not run found in their place.

        It found what the pass that ran before it had left, under the names of the one before it.
        """
        found = {}
        for which, loop in enumerate(self.loops):
            for i in range(1, loop.done):
                for back in range(1, min(loop.passes[i] - loop.passes[i - 1], i + 1, FEWEST)):
                    absent = loop.positions[loop.passes[i] - back]
                    for name in self._drawn_in.get((which, i - back), []):
                        distance = absent - loop.positions[loop.passes[i - back]]
                        found[further(name, distance)] = self.indices[name]
        return found

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["done"] or type(msg["fn"]).__name__ == "_Subsample":
            return
        for frame in plates_of(msg):
            self.n_plates = max(self.n_plates, -frame.dim)
            if len(range(frame.size)) != frame.size or frame.size == 0:
                raise ModelError(f"plate '{frame.name}' is empty.")
        if msg["infer"].get("_deterministic"):
            return
        require_answerable(msg)
        if msg["is_observed"]:
            self.observed[msg["name"]] = observed_log_prob(msg).detach().sum()
            return
        name, values = msg["name"], support(msg["fn"])
        self.tables[name] = log_table(msg["fn"]).detach()
        self.plates[name] = plates_of(msg)[0] if plates_of(msg) else None
        shape = tuple(msg["fn"].batch_shape)
        if role(name) == "concept":
            index = self.draws.index(name, shape, len(values))
            self.indices[name] = index
            if self.loops:
                here = len(self.loops) - 1, self.loops[-1].done - 1
                self._drawn_in.setdefault(here, []).append(name)
        else:
            index = torch.zeros(shape, dtype=torch.long)
        msg["value"], msg["done"] = values[index], True


def require_agreement(
    graph: FactorGraph, model: Any, given: GivenValues, draws: Draws, visits: Sequence[Visits] = ()
) -> None:
    """Compare the graph with runs of the program as written.

    Of loops, the passes run that ran when the graph was traced, and some of those copied instead.

    Raises
    ------
    ModelError
        If a table differs from what the program says at single values; the message names the site.
    """
    wanted, n_runs = max(MIN_RUNS, *graph.sizes.values(), 0), 0
    while True:
        passes = [one.with_some(draws.generator) for one in visits]
        check = Assignment(draws, passes)
        run(model, graph.n_tokens, given, check, walker=check.walker if visits else None)
        site = _first_disagreement(graph, check, graph.n_tokens)
        if site is not None:
            _require_repeatable(graph, model, given, draws, check)
            raise ModelError(
                f"site '{site}' gets another table when its parents are enumerated than when they "
                f"have single values; index tables with Vindex(TABLE)[a, b], never TABLE[a][b], "
                f"and combine concepts elementwise."
            )
        n_runs += 1
        n_sites = len(check.tables) + len(check.observed)
        if n_runs >= max(2, min(wanted, SITES_RUN // max(n_sites, 1))):
            return


def _require_repeatable(
    graph: FactorGraph, model: Any, given: GivenValues, draws: Draws, before: Assignment
) -> None:
    """Refuse a program that says something else at the same values when it runs once more."""
    draws.turn -= 1
    after = Assignment(draws, before.passes)
    walker = after.walker if before.loops else None
    run(model, graph.n_tokens, given, after, walker=walker)
    for site, table in before.tables.items():
        if site not in after.tables or not torch.equal(table, after.tables[site]):
            raise ModelError(
                f"site '{site}' gets another table each time that the program runs, at the same "
                f"values of its parents; take what is random, or changes, out of the function."
            )


def agrees_at(
    graph: FactorGraph, model: Any, length: int, given: GivenValues, generator: torch.Generator
) -> bool:
    """Whether one run of the program for a shorter context is found in the graph's tables."""
    try:
        run(model, length, given, shorter := Assignment(Draws(generator)))
    except Exception:
        return False
    return _first_disagreement(graph, shorter, length) is None


def _first_disagreement(graph: FactorGraph, check: Assignment, length: int) -> str | None:
    """Return the first site whose table, run as written, is no row of the graph's."""
    own = _value_of_each_concept(check.indices)
    index = _value_of_each_concept(check.behind_gaps()) | own
    unknown = [name for name in own if name not in graph.concepts]
    if unknown:
        return unknown[0]
    factors = _factors_by_site(graph)
    for site, written in check.observed.items():
        if site in factors and not _agrees(factors[site], factors[site].scope, index, written):
            return site
    for name in own:
        site, member = _site_and_member(name, check)
        parents, written = factors[name].scope[:-1], _row(check.tables[site], member)
        if not _agrees(factors[name], parents, index, written):
            return site
    for name, factor in graph.next_tokens.items():
        site, member = _site_and_member(name, check)
        parents = graph.at_length(factor.scope, length)
        if not _agrees(factor, parents, index, _row(check.tables[site], member)):
            return site
    return _first_token_disagreement(graph, check, index, length)


def _factors_by_site(graph: FactorGraph) -> dict[str, Factor]:
    """Return the table of each concept, and of each site that the program observes, by name."""
    if "factors by site" not in graph._cache:
        own = {}
        for factor in graph.priors:
            last = factor.scope[-1] if factor.scope else ""
            is_concept = last == factor.site or last.startswith(f"{factor.site}.")
            own[last if is_concept else factor.site] = factor
        graph._cache["factors by site"] = own
    found: Any = graph._cache["factors by site"]
    return found  # type: ignore[no-any-return]


def _agrees(
    factor: Factor, parents: tuple[str, ...], index: Mapping[str, int], written: Tensor
) -> bool:
    """Whether the program as written has all these parents and says what the table says."""
    if any(parent not in index for parent in parents):
        return False
    return _close(factor.table.detach()[tuple(index[parent] for parent in parents)], written)


def _first_token_disagreement(
    graph: FactorGraph, check: Assignment, index: Mapping[str, int], length: int
) -> str | None:
    is_partial = check.is_partial
    for emission in graph.emissions[:length]:
        site = "x" if "x" in check.tables else f"x_{emission.start}"
        if site not in check.tables and is_partial:
            continue
        if site not in check.tables or (site == "x" and check.plates["x"].size != length):
            return site
        if any(parent not in index for parent in emission.scope):
            return site
        parents = tuple(index[parent] for parent in emission.scope)
        every: tuple[slice | int, ...] = (slice(None), *parents)
        rows = emission.tokens.table.detach()[every]
        own = check.tables[site]
        if site == "x" and emission.stop - emission.start == 1:
            own = own[min(emission.start, own.shape[0] - 1)]
        elif site == "x" and emission.tokens.varies:
            rows = rows[:length]
        if not _close(rows, own):
            return site
    return None


def _value_of_each_concept(indices: Mapping[str, Tensor]) -> dict[str, int]:
    index = {}
    for site, values in indices.items():
        if role(site) != "concept":
            continue
        if values.dim() == 0:
            index[site] = int(values)
        else:
            index |= {f"{site}.{m}": int(v) for m, v in enumerate(values.reshape(-1))}
    return index


def _site_and_member(name: str, check: Assignment) -> tuple[str, int | None]:
    if name in check.tables:
        return name, None
    site, _, member = name.rpartition(".")
    return site, int(member)


def _row(table: Tensor, member: int | None) -> Tensor:
    return table if member is None else table[member]


def _close(graph_rows: Tensor, written_rows: Tensor) -> bool:
    try:
        a, b = torch.broadcast_tensors(graph_rows, written_rows)  # type: ignore[no-untyped-call]
    except RuntimeError:
        return False
    return bool(torch.isclose(a, b, rtol=TOLERANCE, atol=TOLERANCE).all())
