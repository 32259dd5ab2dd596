"""Run a Pyro program once with every discrete site enumerated, and keep the tables.

Each concept gets a tensor dimension of its own, left of the plates (as in Pyro's parallel
enumeration); inside ``pyro.markov`` dimensions are used again once their owner is out of scope.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from concept_ppl.errors import ModelError, listed

from .control_flow import enumerated, plain
from .loops import Record, Repeating, Visits, Walker
from .positions import further, numbered
from .tables import is_enumerable, log_table, observed_log_prob, support

POSITION = "position"
MAX_DIMS = 62
"""Torch stops at 64 dimensions; one is the values' own and one is left to the user's tables."""
MAX_STACKED = 2**22
TWICE = "two sites are called '{name}'; give each a name of its own."

_TOKEN = re.compile(r"x(_\d+)?")
_NEXT = re.compile(r"y(_\w+)?")


def role(name: str) -> str:
    """Return what a discrete site is by its name: ``token``, ``next`` or ``concept``."""
    if _TOKEN.fullmatch(name):
        return "token"
    return "next" if _NEXT.fullmatch(name) else "concept"


@dataclass(frozen=True)
class TracedSite:
    """What one site left behind.

    Attributes
    ----------
    name, role : str
        ``role`` is ``token``, ``next``, ``concept`` or ``observed``.
    table : Tensor
        Log-probabilities, shape (*plates, *parents, n_values); ``observed`` has no last dimension.
    parents : tuple of str
        The concepts of the dimensions between.
    plate : str or None
        The plate the site lies in; its dimension leads the table, of size 1 if nothing varies.
    plate_size : int
    in_markov : bool
        Whether the site lies in a ``pyro.markov`` loop.
    """

    name: str
    role: str
    table: Tensor
    parents: tuple[str, ...]
    plate: str | None = None
    plate_size: int = 1
    in_markov: bool = False

    def further(self, distance: int, moves: Sequence[bool]) -> "TracedSite":
        """Return the site so many numbers further, with those of its parents that move too."""
        parents = tuple(
            further(name, distance) if does else name
            for name, does in zip(self.parents, moves, strict=True)
        )
        name, plate = further(self.name, distance), self.plate
        return TracedSite(
            name, self.role, self.table, parents, plate, self.plate_size, self.in_markov
        )


class GivenValues(Messenger):  # type: ignore[misc]
    """Put the caller's values in place of continuous sites and ``pyro.param`` statements."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__()
        self.values = {name: torch.as_tensor(value) for name, value in values.items()}
        self.used: set[str] = set()

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if msg["name"] in self.values and not msg["is_observed"] and not is_enumerable(msg["fn"]):
            self.used.add(msg["name"])
            msg["value"], msg["done"] = self.values[msg["name"]], True

    def _pyro_param(self, msg: dict[str, Any]) -> None:
        if msg["name"] in self.values:
            self.used.add(msg["name"])
            msg["value"], msg["done"] = self.values[msg["name"]], True


def require_answerable(msg: dict[str, Any]) -> None:
    """Refuse a latent site that has no finite support, naming it and the remedy."""
    name, fn = msg["name"], msg["fn"]
    is_masked = msg["mask"] is not None or type(fn).__name__ == "MaskedDistribution"
    if msg["scale"] != 1.0 or is_masked:
        raise ModelError(f"site '{name}' is scaled or masked; an exact posterior needs it plain.")
    if msg["is_observed"]:
        if role(name) != "concept":
            raise ModelError(f"site '{name}' is observed in the program; leave out its obs=.")
        return
    if is_enumerable(fn):
        return
    kind = type(fn).__name__
    if getattr(fn.support, "is_discrete", False):
        raise ModelError(
            f"discrete site '{name}' ({kind}) cannot be enumerated: its support is not finite; "
            f"use a Categorical over the values that matter."
        )
    raise ModelError(
        f"continuous site '{name}' ({kind}) has no value; give one: values={{'{name}': …}} in "
        f"Python, -p {name}=… on the command line."
    )


def plates_of(msg: dict[str, Any]) -> list[Any]:
    """Return the vectorised plates around a site."""
    return [frame for frame in msg["cond_indep_stack"] if frame.vectorized]


@dataclass
class _Owner:
    """Which concept a tensor dimension stands for, and since which markov depth."""

    name: str
    size: int
    site: str
    depth: int | None


class MorePlatesError(Exception):
    """A pass of a loop has more plates than those that were run to count them."""


