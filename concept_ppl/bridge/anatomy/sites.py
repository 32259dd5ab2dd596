"""Which places of a language model a state can be read at, and how a user names them.

``embedding``
    The hidden state that enters block 1: token embedding, plus positions where the model adds them.
``resid.<L>``, L = 1 … n_blocks
    The hidden state that leaves block L, before the final norm. (The last entry of transformers'
    ``hidden_states`` is *after* the final norm, so it is not ``resid.<n_blocks>``.)
``final_norm``
    The state that the unembedding turns into logits.
``embedding.sum``, ``embedding.mean``
    Controls: the sum and the mean of the token embeddings over the context's own tokens. They are
    bags of tokens: neither positions nor the prefix nor special tokens enter. Both are zero for an
    empty context.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from concept_ppl.errors import InputError, listed

EMBEDDING = "embedding"
FINAL_NORM = "final_norm"
EMBEDDING_SUM = "embedding.sum"
EMBEDDING_MEAN = "embedding.mean"
POOLED_SITES = (EMBEDDING_SUM, EMBEDDING_MEAN)


class HasSites(Protocol):
    """Anything whose sites can be named: a language model."""

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""

    @property
    def sites(self) -> tuple[str, ...]:
        """Every site, in the order in which the model computes them, controls last."""


def resid(block: int) -> str:
    """Name the state that leaves ``block``, counted from 1."""
    return f"resid.{block}"


def block_number(site: str) -> int | None:
    """Return L of ``resid.<L>``; None for any other site."""
    name, _, number = site.partition(".")
    return int(number) if name == "resid" else None


def sites_of(n_blocks: int) -> tuple[str, ...]:
    """Name every site of a model with ``n_blocks`` blocks."""
    blocks = tuple(resid(block) for block in range(1, n_blocks + 1))
    return (EMBEDDING, *blocks, FINAL_NORM, *POOLED_SITES)


def spread_sites(language_model: HasSites, n: int = 6) -> tuple[str, ...]:
    """Name the embedding, ``n`` evenly spaced blocks up to the last, and the final norm.

    Parameters
    ----------
    language_model
        The model whose sites are meant.
    n
        How many blocks; all of them if the model has no more. Sites that it lacks are left out.

    Raises
    ------
    InputError
        If ``n`` is less than 1.
    """
    if n < 1:
        raise InputError(f"n = {n} blocks cannot be spread over a model; ask for at least 1.")
    last = language_model.n_blocks
    ends = np.linspace(0, last, min(n, last) + 1)[1:]
    blocks = (resid(int(np.ceil(end - 1e-9))) for end in ends)
    known = language_model.sites
    return tuple(site for site in (EMBEDDING, *blocks, FINAL_NORM) if site in known)


def resolve_sites(language_model: HasSites, sites: str | Sequence[str]) -> tuple[str, ...]:
    """Turn what a user asked for into site names, in the user's order, each once.

    Parameters
    ----------
    language_model
        The model whose sites are meant.
    sites
        ``"all"`` (controls included), one list with commas such as
        ``"embedding,resid.12,final_norm"``, or a sequence of names.

    Raises
    ------
    InputError
        If a site is unknown, or none is named.
    """
    known = language_model.sites
    if sites == "all":
        return known
    asked = sites.split(",") if isinstance(sites, str) else list(sites)
    names = tuple(dict.fromkeys(name.strip() for name in asked if name.strip()))
    if not names:
        raise InputError(
            'No site is named; ask for "all" or a list such as "embedding,final_norm".'
        )
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(
            f"Unknown site {listed(map(repr, unknown))}; this model has "
            f"{_in_words(known, language_model.n_blocks)}."
        )
    return names


def _in_words(known: Sequence[str], n_blocks: int) -> str:
    """List the sites, the blocks by the first and the last of them."""
    others = [site for site in known if block_number(site) is None]
    if len(others) == len(known):
        return f"{listed(known)}: no block of it holds one vector a token"
    blocks = [f"{resid(1)} to {resid(n_blocks)}"]
    before = [EMBEDDING] if EMBEDDING in others else []
    return ", ".join([*before, *blocks, *(site for site in others if site != EMBEDDING)])
