"""A small Llama of its own, from its config, whose tokens are the words of a world."""

import re
from typing import Any

import tokenizers
import torch
import transformers

from concept_ppl.bridge import LanguageModel, wrap_language_model
from concept_ppl.bridge.loading import quiet_transformers

from .world_words import WorldWords

START, UNKNOWN = "<s>", "<unk>"
HEAD_WIDTH = 16
MOST_POSITIONS = 512


def word_level_language_model(
    words: WorldWords,
    *,
    width: int = 64,
    blocks: int = 4,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> LanguageModel:
    """Return an untrained Llama that reads and writes the words of a world, one token each.

    Parameters
    ----------
    words
        Tokens of a context and words that may follow; a token may hold spaces (*The film was*).
    width, blocks
        Length of a state, a multiple of 16, and number of blocks.
    seed
        Of the weights; torch's own random state is left as it was.
    device
        Where the weights go.
    """
    tokenizer = _tokenizer((*words.tokens, *words.following))
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=blocks,
        num_attention_heads=width // HEAD_WIDTH,
        num_key_value_heads=width // HEAD_WIDTH,
        intermediate_size=3 * width,
        max_position_embeddings=MOST_POSITIONS,
        initializer_range=width**-0.5,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=None,
    )
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model: Any = transformers.LlamaForCausalLM(config)
    return wrap_language_model(
        model.to(device), tokenizer, name="word-level Llama", weights_kind="random", seed=seed
    )


def _tokenizer(words: tuple[str, ...]) -> Any:
    """Split texts where the words end; of two words that fit, the longer one stands."""
    distinct = tuple(dict.fromkeys(words))
    vocabulary = {word: i for i, word in enumerate((START, UNKNOWN, *distinct))}
    longest_first = sorted(distinct, key=len, reverse=True)
    pattern = rf"(?<!\S)(?:{'|'.join(map(re.escape, longest_first))})(?!\S)|\S+"
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token=UNKNOWN))
    core.pre_tokenizer = tokenizers.pre_tokenizers.Split(
        tokenizers.Regex(pattern), behavior="removed", invert=True
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=START, unk_token=UNKNOWN
    )
