"""A small Qwen2 as a GGUF file, with the tokenizer that the file then holds."""

from pathlib import Path
from typing import Any

import gguf
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

BYTES = ["!", "'", ",", ".", *"0123456789", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
BYTES += [*"abcdefghijklmnopqrstuvwxyz", "Ġ"]
TOKENS = ["<|endoftext|>", *BYTES, "Ġt", "he", "Ġthe"]
MERGES = ["Ġ t", "h e", "Ġt he"]
CONTROL, NORMAL = 3, 1


def small_qwen2(n_tokens: int = len(TOKENS)) -> Any:
    """Two blocks of width 32 with large random weights."""
    config = Qwen2Config(
        vocab_size=n_tokens,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(0)
        model = Qwen2ForCausalLM(config)
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def write_gguf(model: Any, path: Path, leave_out: str = "") -> None:
    """Write a Qwen2 as llama.cpp would name its parts; float32, so that nothing is lost."""
    config = model.config
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([CONTROL] + [NORMAL] * (len(TOKENS) - 1))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name != leave_out:
            writer.add_tensor(names.get_name(name, (".weight", ".bias")), tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
