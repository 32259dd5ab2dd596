"""On a node that has the package: open the work that was sent, and get ready for it."""

import pickle
from collections.abc import Mapping

from .attempts import Ask, Done, Failure, attempt, reason_of
from .environments import differences


def get_ready(packed: bytes, own: Mapping[str, str]) -> tuple[Ask | None, Done | Failure]:
    """Return what answers parts here, and whether it can.

    Parameters
    ----------
    packed
        What a worker prepares, and the environment that all compute with.
    own
        That of this node.
    """
    try:
        prepare, expected = pickle.loads(packed)  # sent by the process that asked
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
