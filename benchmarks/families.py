"""Which families of language models does the bridge read, at which sites, and if not, why not?

A tiny random model of every causal family that this release of transformers maps is built, wrapped,
and its states are compared with the family's own hidden states, one context at a time. Prints a row
a family; ``--write`` puts them into ``docs/reference/families.md``.
"""

import argparse
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from concept_ppl.bridge import (
    LanguageModel,
    extract,
    logits_from_final_norm,
    wrap_language_model,
)
from concept_ppl.bridge.loading import quiet_transformers
from concept_ppl.errors import LanguageModelError

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "families.md"
N_VOCABULARY, WIDTH, N_BLOCKS = 64, 32, 4
MOST_PARAMETERS = 100_000_000
"""A config whose sizes have names of their own stays as large as it is; it is not built."""
TOLERANCE = 1e-4
"""Largest difference from the family's own numbers, relative to the largest of them."""
TEXTS = ["w1 w2", "w3", "w4 w5 w6 w7 w8 w9", "w10 w9 w8 w7"]

SIZES: tuple[tuple[int, str], ...] = (
    (N_VOCABULARY, "vocab_size vocab_size_per_layer_input"),
    (WIDTH, "hidden_size n_embd d_model embedding_size dim_model emb_dim word_embed_proj_dim"),
    (WIDTH, "embedding_dim lru_width attention_hidden_size input_embedding_size"),
    (WIDTH, "output_embedding_size"),
    (2 * WIDTH, "intermediate_size ffn_dim d_ff dim_ff n_inner moe_intermediate_size dff"),
    (2 * WIDTH, "decoder_ffn_dim encoder_ffn_dim shared_expert_intermediate_size"),
    (2 * WIDTH, "moe_shared_expert_intermediate_size intermediate_size_mlp ffn_hidden_size"),
    (2 * WIDTH, "expert_ffn_hidden_size shared_intermediate_size mamba_d_ssm"),
    (N_BLOCKS, "num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers"),
    (N_BLOCKS, "num_decoder_layers"),
    (4, "num_attention_heads n_head n_heads decoder_attention_heads encoder_attention_heads"),
    (4, "n_routed_experts num_experts num_local_experts mamba_n_heads linear_num_value_heads"),
    (4, "linear_num_key_heads num_mem_heads mamba_num_heads n_mamba_heads index_n_heads"),
    (4, "swa_num_attention_heads num_decoder_attention_heads num_encoder_attention_heads"),
    (2, "num_key_value_heads num_experts_per_tok n_group moe_num_experts moe_k moe_topk"),
    (2, "swa_num_key_value_heads top_k_experts num_global_key_value_heads"),
    (1, "topk_group n_shared_experts num_shared_experts"),
    (8, "head_dim qk_rope_head_dim qk_nope_head_dim v_head_dim q_lora_rank kv_lora_rank"),
    (8, "linear_key_head_dim linear_value_head_dim rotary_dim swa_head_dim swa_v_head_dim"),
    (8, "index_head_dim global_head_dim kv_channels hidden_size_per_layer_input laurel_rank"),
    (8, "o_lora_rank mamba_head_dim"),
    (16, "state_size mamba_d_state ssm_state_size"),
    (64, "max_position_embeddings n_positions max_seq_len n_ctx context_length"),
)
SIZE_OF = {name: size for size, names in SIZES for name in names.split()}

