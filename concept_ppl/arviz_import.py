"""ArviZ when it is first needed: it takes two seconds, and warns at import of its next version."""

import warnings
from importlib import import_module
from typing import Any


def arviz() -> Any:
    """Import ArviZ without its notice."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return import_module("arviz")
