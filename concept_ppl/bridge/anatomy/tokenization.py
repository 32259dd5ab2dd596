"""How a context becomes token ids: its own tokens, behind at most one neutral first token.

Transformers that never saw an attention sink elsewhere put it at position 0, where the state is
orders of magnitude larger than anywhere else (Xiao et al. 2024, https://arxiv.org/abs/2309.17453).
Without a token in front, the state of a one-token context *is* that sink, and a probe reads the
number of tokens. So a token that says nothing stands first.
"""

from collections.abc import Sequence
from typing import Any

from concept_ppl.errors import InputError

WORD_START_MARKS = ("Ġ", "▁")
DOCUMENT_SEPARATOR = "<|endoftext|>"
CHAT_TURN_MARK = "<|im_start|>"


def neutral_prefix(tokenizer: Any, config: Any) -> int | None:
    """Choose the token that stands before every context.

    The tokenizer's BOS token; where it has none, the one that the model's config declares, if the
    tokenizer counts it among its special tokens (Qwen2: ``<|endoftext|>``); else the end-of-text
    token, which stands between unrelated documents in training; else, for a tokenizer without any
    of these, the last token of a line break; ``None`` if even that has no tokens.

    One BOS token is passed over: chat models in the ChatML format declare the mark that opens a
    turn. It is not neutral, and it does not hold the sink: in SmolLM2-Instruct, behind
    ``<|im_start|>`` about one single-word context in twenty still has a state 100 times too large,
    behind the document separator ``<|endoftext|>`` none.
    """
    if tokenizer.bos_token == CHAT_TURN_MARK and DOCUMENT_SEPARATOR in tokenizer.all_special_tokens:
        return int(tokenizer.convert_tokens_to_ids(DOCUMENT_SEPARATOR))
    if tokenizer.bos_token_id is not None:
        return int(tokenizer.bos_token_id)
    declared = getattr(config, "bos_token_id", None)
    if isinstance(declared, int) and declared in tokenizer.all_special_ids:
        return declared
    if tokenizer.eos_token_id is not None:
        return int(tokenizer.eos_token_id)
    line_break = tokenizer("\n", add_special_tokens=False)["input_ids"]
    return int(line_break[-1]) if line_break else None


def tokenize(
    tokenizer: Any, texts: Sequence[str], *, prefix: int | None, leading_space: bool
) -> list[tuple[int, ...]]:
    """Tokenise contexts without padding.

    Parameters
    ----------
    tokenizer
        A transformers tokenizer; the special tokens that it would add are left out.
    texts
        The contexts.
    prefix
        Token to stand first, unless the context's text already begins with it; ``None`` for none.
    leading_space
        Put a space before the first word where the tokenizer tells " word" from "word" and does not
        put one there itself.

    Raises
    ------
    InputError
        If a row is no text, or has no tokens and there is no prefix.
    """
    _check_texts(texts)
    if not texts:
        return []
    rows = tokenizer(
        spaced(tokenizer, texts, leading_space),
        add_special_tokens=False,
        padding=False,
        truncation=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )["input_ids"]
    contexts = [_behind(prefix, row) for row in rows]
    for row, context in enumerate(contexts):
        if not context:
            raise InputError(
                f"Row {row} (counted from 0) has no tokens, so it has no state; pass bos=True or "
                "leave the row out."
            )
    return contexts


def spaced(tokenizer: Any, texts: Sequence[str], leading_space: bool) -> list[str]:
    """Return the texts as the tokenizer gets them, with a space in front where it tells."""
    if not (leading_space and marks_word_starts(tokenizer)):
        return list(texts)
    return [f" {text}" if text and not text[0].isspace() else text for text in texts]


def _behind(prefix: int | None, row: list[int]) -> tuple[int, ...]:
    if prefix is None or (row and row[0] == prefix):
        return tuple(row)
    return (prefix, *row)


def _check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise InputError("texts is one string; pass a list of strings, one per context.")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"Row {row} (counted from 0) of the texts is {type(text).__name__}, not a string."
            )


def marks_word_starts(tokenizer: Any) -> bool:
    """Say whether a space before the first word changes its tokens, and is not put there anyway."""
    return _first_token_marks_a_word(tokenizer, " a") and not _first_token_marks_a_word(
        tokenizer, "a"
    )


def _first_token_marks_a_word(tokenizer: Any, text: str) -> bool:
    tokens = tokenizer.tokenize(text)
    return bool(tokens) and str(tokens[0]).startswith(WORD_START_MARKS)
