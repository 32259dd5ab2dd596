"""What the package raises: one type per kind of bad input, each message a clear sentence."""

from collections.abc import Iterable

LONGEST_MESSAGE = 1_000
"""Characters of a message; a name out of a file may be as long as the file."""
MOST_LISTED, SHOWN = 20, 10
"""A list of more names than the first shows so many as the second."""
LONGEST_NAME = 60


class ConceptPPLError(Exception):
    """Base of all that is raised on purpose; the command line turns it into exit status 2."""

    def __init__(self, message: str) -> None:
        super().__init__(_cut(message, LONGEST_MESSAGE))


def listed(names: Iterable[object]) -> str:
    """Write names one after the other, of many the first ones and how many there are besides.

    Examples
    --------
    >>> listed(["a", "b"]), listed(range(1000))
    ('a, b', '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 990 more')
    """
    known = [_cut(str(name), LONGEST_NAME) for name in names]
    if len(known) <= MOST_LISTED:
        return ", ".join(known)
    return f"{', '.join(known[:SHOWN])} and {len(known) - SHOWN:,} more"


def _cut(text: str, longest: int) -> str:
    """Leave out the middle of a text that is too long: a sentence ends with the remedy."""
    if len(text) <= longest:
        return text
    half = (longest - 3) // 2
    return f"{text[:half]} … {text[-half:]}"


class InputError(ConceptPPLError, ValueError):
    """A file, a table, an array or an argument is not what it must be; the message names it."""


class ModelError(ConceptPPLError, ValueError):
    """A Pyro program cannot be answered exactly; the message names the site and the remedy."""


class LanguageModelError(ConceptPPLError, ValueError):
    """A language model cannot be loaded or fails a check on load; the message names the model."""


class MemoryBudgetError(ConceptPPLError, MemoryError):
    """The work would not fit in the memory that was allowed; the message gives both in bytes."""


class UnfinishedError(ConceptPPLError, RuntimeError):
    """Some parts of long work failed; the others are kept, and the same call goes on from them."""
