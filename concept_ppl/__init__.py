"""Is what a next-token predictor has learned an invertible affine function of the log-posterior?"""

from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

# Installed, models/ and analyses/ lie inside this package. In a checkout they lie beside it, and
# Python started at its root finds this folder first.
if not (Path(__file__).parent / "models").is_dir():
    __path__.append(str(Path(__file__).parents[1]))

if TYPE_CHECKING:
    from .bridge import extract, load_language_model
    from .fitting import collapsed, fit
    from .inference import posterior, predictive, simulate
    from .model_sources import load_model
    from .programs import compile_model

__version__ = version("concept-ppl")

__all__ = [
    "collapsed",
    "compile_model",
    "extract",
    "fit",
    "load_language_model",
    "load_model",
    "posterior",
    "predictive",
    "simulate",
]

_HOME = {
    "collapsed": "fitting",
    "compile_model": "programs",
    "extract": "bridge",
    "fit": "fitting",
    "load_language_model": "bridge",
    "load_model": "model_sources",
    "posterior": "inference",
    "predictive": "inference",
    "simulate": "inference",
}


def __getattr__(name: str) -> object:
    """Import a public function when it is first asked for: torch and transformers take seconds."""
    if name not in _HOME:
        raise AttributeError(f"module 'concept_ppl' has no attribute '{name}'")
    return getattr(import_module(f"concept_ppl.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    """List the public functions too, those that were not imported yet."""
    return sorted({*globals(), *__all__})
