"""A next-token predictor p(y|x) ∝ exp f(x)·g(y), whose f and g are read as a pretrained model's.

Sites have the names of `concept_ppl.bridge`: ``embedding``, ``resid.<L>``, ``final_norm`` (what the
unembedding turns into logits: f itself) and the bags ``embedding.sum`` and ``embedding.mean``.
Contexts are read at their last token. To read every position, give each prefix as a context: what
stands right of a token never changes a causal model's state.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from concept_ppl.bridge.anatomy.sites import (
    EMBEDDING_MEAN,
    EMBEDDING_SUM,
    FINAL_NORM,
    POOLED_SITES,
    resolve_sites,
    sites_of,
)
from concept_ppl.contexts.tokens import UNOBSERVED, Contexts, as_contexts
from concept_ppl.errors import InputError, listed

from .causal_decoder import FAMILIES, HEAD_WIDTH, CausalDecoder
from .embedding_mlp import EmbeddingMLP
from .examples import Examples, FloatArray

MLP = "mlp"
ARCHITECTURES = (MLP, *FAMILIES)
READ_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class PredictorConfig:
    """What a predictor is made of.

    Attributes
    ----------
    architecture
        ``mlp``, the paper's, or a family of transformers: ``gpt_neox`` (Pythia's), ``llama``,
        ``qwen2``, ``deepseek_v3``, ``gpt2``, and ``mamba``, which has no attention.
    width
        Of embeddings, hidden layers and blocks.
    depth
        Number of hidden layers or blocks.
    representation
        Width d of f(x) and g(y); by default ``width``. There is no bias beside f(x)·g(y), so that
        the log-ratios of the Bayes predictive can be matched only if d is at least their rank, the
        constant included: one more than that of their variation, where this spans less than all of
        the next tokens. Behind the norm of a causal model, give the map to R^d or a wider state.
    """

    architecture: str = MLP
    width: int = 64
    depth: int = 2
    representation: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if self.architecture not in ARCHITECTURES:
            raise InputError(
                f"architecture '{self.architecture}' is unknown; choose one of "
                f"{listed(ARCHITECTURES)}."
            )
        smallest = min(self.width, self.depth, self.representation or 1)
        if smallest < 1 or self.representation == 0:
            raise InputError(
                f"width, depth and representation must be at least 1, not {self.width}, "
                f"{self.depth} and {self.representation}."
            )
        if self.architecture != MLP and self.width % HEAD_WIDTH:
            raise InputError(
                f"width is {self.width}; give {self.architecture} a multiple of {HEAD_WIDTH}, the "
                "width of an attention head."
            )

    @property
    def d(self) -> int:
        """Width of f(x) and g(y)."""
        return self.representation or self.width


class Network(nn.Module):
    """f and g in one module: what training changes."""

    def __init__(self, config: PredictorConfig, examples: Examples) -> None:
        super().__init__()
        shape = (examples.vocabulary, max(examples.contexts.longest, 1), config.width, config.depth)
        self.body: EmbeddingMLP | CausalDecoder = (
            EmbeddingMLP(*shape, config.d)
            if config.architecture == MLP
            else CausalDecoder(config.architecture, *shape, config.representation)
        )
        self.unembedding = nn.Linear(config.d, examples.n_next, bias=False)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return log p(y | x), shape (n, n_next)."""
        logits = self.unembedding(self.body(tokens, lengths))
        return nn.functional.log_softmax(logits, dim=1)


