"""A fitted file is a model again: the program that was fitted, at the parameters it found."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from concept_ppl.errors import ModelError, listed
from concept_ppl.programs.graph_assembly import Model
from concept_ppl.programs.sources import load_program
from concept_ppl.zoo import model_file

from .fit_files import FitFile, program_digest, read_fit
from .fits import Fit


def load_fitted(path: str | Path, **parameters: Any) -> Model:
    """Load the program behind a fit, its parameters at their point or posterior mean.

    Parameters
    ----------
    path
        A file that ``concept-ppl fit`` wrote.
    parameters
        Values of sites in place of the fitted ones.

    Raises
    ------
    InputError
        If the file cannot be read or is no fit.
    ModelError
        If the program is gone or has changed since, or has no such parameter.
    """
    stored = read_fit(path)
    model, fit = program_of(stored), stored.fit
    unknown = [name for name in parameters if name not in fit.shapes]
    if unknown:
        raise ModelError(
            f"{path} has no parameter '{unknown[0]}'; it has: {listed(fit.shapes)}. What the "
            f"program was built with is part of the fit."
        )
    model.values = {**getattr(model, "values", {}), **fit.values, **parameters}  # type: ignore[attr-defined]
    model.source, model.parameters = str(path), parameters  # type: ignore[attr-defined]
    return model


def program_of(stored: FitFile) -> Model:
    """Load the program that was fitted, its parameters unknown.

    A file of the user is looked for where it was, and else beside the fit.

    Raises
    ------
    ModelError
        If the program is gone or has changed since.
    """
    address = str(stored.attributes["model"])
    file = _file(address)
    if file is None:
        raise ModelError(
            f"{stored.path} was fitted in Python, with a function '{address}' that lies in no "
            f"file; put it into one and fit `file.py:{address}`."
        )
    if not file.is_file():
        beside = stored.path.parent / file.name
        if not beside.is_file():
            raise ModelError(
                f"{stored.path} was fitted with the program {file}, which does not exist; put it "
                f"there, or beside the fit."
            )
        address = str(beside) + address[len(str(file)) :]
        file = beside
    known = stored.attributes["program_digest"]
    if known and program_digest(file) != known:
        raise ModelError(
            f"{stored.path} was fitted with another version of the program {address}; restore that "
            f"version, or fit again."
        )
    return load_program(address, **stored.attributes["build"])


def _file(address: str) -> Path | None:
    try:
        return model_file(address)
    except StopIteration:
        return None


def draws_of(fit: Fit, n_draws: int | None = None) -> list[dict[str, Tensor]]:
    """Return values of all parameters for each of some draws, evenly spread over the chains.

    Parameters
    ----------
    fit
        Its matched draws are used.
    n_draws
        How many, at most as many as there are; all by default.
    """
    flat = {
        name: torch.as_tensor(draws.reshape(-1, *draws.shape[2:]))
        for name, draws in fit.matched.items()
    }
    total = len(next(iter(flat.values())))
    wanted = total if n_draws is None else min(n_draws, total)
    places = torch.linspace(0, total - 1, wanted).round().long().tolist()
    return [{name: draws[place] for name, draws in flat.items()} for place in places]
