"""How results reach the disk: under a temporary name first, so that none is half-written."""

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import ConceptPPLError, InputError, UnfinishedError

_TEMPORARY: set[Path] = set()
"""What lies on the disk under a temporary name while it is written by this process."""
_MADE: set[Path] = set()
"""Folders that were made for it."""
DISK_IS_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})


@contextmanager
def new_file(path: str | Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary file; it takes the place of ``path`` when the block succeeds.

    Parameters
    ----------
    path
        Where the finished file is to lie. Missing parent folders are made, and taken away again if
        the block fails. A symbolic link is followed.
    force
        Replace a file that is already there.

    Raises
    ------
    InputError
        If ``path`` exists and ``force`` is false, is no file, or cannot be written.
    """
    with _saying_why(path):
        target = Path(path).resolve()
        _require_free_file(path, target, force=force)
    with _temporary(path, target, folder=False) as temporary, _saying_why(path, DISK_IS_FULL):
        yield temporary
        temporary.replace(target)


@contextmanager
def new_folder(
    path: str | Path, *, force: bool = False, known_by: Collection[str] = ()
) -> Iterator[Path]:
    """Yield a temporary folder; it takes the place of ``path`` when the block succeeds.

    Parameters
    ----------
    path
        Where the finished folder is to lie. Missing parent folders are made, and taken away again
        if the block fails. A symbolic link is followed.
    force
        Replace a folder that is already there (an empty one is always replaced).
    known_by
        Files that every folder of this kind holds: ``force`` replaces no other one, because that
        would delete someone's work.

    Raises
    ------
    InputError
        If ``path`` exists and ``force`` is false, is a file, is a folder of another kind, or cannot
        be written.
    """
    with _saying_why(path):
        target = Path(path).resolve()
        _require_free_folder(path, target, force=force, known_by=known_by)
    with _temporary(path, target, folder=True) as temporary, _saying_why(path, DISK_IS_FULL):
        yield temporary
        _put_in_place(temporary, target)


@contextmanager
def resumable_folder(
    path: str | Path, *, force: bool = False, known_by: Collection[str] = ()
) -> Iterator[Path]:
    """Yield ``.<name>.partial`` beside the folder; it takes its place when the block succeeds.

    What a killed or interrupted run has written stays there for the next one, which gets the same
    folder; a refusal (one of the package's own errors, but `UnfinishedError`) takes it away.

    Parameters
    ----------
    path, force, known_by
        As :func:`new_folder`.

    Raises
    ------
    InputError
        As :func:`new_folder`, and if another process is writing there.
    """
    with _saying_why(path):
        target = Path(path).resolve()
        _require_free_folder(path, target, force=force, known_by=known_by)
    partial = partial_of(target)
    with _parent_folders(path, target):
        with _saying_why(path):
            partial.mkdir(exist_ok=True)
        with _locked(partial, path):
            try:
                with _saying_why(path, DISK_IS_FULL):
                    yield partial
                    _put_in_place(partial, target)
            except ConceptPPLError as error:
                if not isinstance(error, UnfinishedError):
                    _remove(partial)
                raise


def remove_unfinished() -> None:
    """Take away what would be left half-written if this process ended now; it must, after this."""
    for temporary in list(_TEMPORARY):
        _remove(temporary)
    _remove_empty(sorted(_MADE, key=lambda folder: len(folder.parts), reverse=True))


def partial_of(folder: str | Path) -> Path:
    """Return where :func:`resumable_folder` keeps what an interrupted run has written."""
    return Path(folder).with_name(f".{Path(folder).resolve().name}.partial")


def require_writable(
    path: str | Path, *, force: bool = False, known_by: Collection[str] = ()
) -> None:
    """Refuse an output folder before long work, as :func:`new_folder` would after it.

    Parameters
    ----------
    path, force, known_by
        As :func:`new_folder`.

    Raises
    ------
    InputError
        As :func:`new_folder`.
    """
    with _saying_why(path):
        target = Path(path).resolve()
        _require_free_folder(path, target, force=force, known_by=known_by)
    with _temporary(path, target, folder=True):
        pass


def require_free_file(path: str | Path, *, force: bool = False) -> None:
    """Refuse an output file before long work, as :func:`new_file` would after it.

    Parameters
    ----------
    path, force
        As :func:`new_file`.

    Raises
    ------
    InputError
        As :func:`new_file`.
    """
    with _saying_why(path):
        target = Path(path).resolve()
        _require_free_file(path, target, force=force)
    with _temporary(path, target, folder=False):
        pass


def require_room(path: str | Path, needed: int, remedy: str) -> None:
    """Refuse what the disk cannot hold, before it is written.

    Parameters
    ----------
    path
        The file or folder that is to be written; it need not exist.
    needed
        Its size in bytes.
    remedy
        What to do instead, the end of the sentence.

    Raises
    ------
    InputError
        If less is free; the message gives both sizes.
    """
    target = Path(path).resolve()
    present = next(place for place in (target, *target.parents) if place.exists())
    free = shutil.disk_usage(present).free
    if needed > free:
        raise InputError(
            f"{path} would take {in_bytes(needed)}, and the disk has {in_bytes(free)} left; "
            f"{remedy}."
        )


def in_bytes(n: float) -> str:
    """Write a size in the unit that suits it: ``23.8 kB``, ``4.2 TB``."""
    for size, unit in ((10**15, "PB"), (10**12, "TB"), (10**9, "GB"), (10**6, "MB")):
        if n >= size:
            return f"{n / size:,.1f} {unit}"
    return f"{n / 1000:.1f} kB"


def _require_free_file(path: str | Path, target: Path, *, force: bool) -> None:
    if target.is_dir():
        raise InputError(f"{path} is a folder; name a file to write to.")
    if target.exists() and not force:
        raise InputError(f"{path} already exists; pass --force to replace it.")
    if target.exists() and not target.is_file():
        raise InputError(f"{path} is a device or a pipe; name a file to write to.")


def _require_free_folder(
    path: str | Path, target: Path, *, force: bool, known_by: Collection[str]
) -> None:
    if target.exists() and not target.is_dir():
        raise InputError(f"{path} is a file; name a folder to write to.")
    if not target.exists() or not any(target.iterdir()):
        return
    if not force:
        raise InputError(f"{path} already exists; pass --force to replace it.")
    absent = [name for name in known_by if not (target / name).is_file()]
    if absent:
        raise InputError(
            f"{path} is a folder without {absent[0]}, so --force does not replace it; name "
            f"another folder."
        )


@contextmanager
def _temporary(path: str | Path, target: Path, *, folder: bool) -> Iterator[Path]:
    """Make a file or folder beside the target, and leave nothing of it, whatever happens."""
    with _parent_folders(path, target):
        with _saying_why(path):
            temporary = _reserve(target, folder=folder)
        _TEMPORARY.add(temporary)
        try:
            yield temporary
        finally:
            _remove(temporary)
            _TEMPORARY.discard(temporary)


@contextmanager
def _parent_folders(path: str | Path, target: Path) -> Iterator[None]:
    """Make the folders above the target, and take them away again if nothing lies in them."""
    missing = [parent for parent in target.parents if not parent.exists()]
    present = target.parents[len(missing)]
    if not present.is_dir():
        raise InputError(f"{path} cannot be written: {present} is no folder.")
    _MADE.update(missing)
    try:
        with _saying_why(path):
            target.parent.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        _remove_empty(missing)
        _MADE.difference_update(missing)


@contextmanager
def _locked(folder: Path, path: str | Path) -> Iterator[None]:
    """Hold a folder for this process alone, where the system can; a killed process lets go."""
    if sys.platform == "win32":
        yield
        return
    import fcntl  # noqa: PLC0415  (Unix only)

    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{path} is being written by another process; wait for it.") from error
        except OSError:  # a network file system without locks
            pass
        yield
    finally:
        os.close(handle)


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # on success it holds the output
            folder.rmdir()


def _remove(temporary: Path) -> None:
    if temporary.is_dir():
        shutil.rmtree(temporary, ignore_errors=True)
    else:
        temporary.unlink(missing_ok=True)


def _reserve(target: Path, *, folder: bool) -> Path:
    prefix = f".{target.name[:32]}."
    if folder:
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=prefix))
        temporary.chmod(0o777 & ~_umask())
        return temporary
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=prefix, suffix=target.suffix)
    os.close(handle)
    Path(name).chmod(0o666 & ~_umask())
    return Path(name)


def _put_in_place(temporary: Path, target: Path) -> None:
    """Rename, and put the old folder back if that fails or is interrupted."""
    retired = temporary.with_name(temporary.name + ".old")
    try:
        if target.exists():
            target.replace(retired)
        temporary.replace(target)
    except BaseException:
        if retired.exists() and not target.exists():
            retired.replace(target)
        raise
    shutil.rmtree(retired, ignore_errors=True)


@contextmanager
def _saying_why(path: str | Path, reasons: Collection[int] | None = None) -> Iterator[None]:
    """Turn an error of the file system, or those of the given numbers alone, into a sentence."""
    try:
        yield
    except OSError as error:
        if reasons is not None and error.errno not in reasons:
            raise
        reason = error.strerror or os.strerror(error.errno or errno.EIO)
        raise InputError(f"{path} cannot be written: {reason}.") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
