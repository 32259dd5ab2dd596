"""Who works, for as long as the work takes."""

from collections.abc import Iterator
from contextlib import contextmanager

from .crews import Crew
from .local_workers import LocalCrew, check_workers
from .machines import Machines


@contextmanager
def hired(machines: Machines) -> Iterator[Crew]:
    """Yield who works, for as long as the block runs.

    Raises
    ------
    InputError
        If the number of workers is below 1, Ray is not installed, its cluster cannot be reached,
        or no machine of it can work.
    """
    check_workers(machines.workers)
    if machines.ray is None:
        yield LocalCrew(machines.workers or 1)
        return
    from .ray_workers import cluster  # noqa: PLC0415  (Ray is heavy, and may not be installed)

    with cluster(machines) as crew:
        yield crew


@contextmanager
def hired_beside(machines: Machines) -> Iterator[Crew | None]:
    """Yield who works beside this process; None where it does everything itself.

    Raises
    ------
    InputError
        As :func:`hired`.
    """
    if machines.is_one_process:
        yield None
        return
    with hired(machines) as crew:
        yield crew