# What a family needs beyond smaller sizes, because its parts must fit each other.
OPTIONS: dict[str, dict[str, Any]] = {
    "cohere_compass_text": {
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 10_000.0}
            for kind in ("full_attention", "sliding_attention")
        }
    },
    "dbrx": {"attn_config": {"rope_theta": 10_000.0, "kv_n_heads": 2, "clip_qkv": 8.0}},
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "gpt_neo": {"attention_types": [[["global", "local"], N_BLOCKS // 2]]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * (N_BLOCKS // 2)},
    "mamba2": {"num_heads": 8, "n_groups": 2},
    "nemotron_h": {"mamba_num_heads": 8, "n_groups": 2},
    "reformer": {"axial_pos_shape": (8, 8), "axial_pos_embds_dim": (8, 24)},
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        "attention_hidden_size": 2 * WIDTH,
        "attention_head_dim": 16,
        "num_key_value_heads": 4,
        "num_hidden_layers": 10,
    },
    "zamba2": {
        "attention_hidden_size": 2 * WIDTH,
        "attention_head_dim": 16,
        "num_key_value_heads": 4,
        "mamba_headdim": 8,
        "n_mamba_heads": 8,
        "layers_block_type": ["mamba", "hybrid"] * (N_BLOCKS // 2),
    },
    "zaya": {"num_experts_per_tok": 1},
}
EXTRA = {
    "opt, word_embed_proj_dim = 16": ("opt", {"word_embed_proj_dim": 16}),
    "gemma3_text, use_bidirectional_attention": (
        "gemma3_text",
        {"use_bidirectional_attention": True},
    ),
}
"""Variants of a family that are read, or refused, in a way of their own."""


@dataclass(frozen=True)
class Verdict:
    """What became of a family: ``outcome`` is a key of `OUTCOMES`, ``detail`` the sites or why."""

    family: str
    outcome: str
    detail: str


OUTCOMES = {
    "read": "read at every site",
    "read in part": "read at the final state, and not at every other site",
    "refused": "refused in one sentence",
    "not exact": "read, but not as the family's own hidden states",
    "failed": "ended in an error that is not the package's",
    "not built": "could not be built small from its config",
}


def tokenizer() -> Any:
    """A token a word; enough words for no special token to be read."""
    vocabulary = {"<s>": 0, "</s>": 1, "<unk>": 2} | {f"w{n}": n + 3 for n in range(40)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def small_config(family: str, options: dict[str, Any]) -> Any:
    """The family's default config with every size that has a usual name made small."""
    kind = CONFIG_MAPPING[family]
    default = kind()
    text = default.get_text_config(decoder=True)
    known = vars(text) | (vars(default) if text is not default else {})
    small = {
        name: size for name, size in SIZE_OF.items() if text.attribute_map.get(name, name) in known
    }
    small |= {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 5}
    if hasattr(text, "is_decoder"):
        small["is_decoder"] = True
    if "kv_lora_rank" in known:  # latent attention keeps as many keys as queries
        small["num_key_value_heads"] = small["num_attention_heads"]
    small |= options
    if text is default:
        return kind(**small)
    parts = [name for name in kind.sub_configs if getattr(default, name, None) is text]
    return kind(**{parts[0]: type(text)(**small)}) if parts else kind(**small)


def small_model(config: Any) -> Any:
    """Random weights large enough for every block to matter; refused where it is not small."""
    with torch.device("meta"):
        size = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    if size > MOST_PARAMETERS:
        raise ValueError(f"{size:,} parameters are left")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@torch.inference_mode()
def difference(language_model: LanguageModel) -> tuple[float, bool]:
    """Return the largest relative difference of batched states from the model's own, one by one.

    A family lists what enters each block or, as Mamba does, what leaves it. What its last entry is
    differs; the final state is compared by the logits that it makes. The second answer says whether
    the family lists any.
    """
    n_blocks = language_model.n_blocks
    blocks = [f"resid.{number}" for number in range(1, n_blocks + 1)]
    listings = [["embedding", *blocks[:-1]], blocks]
    states = extract(language_model, TEXTS, sites="all", positions="all")
    worst_logits, worst = 0.0, [0.0, 0.0]
    for row, text in enumerate(TEXTS):
        ids = language_model.tokenizer(text, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[language_model.prefix, *ids]])
        output = language_model.model(ids, output_hidden_states=True, use_cache=False)
        own = slice(states.offsets[row], states.offsets[row + 1])
        logits = logits_from_final_norm(language_model, states["final_norm"][own])
        worst_logits = max(worst_logits, far(logits, output.logits[0, 1:]))
        for number, listing in enumerate(listings):
            for site, hidden in zip(listing, output.hidden_states or (), strict=False):
                if site in states.sites:
                    off = far(torch.from_numpy(states[site][own]), hidden[0, 1:])
                    worst[number] = max(worst[number], off)
    return max(worst_logits, min(worst)), output.hidden_states is not None


def far(values: Tensor, reference: Tensor) -> float:
    """Return the largest difference, relative to the largest number of the reference."""
    if values.shape != reference.shape:
        return float("inf")
    return float((values - reference).abs().max() / reference.abs().max())


def verdict(name: str, family: str, options: dict[str, Any]) -> Verdict:
    """Build, wrap, read and compare one family."""
    try:
        model = small_model(small_config(family, options))
    except Exception as error:
        return Verdict(name, "not built", f"{type(error).__name__}: {in_a_line(error)}")
    try:
        language_model = wrap_language_model(model, tokenizer(), name=name)
        off, listed = difference(language_model)
    except LanguageModelError as error:
        return Verdict(name, "refused", in_a_line(error).removeprefix(f"{name}: "))
    except Exception as error:
        return Verdict(name, "failed", f"{type(error).__name__}: {in_a_line(error)}")
    if not off <= TOLERANCE:
        return Verdict(name, "not exact", f"off by {off:.1e} of the largest number")
    whole = "embedding" in language_model.sites and "resid.1" in language_model.sites
    whole = whole and "embedding.sum" in language_model.sites
    sites = "every site" if whole else ", ".join(language_model.sites)
    if not listed:
        sites += "; it lists no hidden states, so the logits alone are compared"
    return Verdict(name, "read" if whole else "read in part", sites)


def in_a_line(error: Exception) -> str:
    """Return the start of a message, without line breaks and column marks."""
    line = " ".join(str(error).replace("|", "/").split())
    return line if len(line) <= 240 else f"{line[:240]} …"


def verdicts(only: list[str] | None) -> Iterator[Verdict]:
    """Judge every family of the mapping, then the variants."""
    cases = {family: (family, {}) for family in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES} | EXTRA
    for name, (family, options) in cases.items():
        if not only or name in only:
            with quiet_transformers():
                yield verdict(name, family, OPTIONS.get(family, {}) | options)


def page(found: list[Verdict]) -> str:
    """Return the reference page: counts, then a row a family."""
    counts = Counter(one.outcome for one in found)
    built = len(found) - counts["not built"]
    lines = [
        "# Families of language models",
        "",
        f"Every causal family that transformers {transformers.__version__} maps, and {len(EXTRA)} "
        "variants, as tiny models with random weights: "
        f"of {len(found)}, {built} could be built. `make families` writes this page.",
        "",
        "| families | what became of them |",
        "|---|---|",
        *(f"| {counts[outcome]} | {meaning} |" for outcome, meaning in OUTCOMES.items()),
        "",
        "Read means: states from padded batches are the family's own hidden states, one context at "
        f"a time, within {TOLERANCE:g} of the largest number, and the final state makes its "
        "logits.",
        "",
        "| family | outcome | sites, or why not |",
        "|---|---|---|",
        *(f"| `{one.family}` | {one.outcome} | {one.detail} |" for one in found),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    parser.add_argument("--only", action="append", help="judge this family alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found = []
    for one in verdicts(options.only):
        found.append(one)
        print(f"{one.family}: {one.outcome}; {one.detail}", flush=True)
    print(dict(Counter(one.outcome for one in found)))
    if options.write:
        PAGE.write_text(page(found))


if __name__ == "__main__":
    main()
