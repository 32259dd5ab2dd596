"""How a study says how far it is, whoever shows it."""

from collections.abc import Callable
from contextlib import AbstractContextManager

Progress = Callable[[int, int], None]
"""Takes how much is done, and of how much."""

Stage = Callable[[str], AbstractContextManager[Progress]]
"""Opens a progress display for a named stage of the work."""
