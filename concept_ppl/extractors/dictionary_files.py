"""Dictionaries on the disk: arrays in safetensors, what was said of them in JSON; no pickles."""

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from concept_ppl.errors import InputError
from concept_ppl.outputs import new_folder

from .dictionary import Dictionary

WEIGHTS, SETTINGS = "dictionary.safetensors", "dictionary.json"
FORMAT = "concept-ppl dictionary 1"
FIELDS = ("encoder", "encoder_bias", "decoder", "decoder_bias", "shift")


def save_dictionary(dictionary: Dictionary, folder: str | Path, *, force: bool = False) -> Path:
    """Write a dictionary to a folder, whole or not at all; return the folder.

    Raises
    ------
    InputError
        If the folder is there already and ``force`` is not given, or cannot be written.
    """
    arrays = {name: np.ascontiguousarray(getattr(dictionary, name)) for name in FIELDS}
    arrays |= {f"extra.{k}": np.ascontiguousarray(v) for k, v in dictionary.extra.items()}
    if dictionary.groups is not None:
        arrays["groups"] = dictionary.groups
    settings = {
        "format": FORMAT,
        "activation": dictionary.activation,
        "k": dictionary.k,
        "scale": dictionary.scale,
        "said": dict(dictionary.said),
    }
    with new_folder(folder, force=force, known_by=(WEIGHTS, SETTINGS)) as temporary:
        save_file(arrays, temporary / WEIGHTS)
        text = json.dumps(settings, indent=1, sort_keys=True, ensure_ascii=False)
        (temporary / SETTINGS).write_text(text + "\n", encoding="utf-8")
    return Path(folder)


def read_dictionary(folder: str | Path) -> Dictionary:
    """Read a dictionary that `save_dictionary` wrote.

    Raises
    ------
    InputError
        If the folder holds none, or its parts do not belong together.
    """
    place = Path(folder)
    try:
        settings = json.loads((place / SETTINGS).read_text(encoding="utf-8"))
        arrays = load_file(place / WEIGHTS)
        if settings["format"] != FORMAT:
            raise InputError(f"{place / SETTINGS} has the format {settings['format']!r}.")
        groups = arrays.pop("groups", None)
        return Dictionary(
            **{name: arrays.pop(name) for name in FIELDS},
            scale=float(settings["scale"]),
            activation=settings["activation"],
            k=int(settings["k"]),
            extra={name.removeprefix("extra."): array for name, array in arrays.items()},
            groups=groups,
            said=settings["said"],
        )
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise InputError(f"{place} holds no dictionary that can be read: {error}") from error
