"""Is what a next-token predictor has learned an invertible affine function of the log-posterior?"""

from importlib.metadata import version
from pathlib import Path

# Installed, models/ and analyses/ lie inside this package. In a checkout they lie beside it, and
# Python started at its root finds this folder first.
if not (Path(__file__).parent / "models").is_dir():
    __path__.append(str(Path(__file__).parents[1]))

__version__ = version("concept-ppl")
