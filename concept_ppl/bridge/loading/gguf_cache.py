"""A GGUF file as a folder that transformers loads in seconds: de-quantised once, then cached.

A model that transformers read from GGUF refuses ``save_pretrained``, because it still counts as
quantised; so the state dict, the config and the tokenizer are written here.
"""

import hashlib
import io
import os
import shutil
from collections.abc import Mapping
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers import __version__ as transformers_version

from concept_ppl.errors import InputError, LanguageModelError
from concept_ppl.outputs import new_folder


def dequantised(gguf: Path, digest: str) -> Path:
    """Return the cached folder of a GGUF file, de-quantising it if this is the first time.

    Parameters
    ----------
    gguf
        The file.
    digest
        Its SHA-256. It names the folder, together with the release of transformers that did the
        conversion, so that a later release's corrections are not missed.

    Raises
    ------
    LanguageModelError
        If the file is no GGUF file that transformers understands, lacks some of the model's
        tensors, or the cache cannot be written.
    """
    folder = cache_folder() / f"{digest}-transformers-{transformers_version}"
    if folder.is_dir():
        return folder
    try:
        # transformers draws this progress bar whatever its own switch says.
        with redirect_stderr(io.StringIO()):
            source = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
            model, found = AutoModelForCausalLM.from_pretrained(
                **source, dtype=torch.float32, output_loading_info=True
            )
            tokenizer = AutoTokenizer.from_pretrained(**source)
    except Exception as error:
        raise LanguageModelError(
            f"{gguf} cannot be read as a GGUF file of a causal language model "
            f"({type(error).__name__}: {error})."
        ) from error
    require_complete(str(gguf), found)
    try:
        with new_folder(folder, force=True) as temporary:
            _write(model, tokenizer, temporary)
    except (InputError, OSError) as error:
        raise LanguageModelError(
            f"The de-quantised weights of {gguf.name} cannot be cached ({error}) Set "
            "XDG_CACHE_HOME to a folder that can be written and has room."
        ) from error
    return folder


def require_complete(name: str, found: Mapping[str, Any]) -> None:
    """Refuse weights that leave some of a model's tensors to chance.

    Parameters
    ----------
    name
        What messages call the model.
    found
        The loading info of transformers.
    """
    absent = sorted({*found["missing_keys"], *(key[0] for key in found["mismatched_keys"])})
    if absent:
        raise LanguageModelError(
            f"{name}: the weights lack {len(absent)} of the model's tensors, {absent[0]} among "
            "them, so it would run on random numbers; get the complete weights."
        )


def cache_folder() -> Path:
    """Return ``$XDG_CACHE_HOME/concept-ppl``, or ``~/.cache/concept-ppl`` where that is not set."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "concept-ppl"


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write the state dict (tied tensors once), the config and the tokenizer."""
    by_storage: dict[int, tuple[str, torch.Tensor]] = {}
    for name, tensor in model.state_dict().items():
        by_storage.setdefault(tensor.data_ptr(), (name, tensor.contiguous()))
    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    weights = folder / "model.safetensors"
    save_file(dict(by_storage.values()), weights, metadata={"format": "pt"})
    shutil.copymode(folder / "config.json", weights)  # safetensors writes for the owner alone
