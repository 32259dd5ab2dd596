"""A fit as ArviZ's InferenceData, from plain arrays, so that the Bayesian ecosystem reads it.

ArviZ 1 has xarray's DataTree in place of InferenceData; the groups are the same.
"""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from concept_ppl.arviz_import import inference_data
from concept_ppl.contexts.tokens import Contexts
from concept_ppl.errors import InputError
from concept_ppl.reports.manifest import plain

from .fits import Fit
from .observations import Observations

LIBRARIES = ("concept-ppl", "torch", "pyro-ppl", "numpy", "arviz")
FORMAT = 1
"""Of the attributes and groups; an older version refuses what it could misread."""
DRAWS = ("chain", "draw")
SCALARS = ("n_parameters", "n_contexts", "n_tokens", "converged")
OF_FIT = ("method", "model", "build", "options", "warnings", *SCALARS)
_ATTRIBUTES = (*OF_FIT, "format", "observed_digest", "program_digest", "versions")


def to_inference_data(
    fit: Fit,
    observed: Observations,
    *,
    replicates: Mapping[str, np.ndarray[Any, Any]] | None = None,
    program_digest: str = "",
) -> Any:
    """Put a fit and what it has seen into what ArviZ reads.

    Parameters
    ----------
    fit
        Of any method; a point is one chain of one draw.
    observed
        What was fitted.
    replicates
        Data sets from the posterior predictive distribution, shape (n_replicates, …) each, as
        :func:`~concept_ppl.fitting.fits.replicates.replicate` draws them.
    program_digest
        Of the model's file, so that another program is not taken for it.

    Returns
    -------
    arviz.InferenceData, or xarray.DataTree where ArviZ is 1.x
        ``posterior``: the draws with matched labels. ``sample_stats``: also ``log_evidence`` and,
        for each concept whose values may swap names, ``match.<concept>``, the draw's own value that
        plays the part of each value. ``log_likelihood``: ``log_p``, of everything that was observed
        of a context, its weight left aside. ``observed_data`` and ``posterior_predictive``: tokens
        ``x``, context after context, and next tokens. ``constant_data``: lengths, weights, known
        values. ``record``: standard errors, histories, what was adapted. The attributes, JSON each,
        say how the fit was made.
    """
    groups = {
        "posterior": _by_draw(fit.matched),
        "sample_stats": _by_draw(_stats(fit)),
        "observed_data": _observed(observed, ()),
        "constant_data": _constant(observed),
        "record": _record(fit),
    }
    if fit.log_likelihood is not None:
        log_p = xr.DataArray(fit.log_likelihood, dims=(*DRAWS, "context"))
        groups["log_likelihood"] = _numbered(xr.Dataset({"log_p": log_p}))
    if replicates:
        drawn = {name: rows[None] for name, rows in replicates.items()}
        groups["posterior_predictive"] = _numbered(_tokens(drawn, DRAWS))
    data = inference_data(groups)
    data.attrs.update(_attributes(fit, observed, program_digest))
    return data


def fit_of(groups: Mapping[str, xr.Dataset], attributes: Mapping[str, Any]) -> Fit:
    """Return the fit behind the groups and attributes that :func:`to_inference_data` made."""
    told = _arrays(groups["sample_stats"])
    matches = _under(told, "match")
    stats = {name: values for name, values in told.items() if not name.startswith("match.")}
    matched = _arrays(groups["posterior"])
    record = _arrays(groups["record"])
    log_evidence = stats.pop("log_evidence")
    likelihood = groups.get("log_likelihood")
    return Fit(
        method=attributes["method"],
        model=attributes["model"],
        build=attributes["build"],
        options=attributes["options"],
        shapes={name: draws.shape[2:] for name, draws in matched.items()},
        draws=_under(record, "draws") or matched,
        matches=matches,
        matched=matched,
        sample_stats=stats,
        log_likelihood=None if likelihood is None else likelihood["log_p"].to_numpy(),
        log_evidence=log_evidence,
        weights=_arrays(groups["constant_data"]).get("weight"),
        history=tuple(_under(record, "history").values()),
        restarts=record["restarts"],
        standard_errors=_under(record, "std_error"),
        warmup=_under(record, "warmup"),
        warnings=tuple(attributes["warnings"]),
        **{name: attributes[name] for name in SCALARS},
    )


