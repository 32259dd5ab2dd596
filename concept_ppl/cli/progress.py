"""What a terminal shows of long work."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)


@contextmanager
def stage(name: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar for one stage of the work, on a terminal only."""
    # Bound now: loading a GGUF file redirects stderr, which must not silence this display.
    console = Console(file=sys.stderr)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
        finished = progress.tasks[task].total or 1
        progress.update(task, completed=finished, total=finished)
