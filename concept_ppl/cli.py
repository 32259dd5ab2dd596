"""The ``concept-ppl`` command, the only module that knows all others."""


def main() -> None:
    """Run the command line."""
