"""fit.nc: a fit on the disk, whole or absent, that says which program it belongs to."""

import ast
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from concept_ppl.contexts.tokens import Contexts
from concept_ppl.errors import InputError
from concept_ppl.outputs import new_file

from .fits import Fit
from .inference_data import fit_of, observations_of, read_attributes, to_inference_data
from .kept_fits import keep
from .observations import Observations

ENGINE = "h5netcdf"


@dataclass(frozen=True)
class FitFile:
    """A fit that was read from a file.

    Attributes
    ----------
    path : Path
    attributes : mapping of str to object
        ``model``, ``build``, ``method``, ``versions``, ``observed_digest``, ``program_digest``, …
    groups : mapping of str to xarray.Dataset
        As ArviZ names them.
    """

    path: Path
    attributes: Mapping[str, Any]
    groups: Mapping[str, xr.Dataset]

    @cached_property
    def fit(self) -> Fit:
        """The fit."""
        return fit_of(self.groups, self.attributes)

    @cached_property
    def observed(self) -> Observations:
        """What it has seen."""
        return observations_of(self.groups)

    def has_seen(self, contexts: Contexts) -> bool:
        """Whether these are the contexts that were fitted, all of them in their order."""
        own = self.observed.contexts
        return np.array_equal(own.lengths, contexts.lengths) and np.array_equal(
            own.tokens, contexts.tokens
        )


def write_fit(
    fit: Fit,
    observed: Observations,
    path: str | Path,
    *,
    replicates: Mapping[str, Any] | None = None,
    program: Path | None = None,
    force: bool = False,
) -> None:
    """Write a fit as netCDF, which ``arviz.from_netcdf`` reads.

    Whatever fails on the way there, the fit is kept: as plain numbers beside the file that was to
    be (or among the system's temporary files), which
    :func:`~concept_ppl.fitting.fits.kept_fits.read_kept` reads and this function takes again.

    Parameters
    ----------
    fit, observed, replicates
        As :func:`~concept_ppl.fitting.fits.inference_data.to_inference_data` takes them.
    path
        Of the file to write.
    program
        The model's file.
    force
        Replace a file that is already there.

    Raises
    ------
    InputError
        If the file exists and ``force`` is false, or cannot be written; the message says where the
        fit is.
    """
    try:
        digest = "" if program is None else program_digest(program)
        data = to_inference_data(fit, observed, replicates=replicates, program_digest=digest)
        with new_file(path, force=force) as temporary:
            data.to_netcdf(str(temporary), engine=ENGINE)
    except Exception as error:  # whatever it is, hours of work must not go with it
        kept = keep(fit, observed, Path(path))
        raise InputError(
            f"the fit could not be written to {path} ({type(error).__name__}: {error}); it is kept "
            f"in {kept}: read it with concept_ppl.fitting.read_kept, and write it with write_fit."
        ) from error


def read_fit(path: str | Path) -> FitFile:
    """Read a fit.

    Raises
    ------
    InputError
        If the file is missing, cannot be read, or is no fit.
    """
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist; name a file that `concept-ppl fit` wrote.")
    try:
        with xr.open_datatree(path, engine=ENGINE) as tree:
            groups = {name: child.to_dataset().load() for name, child in tree.children.items()}
            attributes = {str(name): value for name, value in tree.attrs.items()}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is no readable fit; write it again with --force.") from error
    return FitFile(Path(path), read_attributes(attributes, path), groups)


def program_digest(file: Path) -> str:
    """SHA-256 of what a model's file does, whatever its layout, comments and docstrings."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and len(body) > 1 and _is_text(body[0]):
            del body[0]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
