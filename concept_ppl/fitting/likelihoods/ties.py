"""Which rows of a program's tables are rows of its parameters, unchanged?

A row of log-probabilities that *is* a row of a Dirichlet site (or of a Beta's two probabilities, or
the softmax of a row of logits), whatever indexing brought it there, is found by its values: the
program is traced at random parameters, and again with one of them changed at a time. From then on
its tables are looked up without running the program, and where every row that a parameter touches
is tied to it, EM has a closed form for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from concept_ppl.logspace import log

from .parameters import Parameter

CONSTANT, FREE = -1, -2
"""A row that no parameter touches, and one that is computed from parameters in some other way."""
TOLERANCE = 1e-10


@dataclass(frozen=True)
class View:
    """The rows of probabilities that a parameter holds.

    Attributes
    ----------
    name : str
        Of the parameter.
    kind : str
        ``simplex`` (its own rows), ``unit`` (1 − p and p, then p and 1 − p), ``logits`` (the
        softmax of its rows) or ``log_odds`` (as ``unit``, of the logistic function).
    width, n_own : int
        Values of a row, and rows that differ in more than their order.
    padding : int
        How many of the values, the last ones, are zeros that the program adds to a simplex.
    """

    name: str
    kind: str
    width: int
    n_own: int
    padding: int = 0

    @property
    def n_values(self) -> int:
        """How many values of a row can occur."""
        return self.width - self.padding

    @property
    def is_binary(self) -> bool:
        """Whether each number is a probability of its own, read in both orders."""
        return self.kind in {"unit", "log_odds"}

    @property
    def n_rows(self) -> int:
        """Rows in all."""
        return self.n_own * (2 if self.is_binary else 1)

    def log_rows(self, value: Tensor) -> Tensor:
        """Return log-probabilities, shape (n_rows, width)."""
        if self.kind == "simplex":
            rows = log(value).reshape(self.n_own, self.n_values)
            return pad(rows, (0, self.padding), value=-torch.inf) if self.padding else rows
        if self.kind == "logits":
            return value.log_softmax(-1).reshape(self.n_own, self.width)
        flat = value.reshape(-1)
        no, yes = (
            (log(1 - flat), log(flat))
            if self.kind == "unit"
            else (logsigmoid(-flat), logsigmoid(flat))
        )
        return torch.cat([torch.stack([no, yes], -1), torch.stack([yes, no], -1)])

    def own(self, counts: Tensor) -> Tensor:
        """Add up what belongs to the same row, shape (n_rows, width) to (n_own, width)."""
        return counts[: self.n_own] + counts[self.n_own :].flip(-1) if self.is_binary else counts

    def value(self, rows: Tensor, shape: Sequence[int]) -> Tensor:
        """Return the parameter whose rows have these probabilities, shape (n_own, width)."""
        if self.kind == "simplex":
            return rows[:, : self.n_values].reshape(tuple(shape))
        if self.kind == "logits":
            return rows.log().reshape(tuple(shape))
        if self.kind == "unit":
            return rows[:, 1].reshape(tuple(shape))
        return (rows[:, 1].log() - rows[:, 0].log()).reshape(tuple(shape))


def views_of(parameter: Parameter) -> list[View]:
    """Return every way to read a parameter as rows of probabilities."""
    name, shape = parameter.name, parameter.shape
    size = parameter.initial.numel()
    if parameter.kind == "simplex":
        return [View(name, "simplex", shape[-1], size // shape[-1])]
    if parameter.kind == "unit":
        return [View(name, "unit", 2, size)]
    if parameter.kind != "real":
        return []
    views = [View(name, "log_odds", 2, size)]
    if shape and shape[-1] > 1:
        views.append(View(name, "logits", shape[-1], size // shape[-1]))
    return views


def padded_views(
    parameters: Sequence[Parameter],
    tables: Sequence[Tensor],
    ties: Sequence["TableTies"],
    touched: Sequence[Mapping[str, Tensor]],
) -> list[View]:
    """Return the readings of simplexes with zeros behind them, as tables without a tie have them.

    Where a token has fewer values at some places than at others, programs fill its rows up.
    """
    found = []
    for table, tie, touches in zip(tables, ties, touched, strict=True):
        rows = table.detach().reshape(-1, tie.width)
        for parameter in parameters:
            if parameter.kind != "simplex" or parameter.shape[-1] >= tie.width:
                continue
            own = (tie.index == FREE) & touches[parameter.name]
            width = parameter.shape[-1]
            if bool(own.any()) and bool(torch.isneginf(rows[own][:, width:]).all(1).any()):
                n_own = parameter.initial.numel() // width
                found.append(View(parameter.name, "simplex", tie.width, n_own, tie.width - width))
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class TableTies:
    """Where the rows of one table come from.

    Attributes
    ----------
    shape : tuple of int
    index : int64 tensor, shape (n_rows,)
        Row of all views of this width, one after the other; ``CONSTANT`` or ``FREE``.
    constant : Tensor, shape (n_rows, width)
        The rows that no parameter touches.
    """

    shape: tuple[int, ...]
    index: Tensor
    constant: Tensor

    @property
    def width(self) -> int:
        """Number of values of a row."""
        return self.constant.shape[1]

    @property
    def is_closed(self) -> bool:
        """Whether the table can be looked up."""
        return bool((self.index != FREE).all())

    def look_up(self, log_rows: Mapping[int, Tensor]) -> Tensor:
        """Return the table from the rows of all views, by their width."""
        is_tied = self.index >= 0
        if not bool(is_tied.any()):
            return self.constant.reshape(self.shape)
        picked = log_rows[self.width].index_select(0, self.index.clamp_min(0))
        if not bool(is_tied.all()):
            picked = torch.where(is_tied.unsqueeze(1), picked, self.constant)
        return picked.reshape(self.shape)


def stacked_rows(views: Sequence[View], values: Mapping[str, Tensor]) -> dict[int, Tensor]:
    """Return the rows of all views, one after the other, by their width."""
    by_width: dict[int, list[Tensor]] = {}
    for view in views:
        by_width.setdefault(view.width, []).append(view.log_rows(values[view.name]))
    return {width: torch.cat(rows) for width, rows in by_width.items()}


def owners(views: Sequence[View]) -> dict[int, list[str]]:
    """Return the name of the parameter behind each stacked row, by width."""
    by_width: dict[int, list[str]] = {}
    for view in views:
        by_width.setdefault(view.width, []).extend([view.name] * view.n_rows)
    return by_width


def find_ties(
    tables: Sequence[Tensor],
    changed: Mapping[str, Sequence[Tensor]],
    views: Sequence[View],
    values: Mapping[str, Tensor],
    other: Mapping[str, Tensor],
    n_value_dims: Sequence[int],
) -> tuple[list[TableTies], list[dict[str, Tensor]]]:
    """Tie the rows of tables to rows of parameters.

    Parameters
    ----------
    tables
        At ``values``.
    changed
        For each parameter, the tables with that parameter alone at ``other``.
    n_value_dims
        Of each table, 1 where its last dimension is the values of a site, 0 where it has none.

    Returns
    -------
    ties
    touched
        For each table, the rows that each parameter changes, bool, shape (n_rows,).
    """
    rows = stacked_rows(views, values)
    after = stacked_rows(views, other)
    names = owners(views)
    ties, touched = [], []
    for t, table in enumerate(tables):
        width = table.shape[-1] if n_value_dims[t] else 1
        own = table.detach().reshape(-1, width)
        touches = {
            name: _differs(own, versions[t].detach().reshape(-1, width))
            for name, versions in changed.items()
        }
        index = torch.full((len(own),), FREE, dtype=torch.long)
        count = sum(mask.long() for mask in touches.values())
        index[torch.as_tensor(count == 0).expand(len(own))] = CONSTANT
        if width in rows:
            candidates = _nearest(own, rows[width])
            for name, mask in touches.items():
                new = changed[name][t].detach().reshape(-1, width)
                is_owner = torch.tensor([names[width][int(j)] == name for j in candidates])
                is_same = ~_differs(own, rows[width][candidates])
                is_same &= ~_differs(new, after[width][candidates])
                fits = mask & (count == 1) & is_owner & is_same
                index[fits] = candidates[fits]
        ties.append(TableTies(tuple(table.shape), index, own))
        touched.append(touches)
    return ties, touched


def _differs(one: Tensor, other: Tensor) -> Tensor:
    """Return which rows of log-probabilities differ by more than rounding, shape (n_rows,)."""
    same = (one == other) | ((one - other).abs() <= TOLERANCE)
    return ~same.all(1)


def _nearest(rows: Tensor, candidates: Tensor) -> Tensor:
    """Return for each row the candidate that is closest to it along one random direction."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.rand(rows.shape[1], generator=generator, dtype=rows.dtype) + 0.5
    keys, order = (candidates.exp() @ direction).sort()
    wanted = rows.exp() @ direction
    right = torch.searchsorted(keys, wanted).clamp(0, len(keys) - 1)
    left = (right - 1).clamp_min(0)
    is_left = (keys[left] - wanted).abs() < (keys[right] - wanted).abs()
    return order[torch.where(is_left, left, right)]
