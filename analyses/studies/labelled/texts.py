"""Texts that someone labelled: a CSV with a column ``text`` and one or more columns of labels."""

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from concept_ppl.errors import InputError, listed

TEXT = "text"
MOST_VALUES = 50
"""A column with more values than this is no label but a number, a name or a date."""
FEWEST_PER_VALUE = 4
FEWEST_TEXTS = 60
LONGEST_FIELD = 2**31 - 1
RESERVED = frozenset({"x", "y", "position"})
"""Names of sites that are not concepts."""

_WORD = re.compile(r"\w+(?:['’]\w+)*")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*[A-Za-z]|[A-Za-z]")


@dataclass(frozen=True, eq=False)
class LabelledTexts:
    """Texts, their labels, and which of them belong together.

    Attributes
    ----------
    texts
        ``n`` strings.
    labels
        Column → ``(n,)`` numbers of values.
    categories
        Column → its values, sorted.
    clusters
        ``(n,)``: texts with the same number are never split between training and test.
    """

    texts: tuple[str, ...] = field(repr=False)
    labels: dict[str, NDArray[np.int64]] = field(repr=False)
    categories: dict[str, tuple[str, ...]]
    clusters: NDArray[np.int64] = field(repr=False)

    def __len__(self) -> int:
        return len(self.texts)

    def rows(self, chosen: NDArray[np.int64]) -> "LabelledTexts":
        """Return some of the texts."""
        return LabelledTexts(
            tuple(self.texts[row] for row in chosen),
            {name: numbers[chosen] for name, numbers in self.labels.items()},
            self.categories,
            self.clusters[chosen],
        )

    def halves(self, seed: int) -> tuple["LabelledTexts", "LabelledTexts"]:
        """Split at random into two halves that share no cluster."""
        shuffled = np.random.default_rng(seed).permutation(np.unique(self.clusters))
        sizes = np.array([(self.clusters == cluster).sum() for cluster in shuffled])
        first = shuffled[np.cumsum(sizes) - sizes / 2 <= len(self) / 2]
        in_first = np.isin(self.clusters, first)
        return self.rows(np.flatnonzero(in_first)), self.rows(np.flatnonzero(~in_first))


def words_of(text: str) -> list[str]:
    """Return a text's words in lower case, without punctuation."""
    return _WORD.findall(text.lower())


def read_labelled(
    path: str | Path, *, labels: Sequence[str] = (), cluster: str | None = None
) -> LabelledTexts:
    """Read a CSV of labelled texts.

    Parameters
    ----------
    path
        UTF-8, with a header.
    labels
        The columns that hold labels; all but ``text`` and ``cluster`` by default.
    cluster
        A column that says which texts belong together (a template, an author, a source); by default
        texts with the same words do.

    Raises
    ------
    InputError
        If the file is missing, is no such table, has an empty cell, or a label that cannot be one;
        the message names column and row.
    """
    table = _read_table(Path(path))
    names = _label_names(path, table, labels, cluster)
    for name in (TEXT, *names, *([cluster] if cluster else [])):
        empty = np.flatnonzero(table[name].str.strip() == "")
        if len(empty):
            raise InputError(f"{path}, line {empty[0] + 2}: {name} is empty; fill it or leave out.")
    if len(table) < FEWEST_TEXTS:
        raise InputError(
            f"{path} has {len(table)} texts; half of them must do for a fit, and half "
            f"for a test, so give at least {FEWEST_TEXTS}."
        )
    texts = tuple(table[TEXT])
    bags = [" ".join(words_of(text)) for text in texts]
    wordless = [row for row, bag in enumerate(bags) if not bag]
    if wordless:
        raise InputError(f"{path}, line {wordless[0] + 2}: text has no word; leave that line out.")
    coded = {name: _code(path, name, table[name].str.strip()) for name in names}
    together = table[cluster] if cluster else pd.Series(bags)
    found = LabelledTexts(
        texts,
        {name: numbers for name, (numbers, _) in coded.items()},
        {name: values for name, (_, values) in coded.items()},
        pd.factorize(together)[0].astype(np.int64),
    )
    n_clusters = int(found.clusters.max()) + 1
    if n_clusters < 20:
        raise InputError(
            f"{path} has {n_clusters} groups of texts that belong together; they are what is "
            "resampled, so give at least 20."
        )
    return found


def _read_table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{path} does not exist; name a CSV with columns text and labels.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file, _fields_of_any_length():
            rows = list(csv.reader(file, strict=True))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8 ({error}).") from error
    except (OSError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a CSV ({error}).") from error
    rows = [row for row in rows if row]
    if not rows or TEXT not in rows[0]:
        head = listed(rows[0]) if rows else "nothing"
        raise InputError(f"{path} has no column text; its first line has: {head}.")
    header = rows[0]
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise InputError(f"{path} has two columns called {twice[0]}; rename one.")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise InputError(
                f"{path}, line {number}: {len(row)} cells where the header has {len(header)}; put "
                "texts with commas between double quotes."
            )
    return pd.DataFrame(rows[1:], columns=header, dtype=str)


@contextmanager
def _fields_of_any_length() -> Iterator[None]:
    """Lift the limit that the csv module sets to one field of a file: a text may be long."""
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _label_names(
    path: str | Path, table: pd.DataFrame, labels: Sequence[str], cluster: str | None
) -> list[str]:
    for name in (*labels, *([cluster] if cluster else [])):
        if name not in table.columns:
            raise InputError(f"{path} has no column {name}; it has: {listed(table.columns)}.")
    names = list(dict.fromkeys(labels)) or [n for n in table.columns if n not in {TEXT, cluster}]
    if not names or TEXT in names:
        raise InputError(f"{path} has no column of labels beside text; add one.")
    for name in names:
        if not _NAME.fullmatch(name) or name in RESERVED:
            raise InputError(
                f"{path}: column {name!r} cannot name a concept; use letters, digits and _, with a "
                f"letter at both ends, and none of {', '.join(sorted(RESERVED))}."
            )
    return names


def _code(
    path: str | Path, name: str, column: pd.Series
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Turn a column into numbers of its values, sorted by name."""
    counts = column.value_counts()
    if len(counts) < 2:
        raise InputError(f"{path}: every text has the same {name}, '{counts.index[0]}'.")
    if len(counts) > MOST_VALUES:
        raise InputError(
            f"{path}: {name} has {len(counts)} values, so it is no label; name the columns that "
            "are with --labels."
        )
    dotted = [value for value in counts.index if "." in value]
    if dotted:
        raise InputError(f"{path}: the {name} '{dotted[0]}' has a full stop; rename it.")
    if counts.min() < FEWEST_PER_VALUE:
        rare = counts.idxmin()
        raise InputError(
            f"{path}: {counts.min()} texts have the {name} '{rare}'; give at least "
            f"{FEWEST_PER_VALUE} or merge it with another."
        )
    values = tuple(sorted(map(str, counts.index)))
    numbers = pd.Categorical(column, categories=list(values)).codes.astype(np.int64)
    return numbers, values
