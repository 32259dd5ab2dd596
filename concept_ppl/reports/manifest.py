"""What must be known to make a report again: versions, seeds, arguments, digests of the inputs."""

import hashlib
import json
import math
import platform
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np

from concept_ppl.errors import InputError

LIBRARIES: Final = (
    "torch",
    "pyro-ppl",
    "transformers",
    "numpy",
    "scipy",
    "pandas",
    "statsmodels",
    "wordfreq",
    "matplotlib",
)


def build_manifest(
    *,
    command: str | Sequence[str],
    arguments: Mapping[str, Any],
    seeds: Mapping[str, int],
    inputs: Mapping[str, Path],
    language_model: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Collect the provenance of a report.

    Parameters
    ----------
    command
        The command line that makes the report again, or its words.
    arguments
        Every argument in force, defaults included. Paths become text, NaN becomes null.
    seeds
        The seed of each random step, by name.
    inputs
        Files and folders that were read, by the role they play.
    language_model
        Name, revision and digest of the language model, where there is one.

    Returns
    -------
    dict
        Ready for JSON: ``command``, ``created`` (UTC), ``versions``, ``platform``, ``seeds``,
        ``arguments``, ``inputs`` (name, bytes and SHA-256 of each) and ``language_model``.

    Raises
    ------
    InputError
        If an input cannot be read.
    """
    return {
        "command": command if isinstance(command, str) else shlex.join(command),
        "created": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "versions": _versions(),
        "platform": {"system": platform.platform(), "machine": platform.machine()},
        "seeds": plain(seeds),
        "arguments": plain(arguments),
        "inputs": {role: describe_input(Path(path)) for role, path in inputs.items()},
        "language_model": None if language_model is None else plain(language_model),
    }


def describe_input(path: Path) -> dict[str, str | int]:
    """Name, size in bytes and SHA-256 of a file, or of a folder's files in order of their names.

    Only the last part of the path is kept: the digest identifies the input, and where it lay is
    nobody's business who reads the report.
    """
    name = path.resolve().name
    try:
        if path.is_dir():
            files = sorted(member for member in path.rglob("*") if member.is_file())
            listing = "".join(
                f"{_sha256(member)}  {member.relative_to(path).as_posix()}\n" for member in files
            )
            digest = hashlib.sha256(listing.encode()).hexdigest()
            size = sum(member.stat().st_size for member in files)
            return {"name": f"{name}/", "files": len(files), "bytes": size, "sha256": digest}
        return {"name": name, "bytes": path.stat().st_size, "sha256": _sha256(path)}
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{path} cannot be read: {reason}.") from error


def write_manifest(manifest: Mapping[str, Any], folder: Path) -> None:
    """Write ``manifest.json``."""
    document = json.dumps(plain(manifest), indent=1, allow_nan=False, ensure_ascii=False)
    (folder / "manifest.json").write_text(document + "\n", encoding="utf-8")


def plain(value: object) -> Any:
    """Turn a value into what JSON can hold: NaN becomes None, all else unknown to it text."""
    match value:
        case Mapping():
            answer: Any = {str(key): plain(item) for key, item in value.items()}
        case np.ndarray() | np.generic():
            answer = plain(value.tolist())
        case list() | tuple():
            answer = [plain(item) for item in value]
        case set() | frozenset():
            answer = sorted((plain(item) for item in value), key=str)
        case float() if math.isnan(value):
            answer = None
        case None | bool() | int():
            answer = value
        case float() if math.isfinite(value):
            answer = value
        case _ if hasattr(value, "tolist"):  # a tensor
            answer = plain(value.tolist())
        case _:
            answer = str(value)
    return answer


def _versions() -> dict[str, str]:
    found = {"concept-ppl": version("concept-ppl"), "python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