def observations_of(groups: Mapping[str, xr.Dataset]) -> Observations:
    """Return what the fit behind these groups has seen."""
    observed, constant = _arrays(groups["observed_data"]), _arrays(groups["constant_data"])
    contexts = Contexts(observed.pop("x"), constant["length"])
    return Observations(contexts, observed, _under(constant, "given"), constant.get("weight"))


def _stats(fit: Fit) -> dict[str, Any]:
    matches = {f"match.{name}": match for name, match in fit.matches.items()}
    return {**fit.sample_stats, "log_evidence": fit.log_evidence, **matches}


def _by_draw(arrays: Mapping[str, Any]) -> xr.Dataset:
    return _numbered(
        xr.Dataset({name: _array(name, values, DRAWS) for name, values in arrays.items()})
    )


def _numbered(dataset: xr.Dataset) -> xr.Dataset:
    return dataset.assign_coords({name: np.arange(dataset.sizes[name]) for name in DRAWS})


def _array(name: str, values: Any, leading: Sequence[str] = ()) -> xr.DataArray:
    array = np.asarray(values)
    own = [f"{name}_dim_{axis}" for axis in range(array.ndim - len(leading))]
    return xr.DataArray(array, dims=(*leading, *own))


def _tokens(arrays: Mapping[str, Any], leading: Sequence[str]) -> xr.Dataset:
    return xr.Dataset(
        {
            name: xr.DataArray(values, dims=(*leading, "token" if name == "x" else "context"))
            for name, values in arrays.items()
        }
    )


def _observed(observed: Observations, leading: Sequence[str]) -> xr.Dataset:
    return _tokens({"x": observed.contexts.tokens, **observed.next_tokens}, leading)


def _constant(observed: Observations) -> xr.Dataset:
    columns: dict[str, Any] = {"length": observed.contexts.lengths}
    columns |= {f"given.{name}": index for name, index in observed.given.items()}
    if observed.weights is not None:
        columns["weight"] = observed.weights
    return xr.Dataset({name: ("context", values) for name, values in columns.items()})


def _record(fit: Fit) -> xr.Dataset:
    """Keep what has no place in ArviZ's groups; the draws as drawn only where labels moved."""
    columns: dict[str, Any] = {"restarts": fit.restarts}
    columns |= {f"std_error.{name}": values for name, values in fit.standard_errors.items()}
    columns |= {f"history.{i:04d}": values for i, values in enumerate(fit.history)}
    columns |= {f"warmup.{name}": values for name, values in fit.warmup.items()}
    if any(fit.switched.values()):
        columns |= {f"draws.{name}": values for name, values in fit.draws.items()}
    return xr.Dataset({name: _array(name, values) for name, values in columns.items()})


def _under(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    found = {name: values for name, values in arrays.items() if name.startswith(f"{prefix}.")}
    return {name.removeprefix(f"{prefix}."): values for name, values in found.items()}


def _arrays(dataset: xr.Dataset) -> dict[str, Any]:
    return {str(name): column.to_numpy() for name, column in dataset.data_vars.items()}


def _attributes(fit: Fit, observed: Observations, program_digest: str) -> dict[str, str]:
    told = {name: getattr(fit, name) for name in OF_FIT}
    told |= {
        "format": FORMAT,
        "observed_digest": observed.digest,
        "program_digest": program_digest,
        "versions": {library: version(library) for library in LIBRARIES},
    }
    return {
        name: json.dumps(plain(value), ensure_ascii=False, allow_nan=False)
        for name, value in told.items()
    }


def read_attributes(written: Mapping[str, Any], path: object) -> dict[str, Any]:
    """Read the attributes of a file, and refuse one that is no fit or of a newer version."""
    if "format" not in written or "observed_digest" not in written:
        raise InputError(f"{path} is no fit; name a file that `concept-ppl fit` wrote.")
    if json.loads(written["format"]) > FORMAT:
        raise InputError(f"{path} was written by a newer version of concept-ppl; install that one.")
    return {name: json.loads(text) for name, text in written.items() if name in _ATTRIBUTES}
