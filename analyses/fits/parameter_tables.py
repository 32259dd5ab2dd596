"""What are a fitted model's parameters, how sure are they, and do the chains agree on them?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from concept_ppl.analyses.designs.arrays import FloatArray, check_level
from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row, result_frame
from concept_ppl.errors import InputError

from .convergence import effective_draws, r_hat

HIGHEST_R_HAT = 1.01
"""Above it chains have not agreed (Vehtari et al. 2021, https://doi.org/10.1214/20-BA1221)."""
FEWEST_EFFECTIVE = 100
"""Effective draws a chain below which quantiles are too noisy to report; the same source."""
MOST_LINES = 40


@dataclass(frozen=True, slots=True, eq=False)
class ParameterEstimates(Result):
    """A row for each number.

    Attributes
    ----------
    table
        Columns ``parameter, index, estimate, std_error, ci_low, ci_high, ci_level``, and for a
        posterior ``r_hat, ess_bulk, ess_tail`` (NaN for a number that does not move).
    level
        Of the intervals.
    n
        Contexts.
    n_chains
        Chains; 0 for a fit that is a point.
    """

    table: pd.DataFrame
    level: float
    n: int
    n_chains: int

    @property
    def has_converged(self) -> bool:
        """Whether all chains agree on every number and hold enough draws of it."""
        moving = self.table.dropna(subset=["r_hat"])
        enough = FEWEST_EFFECTIVE * self.n_chains
        return bool(
            (moving["r_hat"] <= HIGHEST_R_HAT).all()
            and (moving[["ess_bulk", "ess_tail"]] >= enough).all(axis=None)
        )

    @property
    def title(self) -> str:
        """Say what was asked."""
        return "Parameters"

    def rows(self) -> list[Row]:
        """Return the estimates as rows of a tidy table of results."""
        names = ["parameter", "index", "estimate", "std_error", "ci_low", "ci_high"]
        return [
            Row(
                "parameter_estimates",
                str(parameter),
                str(index),
                Estimate(value, error, low, high, self.level, math.nan, self.n, self.n),
            )
            for parameter, index, value, error, low, high in self.table[names].itertuples(
                index=False
            )
        ]

    def panel(self) -> Panel:
        """Draw the first numbers with their intervals."""
        rows = self.rows()[:MOST_LINES]
        entries = [(f"{row.quantity}[{row.term}]", row.value) for row in rows]
        return forest(entries, "value")

    def tidy(self) -> pd.DataFrame:
        """Return the table."""
        return self.table.copy()

    def printed(self) -> pd.DataFrame:
        """Return estimates and intervals in the columns of all other tables."""
        return result_frame(self.rows())

    def lines(self) -> list[str]:
        """Return the estimates, and whether the chains have converged."""
        shown = self.table.head(MOST_LINES).to_string(
            index=False, float_format=lambda v: f"{v:.4g}"
        )
        lines = [shown]
        if len(self.table) > MOST_LINES:
            lines.append(f"… and {len(self.table) - MOST_LINES:,} more.")
        if self.n_chains:
            worst, fewest = self.table["r_hat"].max(), self.table["ess_bulk"].min()
            verdict = "agree" if self.has_converged else "do not agree yet; draw more"
            chains = "1 chain, split," if self.n_chains == 1 else f"{self.n_chains} chains"
            lines.append(
                f"{chains} {verdict}: R-hat at most {worst:.3f}, effective draws at least "
                f"{fewest:,.0f}."
            )
        return lines


def parameter_estimates(
    draws: Mapping[str, FloatArray],
    standard_errors: Mapping[str, FloatArray] | None = None,
    *,
    n: int,
    level: float = 0.95,
) -> ParameterEstimates:
    """Tabulate parameters with standard errors, intervals and the health of their chains.

    Parameters
    ----------
    draws
        (chains, draws, …) of each parameter, labels matched; one chain of one draw for a point.
    standard_errors
        (…) of each parameter of a point, NaN or absent where there is none. Intervals of rows of
        probabilities are then normal on the scale of their log-odds, so that they stay inside
        (0, 1); those of a posterior lie between order statistics of its draws, which hold the truth
        as often as they say with few draws too.
    n
        Number of contexts.
    level
        Of the intervals.

    Raises
    ------
    InputError
        If there is no parameter or the level is no probability.
    """
    check_level(level)
    if not draws:
        raise InputError("there are no parameters to tabulate.")
    is_point = all(values.shape[:2] == (1, 1) for values in draws.values())
    n_chains = 0 if is_point else next(iter(draws.values())).shape[0]
    parts = []
    for name, values in draws.items():
        if is_point:
            point = values[0, 0]
            columns = _point(point, (standard_errors or {}).get(name), level)
        else:
            columns = _posterior(values, level)
        index = [",".join(map(str, place)) for place in np.ndindex(values.shape[2:])]
        flat = {key: np.asarray(column, np.float64).ravel() for key, column in columns.items()}
        parts.append(pd.DataFrame({"parameter": name, "index": index, **flat}))
    table = pd.concat(parts, ignore_index=True)
    table.insert(6, "ci_level", level)
    return ParameterEstimates(table, level, n, n_chains)


def _point(point: FloatArray, error: FloatArray | None, level: float) -> dict[str, FloatArray]:
    missing = np.full(point.shape, np.nan)
    error = missing if error is None else np.asarray(error, np.float64)
    z = float(special.ndtri((1 + level) / 2))
    low, high = point - z * error, point + z * error
    if _are_probabilities(point):
        with np.errstate(divide="ignore", invalid="ignore"):
            centre, half = np.log(point) - np.log1p(-point), z * error / (point * (1 - point))
            low, high = (special.expit(centre + side) for side in (-half, half))
    return {
        "estimate": point,
        "std_error": error,
        "ci_low": low,
        "ci_high": high,
        "r_hat": missing,
        "ess_bulk": missing,
        "ess_tail": missing,
    }


def _posterior(values: FloatArray, level: float) -> dict[str, FloatArray]:
    flat = values.reshape(-1, *values.shape[2:])
    # Between order statistics i and j of n draws lies the truth with probability (j − i) / (n + 1).
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(flat, ends, axis=0, method="weibull")
    return {
        "estimate": flat.mean(axis=0),
        "std_error": flat.std(axis=0, ddof=1),
        "ci_low": low,
        "ci_high": high,
        "r_hat": r_hat(values),
        "ess_bulk": effective_draws(values, "bulk"),
        "ess_tail": effective_draws(values, "tail"),
    }


def _are_probabilities(values: FloatArray) -> bool:
    return bool(
        values.ndim and (values >= 0).all() and np.allclose(values.sum(axis=-1), 1, atol=1e-9)
    )
