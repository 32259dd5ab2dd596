"""Which word pairs stand for which concept: a folder of lists, or one table, read as they are.

A folder holds one tab-separated file a concept, named ``[first - second].txt``, two words a
line: the form of Park et al. 2024, https://arxiv.org/abs/2311.03658. Lines are split at tabs and
nowhere else, so that an entry may hold spaces and slashes. A table is a CSV with columns
``concept, first, second``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from concept_ppl.errors import InputError, listed

COLUMNS = ("concept", "first", "second")

NOT_TWO_WORDS = "not two words with a tab between them"
SAME_WORD = "the same word twice"
REPEATED = "a repeat of an earlier pair"


@dataclass(frozen=True, slots=True)
class SkippedPair:
    """A line that is no pair of its concept, where it stands, and why it was left out."""

    concept: str
    line: int
    text: str
    reason: str


@dataclass(frozen=True, eq=False)
class PairLists:
    """Word pairs of several concepts, each distinct word once.

    Attributes
    ----------
    concepts
        Their names, in the order of the files or of the table.
    words
        Distinct words, by first appearance; words that differ in case differ.
    concept, first, second
        (n_pairs,) number of each pair's concept, and of its two words.
    skipped
        Lines that were left out.
    """

    concepts: tuple[str, ...]
    words: tuple[str, ...]
    concept: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    skipped: tuple[SkippedPair, ...]

    def __len__(self) -> int:
        return len(self.concept)

    def take(self, kept: NDArray[np.bool_]) -> "PairLists":
        """Keep the pairs that are marked, the concepts that then have a pair, and their words."""
        numbers = np.unique(self.concept[kept])
        words, ends = np.unique(
            np.concatenate([self.first[kept], self.second[kept]]), return_inverse=True
        )
        first, second = np.split(ends.astype(np.int64), 2)
        return PairLists(
            tuple(self.concepts[number] for number in numbers),
            tuple(self.words[number] for number in words),
            np.searchsorted(numbers, self.concept[kept]).astype(np.int64),
            first,
            second,
            self.skipped,
        )


def read_pairs(path: str | Path) -> PairLists:
    """Read a folder of pair lists, or a CSV with columns ``concept, first, second``.

    Blank lines, a byte-order mark, either kind of line end and spaces around a word do not matter.
    A line that is not two words, repeats a pair of its concept or pairs a word with itself is
    skipped, and listed in ``skipped``.

    Raises
    ------
    InputError
        If there is nothing to read, a file is not UTF-8 text, a column is missing, or a concept has
        no pair at all.
    """
    source = Path(path)
    if source.is_dir():
        return _collect(_lines_of_folder(source), source)
    if not source.is_file():
        raise InputError(f"{path} does not exist; name a folder of word pairs or a CSV file.")
    return _collect(_lines_of_table(source), source)


Line = tuple[str, int, tuple[str, ...]]
"""Concept, number of the line, and what stands between its tabs."""


def _lines_of_folder(folder: Path) -> Iterator[Line]:
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise InputError(
            f"{folder} holds no .txt file; give one a concept, named '[first - second].txt', with "
            "two words a line and a tab between them."
        )
    for file in files:
        try:
            text = file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{file} cannot be read as UTF-8 text ({error}).") from error
        concept = file.stem.removeprefix("[").removesuffix("]").strip()
        lines = [line for line in enumerate(text.split("\n"), 1) if line[1].strip()]
        if not lines:
            raise InputError(f"{file} is empty; give two words a line with a tab between them.")
        for number, line in lines:
            yield concept, number, tuple(word.strip() for word in line.split("\t"))


def _lines_of_table(file: Path) -> Iterator[Line]:
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{file} cannot be read as a CSV file ({error}).") from error
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise InputError(
            f"{file} has no column {missing[0]}; a table of pairs has {listed(COLUMNS)}."
        )
    if table.empty:
        raise InputError(f"{file} holds no rows.")
    rows = table[list(COLUMNS)].itertuples(index=False, name=None)
    for number, (concept, first, second) in enumerate(rows, 2):
        yield concept.strip(), number, (first.strip(), second.strip())


def _collect(lines: Iterable[Line], source: Path) -> PairLists:
    concepts: dict[str, int] = {}
    words: dict[str, int] = {}
    pairs: dict[tuple[int, int, int], None] = {}
    skipped: list[SkippedPair] = []
    for concept, number, entries in lines:
        code = concepts.setdefault(concept, len(concepts))
        reason = _fault(entries)
        if not reason:
            ends = [words.setdefault(word, len(words)) for word in entries]
            pair = (code, ends[0], ends[1])
            reason = REPEATED if pair in pairs else ""
            pairs[pair] = None
        if reason:
            skipped.append(SkippedPair(concept, number, " / ".join(entries), reason))
    table = np.array(list(pairs), dtype=np.int64).reshape(-1, 3)
    for concept, code in concepts.items():
        if not (table[:, 0] == code).any():
            raise InputError(
                f"{source}: concept '{concept}' has no line with two different words and a tab "
                "between them; repair or remove it."
            )
    return PairLists(
        tuple(concepts), tuple(words), table[:, 0], table[:, 1], table[:, 2], tuple(skipped)
    )


def _fault(entries: tuple[str, ...]) -> str:
    if len(entries) != 2 or not all(entries):
        return NOT_TWO_WORDS
    return SAME_WORD if entries[0] == entries[1] else ""
