"""Which options go together? What a method cannot use is refused before any work."""

from collections.abc import Mapping
from typing import Any

from concept_ppl.errors import InputError


def require_options(options: Mapping[str, Any]) -> None:
    """Refuse options that make no sense, or that the method does not take."""
    counts = {"restarts": 1, "chains": 1, "draws": 1, "warmup": 0, "max_tree_depth": 1}
    if options["method"] != "nuts":
        counts["iterations"] = 1
    for name, least in counts.items():
        if not isinstance(options[name], int) or options[name] < least:
            raise InputError(f"{name} must be a whole number from {least}, not {options[name]!r}.")
    if not options["tolerance"] >= 0:
        raise InputError(f"tolerance must be at least 0, not {options['tolerance']}.")
    if options["batch_size"] is not None and options["method"] in {"em", "nuts"}:
        raise InputError(
            f"method '{options['method']}' takes all contexts at once; leave out batch_size, or "
            f"use method 'map' or 'svi'."
        )


def require_whole_passes(
    method: str, batch_size: int | None, standard_errors: bool, own: Mapping[str, Any]
) -> None:
    """Refuse what a file that is read in parts does not give."""
    if method not in {"em", "map"} or batch_size is not None:
        raise InputError(
            f"a file is read whole at each pass, by method 'em', or 'map' without batch_size; give "
            f"the contexts themselves to method '{method}'."
        )
    if standard_errors:
        raise InputError(
            "standard errors hold every context in memory; pass standard_errors=False to fit a "
            "file in parts."
        )
    for name, value in own.items():
        if value is not None:
            raise InputError(f"{name}: a file that is read in parts has none; give the contexts.")
