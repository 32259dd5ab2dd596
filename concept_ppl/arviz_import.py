"""ArviZ when it is first needed, and what differs between its 0.x and its 1.x.

Importing it takes two seconds, and 0.23 warns of its next version. ArviZ 1 has xarray's DataTree
in place of InferenceData, and keeps the smoothing of importance weights among its functions of
plain arrays.
"""

import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.float64]


def arviz() -> Any:
    """Import ArviZ without its notice."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return import_module("arviz")


def has_data_trees(library: Any) -> bool:
    """Whether this ArviZ is 1.x; asking it for ``InferenceData`` answers with its DataTree."""
    return int(library.__version__.partition(".")[0]) >= 1


def inference_data(groups: "Mapping[str, xr.Dataset]") -> Any:
    """Put groups together: an ``InferenceData`` of ArviZ 0.x, an ``xarray.DataTree`` for 1.x."""
    library = arviz()
    if has_data_trees(library):
        return import_module("xarray").DataTree.from_dict(dict(groups))
    return library.InferenceData(**groups, warn_on_custom_groups=False)


def smoothed_log_weights(log_likelihood: Array, relative_efficiency: float) -> tuple[Array, Array]:
    """Smooth the tail of the importance weights 1 / p(context | draw).

    Pareto-smoothed importance sampling, Vehtari et al. 2024, https://jmlr.org/papers/v25/19-556.html.

    Parameters
    ----------
    log_likelihood
        (n_contexts, n_draws), in nats.
    relative_efficiency
        Effective over nominal number of draws.

    Returns
    -------
    log_weights : float64 array, shape (n_contexts, n_draws)
        Each row's weights add up to one.
    pareto_k : float64 array, shape (n_contexts,)
    """
    library = arviz()
    if has_data_trees(library):
        of_arrays = import_module("arviz_stats.base").array_stats
        weights, k = of_arrays.psislw(log_likelihood, r_eff=relative_efficiency)
    else:
        weights, k = library.psislw(-log_likelihood, relative_efficiency)
    return np.asarray(weights), np.asarray(k)
