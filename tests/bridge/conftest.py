"""Small random-weight models of several families, and a word-level tokenizer for them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from concept_ppl.bridge import LanguageModel, wrap_language_model

WORDS = ["the", "cat", "sat", "on", "a", "mat", "le", "chat", "est", "sur", "der", "hund", "und"]
WORDS += ["katze", "il", "gatto", "è"]
N_VOCABULARY = 24
TEXTS = ["the cat", "der", "le chat est sur a mat", "", "the cat", "il gatto è und katze", "sat"]

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"intermediate_size": 32, "num_key_value_heads": 2}),
    "gpt_neox": ("GPTNeoX", {"intermediate_size": 32}),
    "gpt2": ("GPT2", {}),
    "qwen2": ("Qwen2", {"intermediate_size": 32, "num_key_value_heads": 2}),
    "gemma2": (
        "Gemma2",
        {"intermediate_size": 32, "num_key_value_heads": 2, "head_dim": 4}
        | {"final_logit_softcapping": 0.05},
    ),
    "gemma3": (
        "Gemma3",
        {"intermediate_size": 32, "num_key_value_heads": 2, "head_dim": 4, "sliding_window": 4},
    ),
    "deepseek_v3": (
        "DeepseekV3",
        {"intermediate_size": 32, "moe_intermediate_size": 16, "num_key_value_heads": 4}
        | {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2}
        | {"n_group": 2, "topk_group": 1, "first_k_dense_replace": 1}
        | {"q_lora_rank": 8, "kv_lora_rank": 8}
        | {"qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 4},
    ),
    "mamba": ("Mamba", {"state_size": 4}),
    "granite": (
        "Granite",
        {"intermediate_size": 32, "num_key_value_heads": 2, "logits_scaling": 3.0},
    ),
    "cohere": ("Cohere", {"intermediate_size": 32, "num_key_value_heads": 2, "logit_scale": 0.3}),
}


def word_tokenizer(**special: str) -> PreTrainedTokenizerFast:
    """Split on spaces; the padding id is that of a real word on purpose."""
    tokens = ["<s>", "</s>", "<unk>", *WORDS]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokens_by_role = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"} | special
    return PreTrainedTokenizerFast(tokenizer_object=backend, **tokens_by_role)


def small_model(family: str, *, n_blocks: int = 3, seed: int = 0, tied: bool = True) -> Any:
    """A model of width 16 whose weights are large enough for every block to matter."""
    prefix, options = FAMILIES[family]
    suffix = "TextConfig" if family == "gemma3" else "Config"
    config = getattr(transformers, prefix + suffix)(
        vocab_size=N_VOCABULARY,
        hidden_size=16,
        num_hidden_layers=n_blocks,
        num_attention_heads=4,
        max_position_embeddings=32,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=5,
        tie_word_embeddings=tied,
        **options,
    )
    architecture = "GPT2LMHeadModel" if family == "gpt2" else f"{prefix}ForCausalLM"
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = getattr(transformers, architecture)(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def names_of_hidden_states(language_model: LanguageModel) -> list[str]:
    """Name the sites of the ``hidden_states`` that transformers returns; the last is final_norm.

    Most families list what enters each block; Mamba lists what leaves it.
    """
    blocks = [f"resid.{number}" for number in range(1, language_model.n_blocks + 1)]
    if language_model.model.config.model_type == "mamba":
        return [*blocks, "final_norm"]
    return ["embedding", *blocks[:-1], "final_norm"]


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.families) for name in sorted(FAMILIES)]
)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def language_model(family: str) -> LanguageModel:
    return wrap_language_model(small_model(family), word_tokenizer(), name=family)


@pytest.fixture
def llama() -> LanguageModel:
    return wrap_language_model(small_model("llama"), word_tokenizer(), name="llama")


@pytest.fixture
def block_calls() -> Iterator[Callable[[LanguageModel], list[int]]]:
    """Record the numbers of the blocks that a model runs."""
    handles = []

    def watch(language_model: LanguageModel) -> list[int]:
        calls: list[int] = []
        for number, block in enumerate(language_model.anatomy.blocks, start=1):

            def hook(*_: Any, number: int = number) -> None:
                calls.append(number)

            handles.append(block.register_forward_hook(hook))
        return calls

    yield watch
    for handle in handles:
        handle.remove()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