def make_network(config: PredictorConfig, examples: Examples, seed: int) -> Network:
    """Draw a network's first weights, leaving torch's own random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(config, examples)


def as_batch(contexts: Contexts) -> tuple[Tensor, Tensor]:
    """Right-padded tokens (n, longest), 0 behind each end, and lengths (n)."""
    tokens = torch.from_numpy(np.array(contexts.padded()))
    return tokens.masked_fill(tokens == UNOBSERVED, 0), torch.from_numpy(contexts.lengths)


@torch.no_grad()
def answer(
    network: Callable[[Tensor, Tensor], Tensor],
    contexts: Contexts,
    device: torch.device | str = "cpu",
) -> FloatArray:
    """Return what a network says of each context, a row each, as many at once as fit the caches.

    ``device`` is the network's.
    """
    with one_thread():
        starts = range(0, len(contexts), READ_AT_ONCE)
        parts = [contexts.slice(a, min(a + READ_AT_ONCE, len(contexts))) for a in starts]
        chunks = [network(*(each.to(device) for each in as_batch(part))) for part in parts]
    return np.asarray(torch.cat(chunks).double().numpy(force=True))


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread: a sum split among several has other last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True, eq=False)
class Predictor:
    """A network with the record of its training.

    Attributes
    ----------
    config, seed
        What it is made of, and the seed of its weights and of its training.
    kl
        Σ p(x) KL(p(y|x) ‖ q(y|x)) to the Bayes predictive, nats: the predictor gap.
    steps, seconds
        Of training, 0 where there was none; seconds of earlier starts are counted.
    history
        (step, KL) at each look, the first before any step.
    reached
        Whether KL came down to what was asked for; false where there was no training.
    """

    config: PredictorConfig
    seed: int
    kl: float
    steps: int
    seconds: float
    history: tuple[tuple[int, float], ...]
    reached: bool
    network: Network = field(repr=False)

    @property
    def n_blocks(self) -> int:
        """Number of hidden layers or blocks."""
        return self.network.body.n_blocks

    @property
    def sites(self) -> tuple[str, ...]:
        """Every site, in the order in which they are computed, controls last."""
        return sites_of(self.n_blocks)

    @property
    def unembedding(self) -> FloatArray:
        """g(y), shape (n_next, d)."""
        weight = self.network.unembedding.weight.detach()
        return np.asarray(weight.double().numpy(force=True))

    def states(
        self,
        contexts: Contexts | Iterable[Sequence[int]],
        site: str = FINAL_NORM,
    ) -> FloatArray:
        """Return the states (n_contexts, width of the site) of contexts at their last tokens.

        Raises
        ------
        InputError
            If the site is unknown, or a context is longer than any in training or holds a token
            that none could hold.
        """
        (site,) = resolve_sites(self, site)
        read = self._bag if site in POOLED_SITES else self._hidden
        return self._answer(contexts, lambda *batch: read(site, *batch))

    def log_predictive(self, contexts: Contexts | Iterable[Sequence[int]]) -> FloatArray:
        """Return log q(y | x) in nats, shape (n_contexts, n_next)."""
        return self._answer(contexts, self.network)

    def _hidden(self, site: str, tokens: Tensor, lengths: Tensor) -> Tensor:
        return self.network.body.read(tokens, lengths, {site})[site]

    def _bag(self, site: str, tokens: Tensor, lengths: Tensor) -> Tensor:
        own = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
        embeddings = self.network.body.token_embedding(tokens) * own[..., None]
        total: Tensor = embeddings.sum(dim=1)
        assert site in (EMBEDDING_SUM, EMBEDDING_MEAN)
        return total if site == EMBEDDING_SUM else total / lengths.clamp_min(1)[:, None]

    def _answer(
        self,
        contexts: Contexts | Iterable[Sequence[int]],
        network: Callable[[Tensor, Tensor], Tensor],
    ) -> FloatArray:
        batch = as_contexts(contexts)
        self._require_readable(batch)
        return answer(network, batch, self.network.unembedding.weight.device)

    def _require_readable(self, contexts: Contexts) -> None:
        body, tokens = self.network.body, contexts.tokens
        if contexts.longest > body.n_positions:
            row = int(contexts.lengths.argmax())
            raise InputError(
                f"row {row} has {contexts.longest} tokens; this predictor was made for contexts of "
                f"at most {body.n_positions}."
            )
        wrong = np.flatnonzero((tokens < 0) | (tokens >= body.vocabulary))
        if len(wrong) or len(contexts) == 0:
            found = f"token {tokens[wrong[0]]}" if len(wrong) else "no context"
            raise InputError(
                f"{found} was given; this predictor reads tokens 0 to {body.vocabulary - 1}, all "
                "observed."
            )
