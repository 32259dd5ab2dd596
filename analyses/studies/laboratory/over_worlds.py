"""From cells to estimates: worlds are the units of replication, then the seeds of training in them.

Contexts are enumerated, so that a cell's population numbers have no error of their own. What was
drawn at random is the world and the first weights of the network; intervals are over these.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from concept_ppl.analyses import RESULT_COLUMNS, Estimate
from concept_ppl.analyses.designs.hierarchical import FEWEST_WORLDS
from concept_ppl.analyses.worlds.exact_fit import exact

WORLD, SEED = "world", "seed"
SHARE = re.compile(r"(^|\.)(r2|rho2)_|^(accuracy|agreement|control)")
"""Quantities of cells that are at most 1."""
LOSS = re.compile(r"^((untrained\.)?kl|kl\.share|gap\.squared)$")
"""Quantities of cells that are at least 0."""
LEFT = re.compile(r"^gap\.(target_)?share$")
"""Quantities of cells between 0 and 1."""
SETTINGS = {"knobs", "world", "training", "seed", "recovery", "agreement", "revision"}


def cell_frame(cells: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a row a cell: its knobs and seed, whether it was trained, and its answers."""
    rows = []
    for cell in cells:
        answers = {key: value for key, value in cell.items() if key not in SETTINGS}
        training = cell["training"] or {}
        rows.append(
            {
                **cell["knobs"],
                SEED: cell["seed"],
                "trained": bool(training),
                "architecture": training.get("architecture", ""),
                **answers,
            }
        )
    return pd.DataFrame(rows)


def pooled(
    frame: pd.DataFrame, quantity: str, level: float, units: Sequence[str] = (WORLD, SEED)
) -> Estimate:
    """Mean over worlds of means over seeds, with Student's interval over worlds.

    Of nested resampling, that of worlds alone is the one whose intervals cover as they should (see
    :func:`~concept_ppl.analyses.hierarchical_bootstrap`, ``within=False``), and for a mean its
    standard error is known: that of the means of the worlds. R², ρ² and accuracies, which 1 bounds,
    have theirs on the scale of log(1 − mean), by the delta method, as R² of one sample has; KL,
    which is not below 0, on that of log(mean), and gaps between 0 and 1 on their log-odds. There
    is no interval where there are fewer than five worlds; cells without a value are left out and
    not counted.

    Parameters
    ----------
    frame
        A row a cell.
    quantity
        Its column; a NaN estimate where there is none.
    level
        Of the interval.
    units
        Columns of the units, from the top down.
    """
    if quantity not in frame.columns:
        return replace(exact(math.nan, 0), ci_level=level)
    values = frame[quantity].to_numpy(np.float64)
    known = ~np.isnan(values)
    keys = list(zip(*(frame[unit].to_numpy()[known].tolist() for unit in units), strict=True))
    n_top, means = len({key[0] for key in keys}), _means_of_top(keys, values[known].tolist())
    if not n_top:
        return replace(exact(math.nan, 0), ci_level=level)
    estimate = float(np.mean(means))
    error, reach = math.nan, math.nan
    if n_top >= FEWEST_WORLDS:
        error = float(np.std(means, ddof=1)) / math.sqrt(n_top)
        reach = float(stats.t.ppf(0.5 + level / 2.0, n_top - 1)) * error
    ends = _ends(quantity, estimate, reach)
    return Estimate(estimate, error, *ends, level, math.nan, len(keys), n_top)


def _ends(quantity: str, estimate: float, reach: float) -> tuple[float, float]:
    """Return the ends of an interval, by the delta method on a scale that keeps it in bounds."""
    room = 1.0 - estimate
    if SHARE.search(quantity) and room > 0.0:
        return 1.0 - room * math.exp(reach / room), 1.0 - room * math.exp(-reach / room)
    if LOSS.search(quantity) and estimate > 0.0:
        return estimate * math.exp(-reach / estimate), estimate * math.exp(reach / estimate)
    if LEFT.search(quantity) and estimate > 0.0 and room > 0.0:
        odds, shift = estimate / room, math.exp(reach / (estimate * room))
        return odds / (odds + shift), odds * shift / (1.0 + odds * shift)
    return estimate - reach, estimate + reach


def _means_of_top(keys: Sequence[tuple[Any, ...]], values: Sequence[float]) -> list[float]:
    """Return the mean of each top unit, of the means of its children, down to the values."""
    while keys and keys[0]:
        within: dict[tuple[Any, ...], list[float]] = {}
        for key, value in zip(keys, values, strict=True):
            within.setdefault(key, []).append(value)
        values = [math.fsum(own) / len(own) for own in within.values()]
        keys = [key[:-1] for key in within]
    return list(values)


def groups(frame: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Yield the cells of each setting of some knobs, as they first appear, with the setting."""
    for values, group in frame.groupby(list(by), sort=False, dropna=False):
        assert isinstance(values, tuple)
        yield dict(zip(by, values, strict=True)), group


def pooled_rows(
    frame: pd.DataFrame,
    quantities: Iterable[str],
    by: Sequence[str],
    level: float,
    *,
    study: str,
    units: Sequence[str] = (WORLD, SEED),
) -> pd.DataFrame:
    """Return tidy results, a row for each quantity in each group; ``term`` names the group.

    The columns named in ``by`` stand beside the tidy ones, for figures; see `tidy`.
    """
    rows = []
    for knobs, group in groups(frame, by):
        for quantity in quantities:
            value = pooled(group, quantity, level, units)
            if math.isnan(value.estimate):
                continue
            rows.append(_row(study, quantity, term_of(knobs), value) | knobs)
    return pd.DataFrame(rows)


def row(study: str, quantity: str, term: str, value: Estimate) -> pd.DataFrame:
    """Return one estimate as a tidy table."""
    return pd.DataFrame([_row(study, quantity, term, value)])


def tidy(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the tidy columns of all rows, infinite ends left out."""
    whole = pd.concat([frame[list(RESULT_COLUMNS)] for frame in frames if len(frame)])
    return whole.replace([np.inf, -np.inf], np.nan).reset_index(drop=True)


def term_of(knobs: Mapping[str, Any]) -> str:
    """Name a group by its knobs: ``y_determinism=0.5, x_informativeness=0.25``."""
    return ", ".join(f"{name}={value}" for name, value in knobs.items())


def _row(study: str, quantity: str, term: str, value: Estimate) -> dict[str, Any]:
    return {
        "analysis": study,
        "quantity": quantity,
        "term": term,
        "layer": "",
        "control": "",
        "estimate": value.estimate,
        "std_error": value.std_error,
        "ci_low": value.ci_low,
        "ci_high": value.ci_high,
        "ci_level": value.ci_level,
        "p_value": value.p_value,
        "n": value.n,
        "n_clusters": value.n_clusters,
    }
