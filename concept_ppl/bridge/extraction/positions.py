"""At which tokens of a context is a state read: the last, all, their mean, a word's last, marks?"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from concept_ppl.bridge.anatomy.tokenization import spaced, tokenize
from concept_ppl.errors import InputError

Positions = Literal["last", "all", "mean", "word", "marks"]
POSITIONS: tuple[Positions, ...] = ("last", "all", "mean", "word", "marks")
EACH = ("all", "marks")
"""Positions that make a row each."""


def check_positions(name: str) -> Positions:
    """Return one of the names in ``POSITIONS``, or say which there are."""
    for known in POSITIONS:
        if name == known:
            return known
    raise InputError(f"positions '{name}' are unknown; choose {', '.join(POSITIONS)}.")


@dataclass(frozen=True, slots=True)
class Reading:
    """One context and where in it states are read.

    Attributes
    ----------
    tokens
        The context, prefix included.
    positions
        Places in ``tokens``; several make as many rows, or one row where their mean is asked for.
    n_own
        How many tokens are the context's own.
    """

    tokens: tuple[int, ...]
    positions: tuple[int, ...]
    n_own: int

    @property
    def n_prefix(self) -> int:
        """How many tokens stand before the context's own: 1 or 0."""
        return len(self.tokens) - self.n_own


def readings(
    tokenizer: Any,
    texts: Sequence[str],
    *,
    positions: Positions,
    words: Sequence[str] | None = None,
    marks: Sequence[Sequence[int]] | None = None,
    prefix: int | None,
    leading_space: bool,
) -> list[Reading]:
    """Tokenise contexts and find the positions that are asked for.

    Parameters
    ----------
    tokenizer
        A transformers tokenizer.
    texts
        The contexts.
    positions
        ``"last"``: the last real token (of an empty context the prefix). ``"all"``: each of the
        context's own tokens (of an empty context none). ``"mean"``: all of them, to be averaged (of
        an empty context the prefix). ``"word"``: the last token of a given word.
    words
        For ``"word"``: one a context, which must stand in it as a word; where it stands several
        times, the last one is read.
    marks
        For ``"marks"``: for each context the places, ascending, of characters in its text, none
        or more; the token that holds such a character is read.
    prefix, leading_space
        As `tokenize` takes them.

    Raises
    ------
    InputError
        If a row is no text, has no tokens at all, does not hold its word, or has a mark outside it.
    """
    check_positions(positions)
    for name, given in (("word", words), ("marks", marks)):
        if (given is not None) != (positions == name):
            raise InputError(
                f"{name.removesuffix('s')}s go with positions='{name}', and only with it."
            )
    contexts = tokenize(tokenizer, texts, prefix=prefix, leading_space=leading_space)
    found = []
    for context in contexts:
        n_prefix = int(prefix is not None and context[0] == prefix)
        own = tuple(range(n_prefix, len(context)))
        at = own if positions in ("all", "mean") else own[-1:]
        if positions != "all" and not at:
            at = (len(context) - 1,)
        found.append(Reading(context, at, len(own)))
    if words is not None:
        return _at_words(tokenizer, spaced(tokenizer, texts, leading_space), words, found)
    if marks is not None:
        return _at_marks(tokenizer, texts, marks, leading_space, found)
    return found


def _at_words(
    tokenizer: Any, texts: Sequence[str], words: Sequence[str], found: Sequence[Reading]
) -> list[Reading]:
    """Move each reading to the last token of its word, by the characters that the tokens cover."""
    if len(words) != len(texts):
        raise InputError(f"{len(words)} words for {len(texts)} contexts; give one a context.")
    _require_spans(tokenizer, "a word")
    moved = []
    for row, (text, word, reading) in enumerate(zip(texts, words, found, strict=True)):
        places = list(re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", text)) if word else []
        if not places:
            raise InputError(f"Row {row} (counted from 0) does not hold the word {word!r}.")
        at = _covering(tokenizer, text, [places[-1].end() - 1], reading)
        if not at:
            raise InputError(f"Row {row} (counted from 0) has no token for the word {word!r}.")
        moved.append(Reading(reading.tokens, at, reading.n_own))
    return moved


def _at_marks(
    tokenizer: Any,
    texts: Sequence[str],
    marks: Sequence[Sequence[int]],
    leading_space: bool,
    found: Sequence[Reading],
) -> list[Reading]:
    """Move each reading to the tokens that hold the marked characters of its text."""
    if len(marks) != len(texts):
        raise InputError(f"marks for {len(marks)} contexts, not {len(texts)}; give them for each.")
    _require_spans(tokenizer, "a mark")
    moved = []
    given = spaced(tokenizer, texts, leading_space)
    for row, (text, own, as_given, reading) in enumerate(
        zip(texts, marks, given, found, strict=True)
    ):
        if len(own) and (min(own) < 0 or max(own) >= len(text)):
            raise InputError(
                f"Row {row} (counted from 0) has {len(text)} characters; its marks are {list(own)}."
            )
        shift = len(as_given) - len(text)
        at = _covering(tokenizer, as_given, [place + shift for place in own], reading)
        if len(at) < len(own) or any(one >= two for one, two in pairwise(at)):
            raise InputError(
                f"Row {row} (counted from 0): some of its marks lie in no token, or two in one."
            )
        moved.append(Reading(reading.tokens, at, reading.n_own))
    return moved


def _covering(
    tokenizer: Any, text: str, places: Sequence[int], reading: Reading
) -> tuple[int, ...]:
    """Return where in the reading's tokens the characters at these places lie, if anywhere."""
    spans = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    pairs = spans["offset_mapping"]
    # Offsets count the tokens of the text; the prefix may be the text's own first token.
    shift = len(reading.tokens) - len(pairs)
    covering: dict[int, int] = {}
    for index, (start, end) in enumerate(pairs):
        covering.update(dict.fromkeys(range(start, end), index + shift))
    return tuple(covering[place] for place in places if place in covering)


def _require_spans(tokenizer: Any, what: str) -> None:
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"{type(tokenizer).__name__} does not tell which characters a token covers, so {what} "
            "cannot be found in a context; read the last token, all or the mean."
        )
