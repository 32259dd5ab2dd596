"""Where a generative model comes from: the zoo, a user's file, or a fit, which is a model again."""

from pathlib import Path
from typing import Any

from concept_ppl.fitting import load_fitted
from concept_ppl.programs import Model, load_program


def load_model(source: str | Path, **parameters: Any) -> Model:
    """Load a model by zoo name or file.

    Parameters
    ----------
    source
        A name of :func:`~concept_ppl.zoo.zoo`, ``path/to/file.py``, ``path/to/file.py:name``, or a
        fit, ``fit.nc``, whose parameters are then at their point or posterior mean.
    parameters
        Arguments of ``build``; those that ``build`` does not take, or all where the file defines a
        plain ``model``, are values of continuous sites and ``pyro.param`` statements.

    Returns
    -------
    Model
        A Pyro function of the number of tokens; its attribute ``values`` holds the parameters that
        are values of sites, and is used wherever the model is compiled; ``source`` and
        ``parameters`` say how to load it again.

    Raises
    ------
    ModelError
        If there is no such model, its file fails, or a parameter is not understood.
    """
    load = load_fitted if str(source).endswith(".nc") else load_program
    return load(source, **parameters)
