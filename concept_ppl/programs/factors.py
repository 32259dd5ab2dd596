"""A Pyro program as named log-tables: what is known of a model once it was traced.

    p(c, x, y) = Π_i p(c_i | parents) · Π_t p(x_t | parents) · Π_k p(y_k | parents)

Each factor is one table of natural logarithms with named dimensions, differentiable in the
parameters of the program. Contexts are answered from the tables alone.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Concept:
    """A discrete latent site of the program.

    Attributes
    ----------
    name : str
        The site's name; ``z.0, z.1, …`` for a site in a plate.
    labels : tuple of str
        The names of its values, in order.
    """

    name: str
    labels: tuple[str, ...]

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.labels)


@dataclass(frozen=True)
class Factor:
    """One log-table with named dimensions.

    Attributes
    ----------
    site : str
        The site that the table belongs to.
    scope : tuple of str
        The concepts it depends on; a concept's own table has the concept last.
    table : Tensor
        Sizes of the scope in its order; for a next token one more dimension, its values, last.
    """

    site: str
    scope: tuple[str, ...]
    table: Tensor


class TokenTable:
    """log p(x_t | parents), shape (n_positions or 1, *parents, n_tokens)."""

    def __init__(self, table: Tensor) -> None:
        self.table = table

    @cached_property
    def rows(self) -> Tensor:
        """One row per (position, token), shape (n_positions or 1 · vocabulary, Π parents)."""
        by_token = self.table.movedim(-1, 1)
        return by_token.reshape(by_token.shape[0] * by_token.shape[1], -1).contiguous()

    @cached_property
    def pairs(self) -> Tensor:
        """The sum of two tokens' rows, shape ((vocabulary + 1)², Π parents); a 0 comes first.

        Row (a + 1) · (vocabulary + 1) + b + 1 is that of tokens a and b; −1 is one that was not
        observed.
        """
        rows = torch.cat([torch.zeros_like(self.rows[:1]), self.rows])
        return (rows.unsqueeze(1) + rows).flatten(0, 1)

    @property
    def varies(self) -> bool:
        """Whether the table differs from position to position."""
        return self.table.shape[0] > 1


@dataclass(frozen=True)
class Emission:
    """The tokens of consecutive positions that share one scope.

    Attributes
    ----------
    start, stop : int
        The positions, ``stop`` exclusive.
    scope : tuple of str
        The concepts on which the tokens depend.
    tokens : TokenTable
        Shared between emissions whose tables are equal.
    """

    start: int
    stop: int
    scope: tuple[str, ...]
    tokens: TokenTable


@dataclass(frozen=True)
class FactorGraph:
    """A traced program: concepts, their tables, the tables of the tokens and of the next tokens.

    Attributes
    ----------
    name : str
        Name of the model, for messages.
    n_tokens : int
        The context length at which the program was traced.
    vocabulary_size : int
        Number of values of a token.
    concepts : mapping of str to Concept
        Every concept, in program order; the joint's order has the last one fastest.
    moving : mapping of str to tuple of str
        Concepts that move within the context: base name to the site at each position.
    priors : tuple of Factor
        One per concept, and one per site that the program itself observes.
    emissions : tuple of Emission
        In order of position.
    next_tokens : mapping of str to Factor
        Next-token sites, their own values in the table's last dimension. A moving concept in the
        scope goes by its base name and means its site at the last position.
    token_labels : tuple of str or None
        Names of the token values, where the model gives them.
    prefix_consistent : bool
        Whether the program for a shorter context is a prefix of this one (checked on a sample of
        lengths); if so, one graph answers all shorter contexts.
    """

    name: str
    n_tokens: int
    vocabulary_size: int
    concepts: Mapping[str, Concept]
    moving: Mapping[str, tuple[str, ...]]
    priors: tuple[Factor, ...]
    emissions: tuple[Emission, ...]
    next_tokens: Mapping[str, Factor]
    token_labels: tuple[str, ...] | None = None
    prefix_consistent: bool = True
    _cache: dict[str, object] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Number of values of each concept."""
        return {name: concept.size for name, concept in self.concepts.items()}

    @cached_property
    def n_joint(self) -> int:
        """Number of joint values C of the concepts."""
        return math.prod(self.sizes.values())

    @cached_property
    def reported(self) -> dict[str, Concept]:
        """What a posterior speaks of: static concepts, and moving ones under their base name."""
        first_step = {steps[0]: base for base, steps in self.moving.items()}
        later = {step for steps in self.moving.values() for step in steps[1:]}
        return {
            first_step.get(name, name): replace(concept, name=first_step.get(name, name))
            for name, concept in self.concepts.items()
            if name not in later
        }

    def at_length(self, scope: tuple[str, ...], length: int) -> tuple[str, ...]:
        """Put the site at the last of ``length`` positions for each moving concept in a scope."""
        return tuple(
            self.moving[name][max(length, 1) - 1] if name in self.moving else name for name in scope
        )

    @cached_property
    def static(self) -> tuple[str, ...]:
        """The concepts that do not move within the context."""
        steps = {step for sites in self.moving.values() for step in sites}
        return tuple(name for name in self.concepts if name not in steps)

    @property
    def device(self) -> torch.device:
        """Where the tables lie."""
        return self.emissions[0].tokens.table.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the tables."""
        return self.emissions[0].tokens.table.dtype

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "FactorGraph":
        """Return the graph with its tables on another device or in another precision."""
        if (device is None or torch.device(device) == self.device) and dtype in {None, self.dtype}:
            return self
        shared: dict[int, TokenTable] = {}

        def moved(tokens: TokenTable) -> TokenTable:
            if id(tokens) not in shared:
                shared[id(tokens)] = TokenTable(tokens.table.to(device=device, dtype=dtype))
            return shared[id(tokens)]

        def convert(factor: Factor) -> Factor:
            return replace(factor, table=factor.table.to(device=device, dtype=dtype))

        return replace(
            self,
            priors=tuple(convert(factor) for factor in self.priors),
            emissions=tuple(replace(e, tokens=moved(e.tokens)) for e in self.emissions),
            next_tokens={name: convert(factor) for name, factor in self.next_tokens.items()},
            _cache={},
        )
