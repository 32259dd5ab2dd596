"""What a terminal shows of long work."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from concept_ppl.fitting import Progress as FitProgress


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


@contextmanager
def fit_stage() -> Iterator[Callable[["FitProgress"], None]]:
    """Show how a fit gets on: its run, log-evidence per token and time left, on a terminal only."""
    console = Console(file=sys.stderr)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[standing]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("fit", total=None, standing="")

        def report(now: "FitProgress") -> None:
            done = (now.run - 1) * now.n_iterations + now.iteration
            left = timedelta(seconds=round(now.seconds_left))
            progress.update(
                task,
                description=f"{now.method}, run {now.run} of {now.n_runs}",
                completed=done,
                total=now.n_runs * now.n_iterations,
                standing=f"{now.log_evidence_per_token:.4f} nats a token, at most {left} left",
            )

        yield report
