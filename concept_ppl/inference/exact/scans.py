"""Many positions of one kind at once: the product of their transitions, taken by halves.

    M_t(s', s) = p(s' | s) p(x_t | s'),     α_{t+L} = M_{t+L} ⊗ … ⊗ M_{t+1} ⊗ α_t

⊗ is the matrix product in log-space; it is associative, so that neighbours are multiplied in pairs,
all pairs at once, until one matrix is left. L positions of S states take log2 L calls and L · S³
additions in place of L calls and L · S². Source: Blelloch (1990), "Prefix sums and their
applications"; Särkkä and García-Fernández (2021), https://doi.org/10.1109/TAC.2020.2976316.
"""

import math

import torch
from torch import Tensor

from .moves import Move

MOST_CELLS = 2**12
"""Contexts · S³ up to which a position costs less in a product than on its own."""
CELLS_AT_ONCE = 2**19
FEWEST = 16
"""Positions that are worth it."""


def positions_at_once(move: Move, before: tuple[int, ...], n_contexts: int) -> int:
    """Return how many positions of a kind are multiplied at once, 0 where each goes on its own."""
    n_states = math.prod(before)
    is_square = move.is_late and before == move.kept and len(move.dropped) == len(before)
    cells = n_contexts * n_states**3
    if not is_square or not cells or cells > MOST_CELLS or move.table.requires_grad:
        return 0
    return CELLS_AT_ONCE // cells


def scan(move: Move, alpha: Tensor, rows: Tensor) -> Tensor:
    """Return α after positions of one kind, shape (n, *states).

    Parameters
    ----------
    move
        What happens at each of them; what is kept is nothing of what was before.
    alpha
        Shape (n, *states).
    rows
        log p(token | state) of each position, shape (n_positions, n, n_states).
    """
    n_positions, n, n_states = rows.shape
    own = move.table.reshape(1, 1, n_states, n_states)
    token = move.token.put(rows.reshape(-1, *move.token_sizes)).expand(-1, *move.kept)
    products = own + token.reshape(n_positions, n, n_states, 1)
    while len(products) > 1:
        odd = products[-1:] if len(products) % 2 else products[:0]
        first, second = products[0 : len(products) - 1 : 2], products[1::2]
        pairs = torch.logsumexp(second.unsqueeze(-1) + first.unsqueeze(-3), -2)
        products = torch.cat([pairs, odd])
    start = move.alpha.put(alpha).reshape(n, 1, n_states)
    return torch.logsumexp(products[0] + start, -1).reshape(alpha.shape)
