"""Which generative models ship with the package: the zoo, read without running any of it."""

import ast
import pkgutil
from pathlib import Path

import concept_ppl.models


def zoo() -> dict[str, str]:
    """Return the models that ship with the package: name to the first line of its docstring."""
    names = sorted(m.name for m in pkgutil.iter_modules(concept_ppl.models.__path__))
    return {name: _first_line(zoo_file(name)) for name in names}


def zoo_file(name: str) -> Path:
    """Return the file of a model of the zoo."""
    folders = [Path(folder) / f"{name}.py" for folder in concept_ppl.models.__path__]
    return next(path for path in folders if path.is_file())


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def model_file(source: str | Path) -> Path:
    """Return the file that a zoo name or ``path/to/file.py[:name]`` speaks of."""
    path, separator, _ = str(source).partition(".py:")
    if separator or str(source).endswith(".py"):
        return Path(path + ".py" if separator else path)
    return zoo_file(str(source))
