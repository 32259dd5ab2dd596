"""What travels to a node of a cluster by value, since the package may not be there.

Both functions return something defined inside of them, which Ray therefore sends as code; it
imports the package where it runs, and says in one sentence what is missing.
"""

from typing import Any


def describe_node(expected: str) -> Any:
    """Return a function for a node that returns its environment, or why it cannot work.

    Parameters
    ----------
    expected
        Version of the package.
    """

    def describe(gpu: bool) -> Any:
        try:
            from importlib.metadata import version  # noqa: PLC0415

            from concept_ppl.distributed import environment  # noqa: PLC0415

            found = version("concept-ppl")
        except ImportError as error:
            return f"the package concept-ppl is missing or broken there ({error}); install it."
        if found != expected:
            return f"concept-ppl {found} is installed there, not {expected}; install the same."
        return dict(environment(gpu=gpu))

    return describe


def actor_class(expected: str) -> type:
    """Return the class of the actors that work; see :func:`describe_node`."""
    describe = describe_node(expected)

    class Actor:
        """A worker on a node."""

        answer: Any = None

        def start(self, packed: bytes, gpu: bool) -> Any:
            """Get ready for the work that was sent; a sentence says why this node cannot."""
            own = describe(gpu)
            if isinstance(own, str):
                return own
            from concept_ppl.distributed.ray_work import get_ready  # noqa: PLC0415

            self.answer, result = get_ready(packed, own)
            return result

        def ask(self, argument: Any) -> Any:
            """Answer a part."""
            from concept_ppl.distributed.attempts import attempt  # noqa: PLC0415

            return attempt(self.answer, argument)

    return Actor
