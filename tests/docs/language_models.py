"""What a user has at hand: a hub model in the cache, a folder and a GGUF file, all small."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from ..bridge.gguf_files import MERGES, TOKENS, small_qwen2, write_gguf

COMMIT = "0" * 40


def models_of_a_user(folder: Path) -> dict[str, str]:
    """Write the models; return the environment in which the first is a hub id."""
    logging.disable_progress_bar()
    repository = folder / "hub" / "models--EleutherAI--pythia-70m"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    qwen2 = small_qwen2()
    for model, place in (
        (_pythia(), repository / "snapshots" / COMMIT),
        (qwen2, folder / "my-model"),
    ):
        model.save_pretrained(place)
        _tokenizer().save_pretrained(place)
    write_gguf(qwen2, folder / "my-model.gguf")
    logging.enable_progress_bar()
    return {
        "HF_HUB_CACHE": str(folder / "hub"),
        "HF_HUB_OFFLINE": "1",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }


def _tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {token: index for index, token in enumerate(TOKENS)}
    merges = [(first, second) for first, second in (merge.split() for merge in MERGES)]
    backend = Tokenizer(models.BPE(vocabulary, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=TOKENS[0])


def _pythia() -> GPTNeoXForCausalLM:
    config = GPTNeoXConfig(
        vocab_size=len(TOKENS),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return GPTNeoXForCausalLM(config)
