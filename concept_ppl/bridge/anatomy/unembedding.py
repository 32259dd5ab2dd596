"""What a language model holds of single tokens: rows of its unembedding and of its embedding."""

from collections.abc import Sequence

import numpy as np
import torch
from accelerate.utils import align_module_device
from numpy.typing import NDArray

from concept_ppl.errors import InputError

from .language_model import LanguageModel
from .tokenization import tokenize


@torch.inference_mode()
def unembedding_rows(
    language_model: LanguageModel, tokens: Sequence[int] | NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return g(y) for the given tokens: f(x)·g(y) is the logit of y, up to a bias and a cap.

    Parameters
    ----------
    language_model
        The model. Where it scales its logits by a constant, the rows carry that constant.
    tokens
        Token ids; `token_ids_of` finds those of words.

    Returns
    -------
    ndarray
        ``(n_tokens, width)``, float32.

    Raises
    ------
    InputError
        If a token is none of the vocabulary.
    """
    *before, last = language_model.anatomy.unembedding_maps
    with align_module_device(last):
        weight = last.get_parameter("weight")
        rows = weight[known_ids(tokens, len(weight)).to(weight.device)].float().cpu()
    for linear in reversed(before):
        with align_module_device(linear):
            rows = rows @ linear.get_parameter("weight").float().cpu()
    return (rows * language_model.logit_map.scale).numpy()


@torch.inference_mode()
def input_embedding_rows(
    language_model: LanguageModel, tokens: Sequence[int] | NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the input embeddings of the given tokens, scaled as the model scales them.

    Returns
    -------
    ndarray
        ``(n_tokens, width)``, float32; no positions are added.

    Raises
    ------
    InputError
        If a token is none of the vocabulary.
    """
    ids = known_ids(tokens, language_model.n_embeddings).to(language_model.device)
    rows: NDArray[np.float32] = language_model.anatomy.token_embedding(ids).float().cpu().numpy()
    return rows


def token_ids_of(
    language_model: LanguageModel, words: Sequence[str], *, leading_space: bool = True
) -> NDArray[np.int64]:
    """Return the token of each word that is one token; −1 for a word that is not.

    Parameters
    ----------
    language_model
        The model whose tokenizer is asked.
    words
        The words.
    leading_space
        The token of a word within running text, where the tokenizer tells the two apart.
    """
    rows = tokenize(language_model.tokenizer, words, prefix=-1, leading_space=leading_space)
    return np.array([row[1] if len(row) == 2 else -1 for row in rows], dtype=np.int64)


def known_ids(tokens: Sequence[int] | NDArray[np.int64], n_rows: int) -> torch.Tensor:
    """Return token ids as a tensor, each of them among the first ``n_rows``.

    Raises
    ------
    InputError
        If one is not.
    """
    ids = torch.as_tensor(np.asarray(tokens, dtype=np.int64))
    outside = ids[(ids < 0) | (ids >= n_rows)]
    if len(outside):
        raise InputError(
            f"Token {int(outside[0])} is not among the model's {n_rows}; leave it out "
            "(token_ids_of gives -1 for a word that is not one token)."
        )
    return ids
