"""What the package raises: one type per kind of bad input, each message a clear sentence."""


class ConceptPPLError(Exception):
    """Base of all that is raised on purpose; the command line turns it into exit status 2."""


class InputError(ConceptPPLError, ValueError):
    """A file, a table, an array or an argument is not what it must be; the message names it."""


class ModelError(ConceptPPLError, ValueError):
    """A Pyro program cannot be answered exactly; the message names the site and the remedy."""


class LanguageModelError(ConceptPPLError, ValueError):
    """A language model cannot be loaded or fails a check on load; the message names the model."""


class MemoryBudgetError(ConceptPPLError, MemoryError):
    """The work would not fit in the memory that was allowed; the message gives both in bytes."""
