"""Does each site have a name of its own? Of two with one name, only one could be answered."""

from typing import Any

from pyro.poutine.messenger import Messenger

from concept_ppl.errors import ModelError

from .lines import Line, line_here


class DistinctNames(Messenger):  # type: ignore[misc]
    """Refuse a second site of a name, as Pyro's own trace does, with the lines of both."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, tuple[str, Line | None]] = {}

    def _pyro_sample(self, msg: dict[str, Any]) -> None:
        if type(msg["fn"]).__name__ != "_Subsample":
            self._meet(msg["name"], "site")

    def _pyro_param(self, msg: dict[str, Any]) -> None:
        self._meet(msg["name"], "parameter")

    def _meet(self, name: str, kind: str) -> None:
        here = line_here()
        before, there = self.lines.setdefault(name, (kind, here))
        is_first = there is here
        if is_first or before == kind == "parameter":  # a parameter may be asked for again
            return
        if here == there:
            raise ModelError(
                f"site '{name}' is drawn more than once, each time at {here}; number it, as in "
                f"f'{name}_{{i}}'."
            )
        what = f"two sites are called '{name}'"
        if before != kind:
            what = f"a site and a parameter are both called '{name}'"
        raise ModelError(f"{what}: {there} and {here}; give each a name of its own.")
