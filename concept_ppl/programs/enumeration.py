"""Run a Pyro program once with every discrete site enumerated, and keep the tables.

Each concept gets a tensor dimension of its own, left of the plates (as in Pyro's parallel
enumeration); inside ``pyro.markov`` dimensions are used again once their owner is out of scope.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyro
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from concept_ppl.errors import ModelError, listed

from .control_flow import enumerated, plain
from .tables import is_enumerable, log_table, support

POSITION = "position"
MAX_DIMS = 62
"""Torch stops at 64 dimensions; one is the values' own and one is left to the user's tables."""
MAX_STACKED = 2**22

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


def observed_log_prob(msg: dict[str, Any]) -> Tensor:
    """Return the log-probability of what the program itself observes, shape of the batch."""
    if is_enumerable(msg["fn"]) and not msg["fn"].event_shape:
        value = torch.as_tensor(msg["value"]).long().unsqueeze(-1)
        table = log_table(msg["fn"])
        return table.gather(-1, value.expand(*table.shape[:-1], 1)).squeeze(-1)
    log_prob: Tensor = msg["fn"].log_prob(msg["value"])
    return log_prob.to(torch.float64)


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


@dataclass
class Enumeration(Messenger):  # type: ignore[misc]
    """Enumerate every discrete site and record its :class:`TracedSite`.

    Parameters
    ----------
    n_plates
        How many tensor dimensions the program's plates take.
    row_sums
        The list of :func:`concept_ppl.programs.tables.watching_row_sums`.
    """

    n_plates: int
    row_sums: list[float]
    sites: dict[str, TracedSite] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)
    owners: dict[int, _Owner] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()
        self._last: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        name = msg["name"]
        if msg["done"] or type(msg["fn"]).__name__ == "_Subsample":
            return
        if self.row_sums:
            raise ModelError(
                f"site '{name}': a row of its probs sums to {self.row_sums[0]:.6g}, not to 1; "
                f"divide each row by its sum, or pass logits=."
            )
        if msg["infer"].get("_deterministic"):
            return
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
        stacked = kind == "concept" and plate is not None and plate.name != POSITION
        return self._stacked(msg, values) if stacked else self._enumerated(msg, values)

    def _plate(self, msg: dict[str, Any]) -> Any:
        frames = plates_of(msg)
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
        known = list(self.values)
        order.sort(key=lambda item: (known.index(item[0].site), item[0].name))
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
    """

    draws: Draws
    indices: dict[str, Tensor] = field(default_factory=dict)
    tables: dict[str, Tensor] = field(default_factory=dict)
    plates: dict[str, Any] = field(default_factory=dict)
    observed: dict[str, Tensor] = field(default_factory=dict)
    n_plates: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.draws.turn += 1

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
        else:
            index = torch.zeros(shape, dtype=torch.long)
        msg["value"], msg["done"] = values[index], True


def run(model: Any, n_tokens: int, *handlers: Messenger) -> None:
    """Run the program under the handlers, the first asked first, without touching global state."""
    store = pyro.get_param_store()
    with torch.random.fork_rng(devices=[]), store.scope(store.get_state()):
        for handler in handlers:  # the innermost sees a statement first
            model = handler(model)
        model(n_tokens)
