"""The paper's predictor: embeddings of all tokens, an MLP on top, a linear unembedding."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from concept_ppl.bridge.anatomy.sites import EMBEDDING, FINAL_NORM, resid


class EmbeddingMLP(nn.Module):
    """Tokens → representation, for contexts of at most ``n_positions`` tokens.

    Each position has a slot for its token's embedding; slots behind the end hold the embedding of
    an extra token that stands for nothing. A hidden layer is affine → GELU. The representation is
    an affine image of the last, without a norm, so that it can take any value in R^d. After the
    simulations of Liu et al. (https://arxiv.org/abs/2503.08980).
    """

    def __init__(
        self, vocabulary: int, n_positions: int, width: int, depth: int, representation: int
    ) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary + 1, width)
        first = n_positions * width
        sizes = [first, *[width] * depth]
        self.layers = nn.ModuleList(map(nn.Linear, sizes[:-1], sizes[1:]))
        self.last = nn.Linear(sizes[-1], representation)
        self.n_positions = n_positions
        self.vocabulary = vocabulary

    @property
    def n_blocks(self) -> int:
        """Number of hidden layers."""
        return len(self.layers)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return f(x), shape (n, representation)."""
        for _, state in self._pass(tokens, lengths):
            last = state
        return last

    def read(self, tokens: Tensor, lengths: Tensor, sites: set[str]) -> dict[str, Tensor]:
        """Return the states at the sites asked for, each (n, width of the site)."""
        return {site: state for site, state in self._pass(tokens, lengths) if site in sites}

    def _pass(self, tokens: Tensor, lengths: Tensor) -> Iterator[tuple[str, Tensor]]:
        shape = (len(tokens), self.n_positions)
        slots = torch.full(shape, self.vocabulary, device=tokens.device)
        slots[:, : tokens.shape[1]] = tokens
        behind = torch.arange(self.n_positions, device=lengths.device) >= lengths[:, None]
        state = self.token_embedding(slots.masked_fill(behind, self.vocabulary)).flatten(1)
        yield EMBEDDING, state
        for number, layer in enumerate(self.layers, start=1):
            state = nn.functional.gelu(layer(state))
            yield resid(number), state
        yield FINAL_NORM, self.last(state)
