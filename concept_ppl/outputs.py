"""How results reach the disk: under a temporary name first, so that none is half-written."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from concept_ppl.errors import InputError


@contextmanager
def new_file(path: str | Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary file; it takes the place of ``path`` when the block succeeds.

    Parameters
    ----------
    path
        Where the finished file is to lie. Missing parent folders are made.
    force
        Replace a file that is already there.

    Raises
    ------
    InputError
        If ``path`` exists and ``force`` is false, is a folder, or cannot be written.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError(f"{target} is a folder; name a file to write to.")
    temporary = _reserve(target, force, folder=False)
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: str | Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary folder; it takes the place of ``path`` when the block succeeds.

    Parameters
    ----------
    path
        Where the finished folder is to lie. Missing parent folders are made.
    force
        Replace a folder that is already there (an empty one is always replaced).

    Raises
    ------
    InputError
        If ``path`` exists and ``force`` is false, is a file, or cannot be written.
    """
    target = Path(path)
    if target.is_file():
        raise InputError(f"{target} is a file; name a folder to write to.")
    is_empty = target.is_dir() and not any(target.iterdir())
    temporary = _reserve(target, force or is_empty, folder=True)
    retired = temporary.with_name(temporary.name + ".old")
    try:
        yield temporary
        if target.exists():
            target.replace(retired)
        try:
            temporary.replace(target)
        except OSError:
            if retired.exists():
                retired.replace(target)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)


def require_writable(path: str | Path, *, force: bool = False) -> None:
    """Refuse an output folder before long work, as :func:`new_folder` would after it.

    Raises
    ------
    InputError
        As :func:`new_folder`.
    """
    target = Path(path)
    if target.is_file():
        raise InputError(f"{target} is a file; name a folder to write to.")
    is_empty = target.is_dir() and not any(target.iterdir())
    shutil.rmtree(_reserve(target, force or is_empty, folder=True))


def _reserve(target: Path, force: bool, *, folder: bool) -> Path:
    """Make the temporary file or folder, or say why the target cannot be written."""
    if target.exists() and not force:
        raise InputError(f"{target} already exists; pass --force to replace it.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{target.name}."
        if folder:
            temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=prefix))
            temporary.chmod(0o777 & ~_umask())
            return temporary
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=prefix, suffix=target.suffix)
        os.close(handle)
        Path(name).chmod(0o666 & ~_umask())
        return Path(name)
    except FileExistsError as error:
        raise InputError(f"{target} cannot be written: {target.parent} is no folder.") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{target} cannot be written: {reason}.") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
