"""One position of a chain as arithmetic on tables: what is made once for all positions of a kind.

    α_t(kept) = Σ_dropped α_{t−1} · Π factors · p(x_t | s)

Positions whose tables are the same objects, over concepts that stand in the same relation, share
one sum of tables, laid out over all their concepts. A position then costs an addition, a sum in
log-space and its token's row.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from concept_ppl.logspace import logsumexp
from concept_ppl.programs.factors import Emission, Factor

from .contraction import Leaf, Scope, align


@dataclass(frozen=True)
class Layout:
    """How a table is brought into the order of a joint, 1 where it does not vary.

    Attributes
    ----------
    order : tuple of int
        Of the table's own axes.
    places : tuple of int
        Where these lie among the axes of the joint.
    width : int
        Number of axes of the joint.
    """

    order: tuple[int, ...]
    places: tuple[int, ...]
    width: int

    @classmethod
    def of(cls, scope: Scope, joint: Scope) -> "Layout":
        """Lay a scope out over a joint that holds it."""
        place = {name: axis for axis, name in enumerate(joint)}
        order = sorted(range(len(scope)), key=lambda axis: place[scope[axis]])
        places = tuple(place[scope[axis]] for axis in order)
        return cls((0, *(axis + 1 for axis in order)), places, len(joint))

    def put(self, table: Tensor) -> Tensor:
        """Return a batched table, shape (n, *joint)."""
        ordered = table.permute(self.order)
        shape = [1] * self.width
        for place, size in zip(self.places, ordered.shape[1:], strict=True):
            shape[place] = size
        return ordered.reshape(len(table), *shape)


@dataclass(frozen=True)
class Move:
    """How α goes on to one position.

    Attributes
    ----------
    alpha, token : Layout
        Of α and of the token's row.
    table : Tensor, shape (1, *joint)
        The product of the position's factors.
    token_sizes : tuple of int
        Of the concepts on which the token depends.
    is_late : bool
        Whether these are kept, so that the row is multiplied in after the sum.
    dropped : tuple of int
        The axes that are summed out.
    kept : tuple of int
        Sizes of the others.
    """

    alpha: Layout
    token: Layout
    table: Tensor
    token_sizes: tuple[int, ...]
    is_late: bool
    dropped: tuple[int, ...]
    kept: tuple[int, ...]

    def apply(self, alpha: Tensor, rows: Tensor, known: Iterable[Tensor] = ()) -> Tensor:
        """Return α one position further, shape (n, *kept).

        Parameters
        ----------
        alpha
            Shape (n, *state before).
        rows
            log p(token | parents), shape (n, Π parents).
        known
            More tables, laid out over the joint.
        """
        token = self.token.put(rows.reshape(len(rows), *self.token_sizes))
        product = self.alpha.put(alpha) + self.table
        if not self.is_late:
            product = product + token
        for table in known:
            product = product + table
        result = logsumexp(product, self.dropped)
        result = result + token if self.is_late else result
        return result.expand(len(rows), *self.kept)


def joint_of(before: Scope, factors: Sequence[Factor], emission: Emission, carry: Scope) -> Scope:
    """Return the concepts of a position: what is kept, then what is summed out."""
    names = dict.fromkeys(before)
    for factor in factors:
        names |= dict.fromkeys(factor.scope)
    names |= dict.fromkeys(emission.scope)
    return carry + tuple(name for name in names if name not in carry)


def lay_out(
    before: Scope, factors: Sequence[Factor], emission: Emission, carry: Scope, sizes: Any
) -> Move:
    """Make the arithmetic of a position."""
    joint = joint_of(before, factors, emission, carry)
    own = {name: sizes[name] for name in joint}
    tables = [align(factor.scope, factor.table, joint, batched=False) for factor in factors]
    like = emission.tokens.table
    nothing = torch.zeros([1] * (1 + len(joint)), dtype=like.dtype, device=like.device)
    is_late = set(emission.scope) <= set(carry)
    return Move(
        alpha=Layout.of(before, joint),
        token=Layout.of(emission.scope, carry if is_late else joint),
        table=reduce(torch.add, tables) if tables else nothing,
        token_sizes=tuple(own[name] for name in emission.scope),
        is_late=is_late,
        dropped=tuple(range(1 + len(carry), 1 + len(joint))),
        kept=tuple(own[name] for name in carry),
    )


def kind_of(
    before: Scope, factors: Sequence[Factor], emission: Emission, carry: Scope, sizes: Any
) -> tuple[Any, ...]:
    """Return a key that positions of the same arithmetic share."""
    number: dict[str, int] = {}

    def numbered(scope: Scope) -> tuple[int, ...]:
        return tuple(number.setdefault(name, len(number)) for name in scope)

    scopes = [numbered(before), *(numbered(factor.scope) for factor in factors)]
    scopes += [numbered(emission.scope), numbered(carry)]
    tables = tuple(id(factor.table) for factor in factors)
    return (*scopes, *tables, *(sizes[name] for name in number))


def over_joint(leaf: Leaf, joint: Scope) -> Tensor:
    """Lay what is known of a concept out over the concepts of a position."""
    return align(leaf.scope, leaf.table, joint, batched=True)
