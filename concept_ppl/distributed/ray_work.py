"""On a node that has the package: open the work that was sent, and get ready for it."""

import os
import pickle
from collections.abc import Mapping
from contextlib import suppress

from .attempts import Ask, Done, Failure, attempt, reason_of
from .environments import differences


def get_ready(packed: bytes, own: Mapping[str, str]) -> tuple[Ask | None, Done | Failure]:
    """Return what answers parts here, and whether it can.

    Parameters
    ----------
    packed
        What a worker prepares, the environment that all compute with, and the current folder of
        the process that asked, which relative paths start from.
    own
        That of this node.
    """
    try:
        expected, folder, work = pickle.loads(packed)  # sent by the process that asked
        with suppress(OSError):  # there may be no such folder here, and no need of it
            os.chdir(folder)
        prepare = pickle.loads(work)
    except Exception as error:
        return None, Failure(f"the work cannot be opened there: {reason_of(error)}")
    if differing := differences(own, expected):
        return None, Failure(
            f"numbers would differ from those of the other machines ({differing}); install the "
            "same versions, or give a cluster of one kind."
        )
    result = attempt(prepare)
    if isinstance(result, Failure):
        return None, result
    return result.value, Done(None)
