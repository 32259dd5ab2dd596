"""Where programs come from: the zoo by name, a user's file by path.

A file defines ``model(n_tokens)``, or ``build(**parameters)`` that returns such a function;
``path/to/file.py:name`` picks another of its functions. A model may carry three attributes:
``labels`` (site name to the names of its values; ``x`` for the words), ``lengths`` (the shortest
and the longest context to simulate) and ``concept`` (the one to read a predictor for, where the
others only carry it).

What a file draws at random when it is loaded (a table of ``torch.rand``) is the same each time: a
file is one world, whichever command reads it.
"""

import ast
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from concept_ppl.errors import ConceptPPLError, ModelError, listed
from concept_ppl.zoo import zoo, zoo_file

from .graph_assembly import Model
from .own_draws import same_draws


def load_program(source: str | Path, **parameters: Any) -> Model:
    """Load a program by zoo name or file.

    Parameters
    ----------
    source
        A name of :func:`~concept_ppl.zoo.zoo`, ``path/to/file.py`` or ``path/to/file.py:name``.
    parameters
        As :func:`~concept_ppl.load_model` takes them; what it returns and raises is as there.
    """
    path, _, name = str(source).partition(".py:")
    is_file = bool(name) or str(source).endswith(".py")
    file = Path(path + ".py" if name else str(source)) if is_file else None
    if file is None:
        if str(source) not in zoo():
            known = listed(zoo())
            raise ModelError(f"there is no model '{source}'; name a .py file or one of: {known}.")
        file = zoo_file(str(source))
    if not file.is_file():
        raise ModelError(f"model file {file} does not exist.")
    module = _execute(file)
    model, values = _pick(module, file, name, parameters)
    prepared = _prepared(model, name or file.stem, values)
    prepared.source, prepared.parameters = str(source), parameters  # type: ignore[attr-defined]
    return prepared


def _execute(file: Path) -> ModuleType:
    """Run a model file as a module of its own, with literals in double precision."""
    spec = importlib.util.spec_from_file_location(f"_concept_ppl_model_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = torch.get_default_dtype()
    sys.path.insert(0, str(file.resolve().parent))
    torch.set_default_dtype(torch.float64)
    try:
        with same_draws():
            spec.loader.exec_module(module)
    except ConceptPPLError:
        raise
    except (Exception, SystemExit) as error:
        raise _failure(f"model file {file}", error, file) from error
    finally:
        torch.set_default_dtype(before)
        sys.path.remove(str(file.resolve().parent))
    return module


def _failure(what: str, error: Exception | SystemExit, file: Path) -> ModelError:
    """Say where in the file it failed, and why: a call of ``sys.exit`` would end us in silence."""
    reason = str(error)
    if isinstance(error, SystemExit):
        reason = f"it calls sys.exit({error.code!r}); raise an exception instead"
    return ModelError(f"{what} fails{_line(error, file)}: {reason}.")


def _line(error: BaseException, file: Path) -> str:
    if isinstance(error, SyntaxError):
        return f" at line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).resolve() == file.resolve()]
    return f" at line {own[-1].lineno}" if own else ""


def _pick(
    module: ModuleType, file: Path, name: str, parameters: dict[str, Any]
) -> tuple[Model, dict[str, Any]]:
    chosen = getattr(module, name or "build", None) or getattr(module, name or "model", None)
    if not callable(chosen):
        wanted = name or "model(n_tokens) or build(**parameters)"
        raise ModelError(f"model file {file} defines no function {wanted}.")
    if (name or chosen.__name__) != "build":
        return chosen, parameters
    arguments = inspect.signature(chosen).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in arguments.values())
    own = {key: value for key, value in parameters.items() if takes_all or key in arguments}
    values = {key: value for key, value in parameters.items() if key not in own}
    for key in own.keys() & arguments.keys():
        _require_like_default(file.stem, arguments[key], own[key])
    not_numbers = [key for key, value in values.items() if not _is_numeric(value)]
    if not_numbers:
        known = listed(arguments)
        raise ModelError(f"{file.stem} has no parameter '{not_numbers[0]}'; it takes: {known}.")
    return _build(chosen, own, file), values


def _require_like_default(model: str, parameter: inspect.Parameter, value: Any) -> None:
    """Refuse a single value where a list is expected, and text where a number is."""
    default = parameter.default
    wants_list = isinstance(default, tuple | list)
    examples = default if wants_list else (default,)
    given = value if isinstance(value, tuple | list) else (value,)
    wants_numbers = bool(examples) and all(_is_number(example) for example in examples)
    wanted = ""
    if wants_list and (isinstance(value, str) or _is_number(value)):
        wanted = "a list"
    elif wants_numbers and any(isinstance(one, str) for one in given):
        wanted = "numbers" if wants_list else "a number"
    elif parameter.annotation is int and isinstance(value, float):
        wanted = "a whole number"
    if wanted:
        example = ",".join(map(str, examples)) or f"{value},"
        raise ModelError(
            f"parameter '{parameter.name}' of {model} takes {wanted}, as {parameter.name}="
            f"{example}, not {value!r}."
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_numeric(value: Any) -> bool:
    try:
        torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        return False
    return True


def _build(build: Callable[..., Any], arguments: dict[str, Any], file: Path) -> Model:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with same_draws():
            model = build(**arguments)
    except ConceptPPLError:
        raise
    except (Exception, SystemExit) as error:
        raise _failure(f"build of {file}", error, file) from error
    finally:
        torch.set_default_dtype(before)
    if not callable(model):
        raise ModelError(f"build of {file} returns no function of the number of tokens.")
    return model  # type: ignore[no-any-return]


def _prepared(model: Model, name: str, values: dict[str, Any]) -> Model:
    """Let messages speak of the file instead of the inner function ``model``; keep the values."""
    if getattr(model, "__name__", "model") == "model":
        model.__name__ = name
    if values:
        model.values = values  # type: ignore[attr-defined]
    return model


def parse_parameter(text: str) -> tuple[str, Any]:
    """Read ``key=value``: a Python literal, a list ``a,b,c`` (one alone: ``a,``), or a string."""
    key, separator, value = text.partition("=")
    if not separator or not key.isidentifier():
        raise ModelError(f"parameter '{text}' is not of the form key=value.")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, tuple(value.removesuffix(",").split(",")) if "," in value else value
