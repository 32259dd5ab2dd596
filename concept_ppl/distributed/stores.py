"""Where finished parts lie: a folder here, or one that every machine sees, by any path of fsspec.

A part's file is there as a whole or not at all: here by renaming, elsewhere because object stores
put whole objects.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from concept_ppl.errors import InputError
from concept_ppl.outputs import new_file


def is_remote(where: str | Path) -> bool:
    """Whether this names something that fsspec reaches, such as ``s3://bucket/cells``."""
    return "://" in str(where)


@dataclass(frozen=True)
class Store:
    """A folder of finished parts.

    Attributes
    ----------
    where
        A folder, or a URL such as ``s3://bucket/cells``; made where it is missing.
    """

    where: str | Path

    def __str__(self) -> str:
        return str(self.where)

    def names(self) -> set[str]:
        """Return the names of the files that are there, hidden ones left out.

        Raises
        ------
        InputError
            If the folder can be neither read nor made.
        """
        try:
            if self._remote is None:
                Path(self.where).mkdir(parents=True, exist_ok=True)
                found = [path.name for path in Path(self.where).iterdir()]
            else:
                files, folder = self._remote
                files.makedirs(folder, exist_ok=True)
                found = [path.rpartition("/")[2] for path in files.ls(folder, detail=False)]
        except OSError as error:
            raise self._refusal("written", error) from error
        return {name for name in found if not name.startswith(".")}

    def holds(self, name: str) -> bool:
        """Whether a file is there."""
        if self._remote is None:
            return (Path(self.where) / name).is_file()
        files, folder = self._remote
        return bool(files.isfile(f"{folder}/{name}"))

    def read(self, name: str) -> bytes:
        """Return what a file holds.

        Raises
        ------
        InputError
            If it cannot be read.
        """
        try:
            if self._remote is None:
                return (Path(self.where) / name).read_bytes()
            files, folder = self._remote
            return bytes(files.cat_file(f"{folder}/{name}"))
        except OSError as error:
            raise self._refusal("read", error, name) from error

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all; one that is there is replaced.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        if self._remote is None:
            with new_file(Path(self.where) / name, force=True) as temporary:
                temporary.write_bytes(content)
            return
        files, folder = self._remote
        try:
            files.pipe_file(f"{folder}/{name}", content)
        except OSError as error:
            raise self._refusal("written", error, name) from error

    def remove(self, name: str) -> None:
        """Take a file away, if it is there."""
        if self._remote is None:
            (Path(self.where) / name).unlink(missing_ok=True)
        elif self.holds(name):
            files, folder = self._remote
            files.rm_file(f"{folder}/{name}")

    @cached_property
    def _remote(self) -> tuple[Any, str] | None:
        """Return the file system and the folder's path on it, of what is not a folder here."""
        if not is_remote(self.where):
            return None
        import fsspec  # noqa: PLC0415

        try:
            files, folder = fsspec.core.url_to_fs(str(self.where))
        except (ImportError, ValueError) as error:
            raise InputError(f"{self.where} cannot be reached: {error}") from error
        return files, str(folder).rstrip("/")

    def _refusal(self, done: str, error: OSError, name: str = "") -> InputError:
        reason = error.strerror or str(error) or type(error).__name__
        file = f"{self.where}/{name}" if name else str(self.where)
        return InputError(f"{file} cannot be {done}: {reason}.")
