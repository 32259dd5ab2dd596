"""Word states whose offsets are known: verbs with two inflections, and nouns with one."""

from dataclasses import dataclass

import numpy as np

from concept_ppl.analyses.pairs.designs import make_pair_design

WIDTH = 12
NAMES = ("verb - 3pSg", "verb - Ved", "noun - plural")


@dataclass(frozen=True)
class Words:
    """States of words and the pairs among them."""

    F: np.ndarray
    first: np.ndarray
    second: np.ndarray
    concept: np.ndarray

    def design(self, **options):
        return make_pair_design(self.first, self.second, self.concept, names=NAMES, **options)


def offsets(width=WIDTH):
    """Three directions of length 1; the first two have a cosine of .6."""
    axes = np.linalg.qr(np.random.default_rng(99).normal(size=(width, 3)))[0].T
    axes[1] = 0.6 * axes[0] + 0.8 * axes[1]
    return axes


def planted_words(seed, *, n=30, strength=1.0, noise=0.3, width=WIDTH):
    """Draw n verbs with two more forms each, and n nouns with their plural."""
    rng = np.random.default_rng(seed)
    u = strength * offsets(width)
    spread = noise * np.exp(0.5 * np.random.default_rng(5).normal(size=width))
    verbs, nouns = 2.0 * rng.normal(size=(2, n, width))
    forms = [verbs + u[k] + spread * rng.normal(size=(n, width)) for k in (0, 1)]
    plurals = nouns + u[2] + spread * rng.normal(size=(n, width))
    i = np.arange(n)
    return Words(
        np.vstack([verbs, *forms, nouns, plurals]),
        np.concatenate([i, i, 3 * n + i]),
        np.concatenate([n + i, 2 * n + i, 4 * n + i]),
        np.repeat([0, 1, 2], n),
    )


def noise_words(seed, *, n=30, width=WIDTH):
    """The same words in states that are noise."""
    words = planted_words(seed, n=n, width=width)
    rng = np.random.default_rng(seed + 1_000_000)
    return Words(rng.normal(size=words.F.shape), words.first, words.second, words.concept)
