"""Where long work runs: here, in processes beside this one, or on a Ray cluster."""

from collections.abc import Callable
from dataclasses import dataclass

STARTED_HERE = ""
"""In place of an address: a cluster that is started here, for as long as the work takes."""


def _say_nothing(sentence: str) -> None:
    del sentence


@dataclass(frozen=True)
class Machines:
    """What was asked for.

    Attributes
    ----------
    workers
        How many at a time; None: one in this process, on Ray all that the cluster has room for.
    ray
        Address of a running Ray cluster (``"auto"``: the one that this machine is part of);
        ``""``: one that is started here; None: no Ray.
    gpus
        That each worker on Ray has for itself; a part of one is possible.
    announce
        Takes a sentence on a machine that cannot work, while others do.
    """

    workers: int | None = None
    ray: str | None = None
    gpus: float = 0.0
    announce: Callable[[str], None] = _say_nothing

    @property
    def is_one_process(self) -> bool:
        """Whether all is done in this process."""
        return self.ray is None and self.workers in {None, 1}


ONE_PROCESS = Machines()
"""All is done in this process, one part after the other."""
