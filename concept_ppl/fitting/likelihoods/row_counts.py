"""How often each row of a program's parameters is read, and how many of its numbers are free."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .likelihood import Likelihood
from .parameters import Parameter
from .program import Program


def row_counts(program: Program, counts: Sequence[Sequence[Tensor]]) -> dict[int, Tensor]:
    """Return the expected counts of the stacked rows of parameters, by width.

    Parameters
    ----------
    counts
        Of every table cell, for each piece of the program.
    """
    sizes: dict[int, int] = {}
    for view in program.views:
        sizes[view.width] = sizes.get(view.width, 0) + view.n_rows
    total = {width: torch.zeros(n, width, dtype=torch.float64) for width, n in sizes.items()}
    for piece, own in zip(program.pieces, counts, strict=True):
        for tie, count in zip(piece.ties, own, strict=True):
            tied = tie.index >= 0
            if bool(tied.any()):
                rows = count.reshape(-1, tie.width)[tied]
                total[tie.width].index_add_(0, tie.index[tied], rows)
    return total


def free_numbers(likelihood: Likelihood) -> dict[int, Tensor]:
    """Return how many numbers of each stacked row the tokens can move, by width.

    One less than the row has cells that these tokens could have come from: a cell that no token
    ever reads (an answer that an item does not have) is zero at the top, whatever the others are.
    A number that is read in both orders is counted in each of its rows.
    """
    program = likelihood.program
    values = {name: _even(parameter) for name, parameter in program.parameters.items()}
    _, _, counts = likelihood.expected_counts(values)
    read = row_counts(program, counts)
    starts, free = dict.fromkeys(read, 0), {w: [torch.zeros(0).long()] for w in read}
    for view in program.views:
        start = starts[view.width]
        starts[view.width] += view.n_rows
        cells = view.own(read[view.width][start : start + view.n_rows]) > 0
        own = (cells.sum(1) - 1).clamp_min(0)
        free[view.width].append(own.repeat(view.n_rows // view.n_own))
    return {width: torch.cat(parts) for width, parts in free.items()}


def n_free(likelihood: Likelihood) -> int:
    """Return how many numbers the tokens can move: what AIC and BIC count.

    See :func:`free_numbers`; parameters that become probabilities in some other way all count.
    """
    program, free = likelihood.program, free_numbers(likelihood)
    starts, moved = dict.fromkeys(free, 0), dict.fromkeys(program.closed, 0)
    for view in program.views:
        start = starts[view.width]
        starts[view.width] += view.n_rows
        if view.name in moved:
            moved[view.name] += int(free[view.width][start : start + view.n_own].sum())
    return sum(
        min(moved.get(name, parameter.n_free), parameter.n_free)
        for name, parameter in program.parameters.items()
    )


def _even(parameter: Parameter) -> Tensor:
    """Return a value at which no context is nearly impossible: rows of equal probabilities."""
    if parameter.kind == "simplex":
        return torch.full(parameter.shape, 1 / parameter.shape[-1], dtype=torch.float64)
    if parameter.kind == "unit":
        return torch.full(parameter.shape, 0.5, dtype=torch.float64)
    if parameter.kind == "real":
        return torch.zeros(parameter.shape, dtype=torch.float64)
    return parameter.random(torch.Generator().manual_seed(0))
