"""A language model that every worker of a crew loads for itself."""

from functools import partial
from pathlib import Path
from typing import Any

from concept_ppl.bridge.extraction.readers import Readers
from concept_ppl.distributed import Crew

from .language_models import load_language_model


def readers_on(
    crew: Crew | None, name: str, *, device: str = "cpu", **options: Any
) -> Readers | None:
    """Return who reads a language model's states beside this process; None where nobody does.

    Parameters
    ----------
    crew
        From :func:`concept_ppl.distributed.hired_beside`.
    name, device, options
        As :func:`load_language_model` takes them. A folder must lie at the same path on every
        machine.
    """
    if crew is None:
        return None
    path = Path(name).expanduser()  # a worker has another current folder
    anywhere = str(path.resolve()) if path.exists() else name
    return Readers(crew, partial(load_language_model, anywhere, device=device, **options), device)
