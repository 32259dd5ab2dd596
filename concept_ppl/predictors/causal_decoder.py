"""Causal language models of the transformers library, small, from a config: no weights are loaded.

The decoder is the library's own. Its vocabulary is the context's, and one more token that stands
before each context, as a BOS token does, so that even an empty context has a state. In place of the
library's unembedding, whose values would be the context's tokens, stands one over the next tokens.
"""

from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from concept_ppl.bridge.anatomy.forward_pass import read_states
from concept_ppl.bridge.anatomy.parts import Anatomy, find_blocks
from concept_ppl.bridge.anatomy.sites import FINAL_NORM
from concept_ppl.bridge.loading import quiet_transformers

HEAD_WIDTH = 16
"""Width of an attention head; the width of the states is a multiple of it."""


class CausalDecoder(nn.Module):
    """Tokens → representation: the state after the final norm at the last token of each context.

    With ``representation``, a linear map of that state to R^d stands before the unembedding. A norm
    confines states to a sphere, so that states as narrow as the contrasts have rank could not take
    the values that they should; behind a linear map they can.
    """

    def __init__(
        self,
        family: str,
        vocabulary: int,
        n_positions: int,
        width: int,
        depth: int,
        representation: int | None,
    ) -> None:
        super().__init__()
        config = _FAMILIES[family](width, depth)
        config.vocab_size = vocabulary + 1
        config.initializer_range = width**-0.5
        if family == "gpt2":
            config.n_positions = n_positions + 1
        elif family != "mamba":
            config.max_position_embeddings = max(n_positions + 1, 2)
        with quiet_transformers():
            self.decoder = transformers.AutoModel.from_config(config)
        self.last = (
            nn.Identity()
            if representation is None
            else nn.Linear(width, representation, bias=False)
        )
        self.vocabulary = vocabulary
        self.n_positions = n_positions
        self.width = width

    @property
    def token_embedding(self) -> nn.Module:
        """Maps token ids to vectors."""
        embedding: nn.Module = self.decoder.get_input_embeddings()
        return embedding

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return int(self.decoder.config.num_hidden_layers)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return f(x), shape (n, d)."""
        token_ids, mask = self._with_start(tokens, lengths)
        with quiet_transformers():  # Mamba's kernels for GPUs, once in a process
            output = self.decoder(input_ids=token_ids, attention_mask=mask, use_cache=False)
        state: Tensor = self.last(
            output.last_hidden_state[torch.arange(len(tokens), device=tokens.device), lengths]
        )
        return state

    def read(self, tokens: Tensor, lengths: Tensor, sites: set[str]) -> dict[str, Tensor]:
        """Return the states at the sites asked for, each (n, width of the site)."""
        token_ids, mask = self._with_start(tokens, lengths)
        rows = torch.arange(len(tokens), device=tokens.device)
        found = read_states(
            self._anatomy(), token_ids, mask, tuple(sites), lambda hidden: hidden[rows, lengths]
        )
        if FINAL_NORM in found:
            found[FINAL_NORM] = self.last(found[FINAL_NORM])
        return found

    def _with_start(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Put the first token before each context; the mask is 1 on tokens, 0 behind the end."""
        token_ids = nn.functional.pad(tokens.clamp_min(0), (1, 0), value=self.vocabulary)
        mask = torch.arange(token_ids.shape[1], device=lengths.device) <= lengths[:, None]
        return token_ids, mask.long()

    def _anatomy(self) -> Anatomy:
        return Anatomy(
            decoder=self.decoder,
            token_embedding=self.token_embedding,
            blocks=find_blocks(self.decoder, self.n_blocks, type(self.decoder).__name__),
            unembedding=self.last,
            width=self.width,
            max_tokens=None,
        )


def _heads(width: int) -> int:
    return width // HEAD_WIDTH


def _gpt_neox(width: int, depth: int) -> Any:
    return transformers.GPTNeoXConfig(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=_heads(width),
        intermediate_size=4 * width,
    )


def _llama(width: int, depth: int) -> Any:
    return transformers.LlamaConfig(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=_heads(width),
        intermediate_size=3 * width,
    )


def _qwen2(width: int, depth: int) -> Any:
    return transformers.Qwen2Config(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=_heads(width),
        num_key_value_heads=_heads(width),
        intermediate_size=3 * width,
    )


def _deepseek_v3(width: int, depth: int) -> Any:
    """Latent attention in every block; a mixture of experts in all but the first."""
    return transformers.DeepseekV3Config(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=_heads(width),
        num_key_value_heads=_heads(width),
        intermediate_size=3 * width,
        moe_intermediate_size=width,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_group=1,
        topk_group=1,
        first_k_dense_replace=1,
        q_lora_rank=width,
        kv_lora_rank=width,
        qk_nope_head_dim=HEAD_WIDTH // 2,
        qk_rope_head_dim=HEAD_WIDTH // 2,
        v_head_dim=HEAD_WIDTH,
    )


def _gpt2(width: int, depth: int) -> Any:
    return transformers.GPT2Config(
        n_embd=width,
        n_layer=depth,
        n_head=_heads(width),
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )


def _mamba(width: int, depth: int) -> Any:
    """Keep the state narrow: without kernels of its own, the scan is most of a step's time."""
    return transformers.MambaConfig(hidden_size=width, num_hidden_layers=depth, state_size=4)


_FAMILIES: dict[str, Callable[[int, int], Any]] = {
    "gpt_neox": _gpt_neox,
    "llama": _llama,
    "qwen2": _qwen2,
    "deepseek_v3": _deepseek_v3,
    "gpt2": _gpt2,
    "mamba": _mamba,
}
FAMILIES = tuple(_FAMILIES)