@dataclass
class Enumeration(Messenger):  # type: ignore[misc]
    """Enumerate every discrete site and record its :class:`TracedSite`.

    Parameters
    ----------
    n_plates
        How many tensor dimensions the program's plates take.
    row_sums
        The list of :func:`concept_ppl.programs.tables.watching_row_sums`.

    Attributes
    ----------
    sites, values
        What was recorded of each site, and the values of those that are not observed.
    owners
        What each tensor dimension stands for.
    asked, n_named
        Names of parameters; how many other statements had names.
    visits
        Of each loop that was walked: the passes that ran.
    """

    n_plates: int
    row_sums: list[float]
    sites: dict[str, TracedSite] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)
    owners: dict[int, _Owner] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    n_named: int = 0
    visits: list[Visits] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._last: dict[str, Tensor] = {}
        self._rank: dict[str, int] = {}
        self._copied: set[str] = set()
        self._names_of_pass: list[tuple[str, int, str] | None] = []

    def walker(self, positions: range) -> Walker:
        """Return what chooses the passes of a loop."""
        self.visits.append(Visits())
        return Repeating(positions, self, self.visits[-1])

    def begin_pass(self) -> Record:
        """Return where a pass begins: what there is, and which concepts are in scope."""
        names = {dim: owner.name for dim, owner in self.owners.items()}
        return Record(len(self.sites), len(self.asked), self.n_named, names)

    def is_regular(self, start: Record, number: int, written: int) -> bool:
        """Whether the sites since then are numbered like those of the pass before, and no others.

        No parameter may be named by the number, nor may it be written anywhere but into names.
        """
        names = [numbered(name, number) for name in list(self.sites)[start.n_sites :]]
        before, self._names_of_pass = self._names_of_pass, names
        by_number = any(str(number) in name for name in self.asked[start.n_asked :])
        is_written = written > self.n_named - start.n_named
        return names == before and None not in names and not by_number and not is_written

    def moved_names(self, before: Record, distance: int) -> set[str] | None:
        """Return the concepts in scope before that are now so much further; None if others are."""
        if before.in_scope.keys() != self.owners.keys():
            return None
        moved = set()
        for dim, name in before.in_scope.items():
            now = self.owners[dim].name
            if name != now and further(name, distance) != now:
                return None
            if name != now:
                moved.add(name)
        return moved

    def copy_passes(self, start: Record, moved: set[str], distance: int, times: int) -> None:
        """Write down the passes since ``start`` so many times again, each further by a distance."""
        block = list(self.sites.values())[start.n_sites :]
        relative = moved | {site.name for site in block}
        moves = [
            [bool({p, p.rpartition(".")[0]} & relative) for p in site.parents] for site in block
        ]
        for way in range(distance, (times + 1) * distance, distance):
            for site, each in zip(block, moves, strict=True):
                copy = site.further(way, each)
                if copy.name in self.sites:
                    raise ModelError(TWICE.format(name=copy.name))
                self.sites[copy.name] = copy
                self._copied.add(copy.name)
                if site.name in self.values:
                    self.values[copy.name] = self.values[site.name]
        for dim, name in start.in_scope.items():
            if name in moved:
                self.owners[dim].name = further(self.owners[dim].name, times * distance)

    def _pyro_param(self, msg: dict[str, Any]) -> None:
        self.asked.append(msg["name"])

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        name = msg["name"]
        if type(msg["fn"]).__name__ == "_Subsample":
            self.n_named += 1
            return
        if msg["done"]:
            self.asked.append(name)
            return
        if self.row_sums:
            raise ModelError(
                f"site '{name}': a row of its probs sums to {self.row_sums[0]:.6g}, not to 1; "
                f"divide each row by its sum, or pass logits=."
            )
        self.n_named += 1
        if msg["infer"].get("_deterministic"):
            return
        if name in self._copied:
            raise ModelError(TWICE.format(name=name))
        with torch._C.DisableTorchFunctionSubclass():
            require_answerable(msg)
            if msg["is_observed"]:
                self.sites[name] = self._observed(msg)
                return
            msg["value"], msg["done"] = enumerated(self._latent(msg)), True

    def _latent(self, msg: dict[str, Any]) -> Tensor:
        """Record a site that is not observed and return its values, laid out."""
        name, kind, plate = msg["name"], role(msg["name"]), self._plate(msg)
        self.sites[name] = self._traced(msg, kind, plain(log_table(msg["fn"])), plate)
        self.values[name] = values = plain(support(msg["fn"]))
        self._rank[name] = len(self._rank)
        stacked = kind == "concept" and plate is not None and plate.name != POSITION
        return self._stacked(msg, values) if stacked else self._enumerated(msg, values)

    def _plate(self, msg: dict[str, Any]) -> Any:
        frames = plates_of(msg)
        if any(-frame.dim > self.n_plates for frame in frames):
            raise MorePlatesError
        if len(frames) > 1:
            names = listed(frame.name for frame in frames)
            raise ModelError(f"site '{msg['name']}' lies in several plates ({names}); use one.")
        return frames[0] if frames else None

    def _traced(self, msg: dict[str, Any], kind: str, table: Tensor, plate: Any) -> TracedSite:
        table, parents = self._name_dimensions(msg["name"], table, plate, n_values_dims=1)
        size = plate.size if plate is not None else 1
        table = self._shared(re.sub(r"_\d+$", "", msg["name"]), table)
        in_markov = "_markov_depth" in msg["infer"]
        plate_name = plate.name if plate is not None else None
        return TracedSite(msg["name"], kind, table, parents, plate_name, size, in_markov)

    def _observed(self, msg: dict[str, Any]) -> TracedSite:
        plate = self._plate(msg)
        table, parents = self._name_dimensions(
            msg["name"], plain(observed_log_prob(msg)), plate, n_values_dims=0
        )
        size = plate.size if plate is not None else 1
        if plate is not None:
            table = table.sum(0) if table.shape[0] == size else table[0] * size
        return TracedSite(msg["name"], "observed", table, parents)

    def _name_dimensions(
        self, site: str, table: Tensor, plate: Any, n_values_dims: int
    ) -> tuple[Tensor, tuple[str, ...]]:
        """Turn a batch shape into ([plate,] parents in program order, values)."""
        batch = table.dim() - n_values_dims
        order, parents = [], []
        for axis in range(batch):
            dim = axis - batch
            if table.shape[axis] == 1 or (plate is not None and dim == plate.dim):
                continue
            order.append((self._owner(site, dim, table.shape[axis]), axis))
        order.sort(key=lambda item: (self._rank[item[0].site], item[0].name))
        parents = [owner.name for owner, _ in order]
        axes = [axis for _, axis in order]
        if plate is not None and batch >= -plate.dim:
            plate_axis = batch + plate.dim
            if table.stride(plate_axis) == 0:
                table = table.narrow(plate_axis, 0, 1)
            axes = [plate_axis, *axes]
        singles = [axis for axis in range(batch) if axis not in axes]
        table = table.permute((*axes, *singles, *range(batch, table.dim())))
        for _ in singles:
            table = table.squeeze(len(axes))
        if plate is not None and batch < -plate.dim:
            table = table.unsqueeze(0)
        return table, tuple(parents)

    def _owner(self, site: str, dim: int, size: int) -> _Owner:
        owner = self.owners.get(dim)
        if owner is None or owner.size != size:
            raise ModelError(
                f"site '{site}': its parameters have a dimension of size {size} that belongs to "
                f"no concept; index tables with Vindex(TABLE)[a, b], never TABLE[a][b]."
            )
        if role(owner.site) != "concept":
            raise ModelError(
                f"site '{site}' depends on the token site '{owner.site}'; tokens may depend on "
                f"concepts only."
            )
        return owner

    def _shared(self, base: str, table: Tensor) -> Tensor:
        """Keep one copy of a table that a loop makes again and again."""
        last = self._last.get(base)
        is_new = last is None or table.requires_grad or last.shape != table.shape
        if last is not None and not is_new and torch.equal(last, table):
            return last
        self._last[base] = table
        return table

    def _enumerated(self, msg: dict[str, Any], values: Tensor) -> Tensor:
        """Lay the values along a dimension of their own, shape (n_values, 1, …, 1, *event)."""
        dim = self._allocate(msg)
        depth = msg["infer"].get("_markov_depth")
        self.owners[dim] = _Owner(msg["name"], len(values), msg["name"], depth)
        return values.reshape(values.shape[:1] + (1,) * (-dim - 1) + values.shape[1:])

    def _stacked(self, msg: dict[str, Any], values: Tensor) -> Tensor:
        """Enumerate each member of a plate along a dimension of its own, beside the plate's."""
        frame, name, n_values = self._plate(msg), msg["name"], len(values)
        if n_values**frame.size * frame.size > MAX_STACKED:
            raise ModelError(
                f"site '{name}' lies in plate '{frame.name}' of size {frame.size}, whose joint "
                f"{n_values}^{frame.size} is too large to trace; write the sites in a loop."
            )
        members = []
        for member in range(frame.size):
            dim = self._allocate(msg)
            self.owners[dim] = _Owner(f"{name}.{member}", n_values, name, None)
            members.append(values.reshape((n_values,) + (1,) * (-dim - 1) + values.shape[1:]))
        plate_axis = frame.dim - (values.dim() - 1)
        return torch.cat(torch.broadcast_tensors(*members), plate_axis)  # type: ignore[no-untyped-call]

    def _allocate(self, msg: dict[str, Any]) -> int:
        """Return the rightmost dimension whose owner is out of scope at this site."""
        scope = msg["infer"].get("_markov_scope")
        is_token = role(msg["name"]) != "concept"
        dim = -1 - self.n_plates
        while dim in self.owners and self._is_live(self.owners[dim], scope):
            if is_token and role(self.owners[dim].site) != "concept":
                break  # nothing may depend on a token, so all of them share one dimension
            dim -= 1
        if -dim > MAX_DIMS:
            raise ModelError(
                f"site '{msg['name']}' would need more than {MAX_DIMS} tensor dimensions; loop "
                f"with pyro.markov where each concept depends on the one before."
            )
        return dim

    @staticmethod
    def _is_live(owner: _Owner, scope: Mapping[str, int] | None) -> bool:
        if owner.depth is None or scope is None:
            return True
        return scope.get(owner.site, 0) == owner.depth
