"""What was tested, how did it come out, or why can it not be tested: one test as an object."""

import math
from dataclasses import dataclass
from typing import Literal

from scipy import special

from concept_ppl.errors import InputError
from concept_ppl.formatting import p_value

from .rows import Estimate, Row

Distribution = Literal["F", "chi2", "t", "bootstrap", "none"]

MISSING = math.nan


@dataclass(frozen=True, slots=True)
class HypothesisTest:
    """A null hypothesis, the statistic that speaks of it, and its tail probability.

    Attributes
    ----------
    null
        In words.
    statistic
        NaN where the test is invalid.
    distribution
        Of the statistic under the null: ``F``, ``chi2``, ``t``, ``bootstrap`` (of its own resampled
        values), or ``none`` where the test is invalid.
    df_num, df_denom
        Degrees of freedom of numerator and denominator; NaN where the distribution has none. A
        ``t`` has its degrees of freedom in ``df_denom``.
    p_value
        Probability of a statistic at least as extreme under the null (two-sided for ``t``); NaN
        where the test is invalid.
    invalid_because
        Why there is no p-value; empty for a valid test.
    """

    null: str
    statistic: float
    distribution: Distribution
    df_num: float
    df_denom: float
    p_value: float
    invalid_because: str = ""

    def __post_init__(self) -> None:
        if math.isnan(self.p_value) != bool(self.invalid_because):
            raise InputError(
                f"The test of '{self.null}' must have either a p-value or the reason why not; "
                f"p_value is {self.p_value}, invalid_because is '{self.invalid_because}'."
            )

    @property
    def is_valid(self) -> bool:
        """Whether there is a p-value."""
        return not self.invalid_because

    def __str__(self) -> str:
        """Print the test, or why it is invalid, on one line."""
        if self.invalid_because:
            return f"invalid because {self.invalid_because}; null: {self.null}"
        tail = p_value(self.p_value, symbol=True)
        if self.distribution == "bootstrap":
            return f"statistic {self.statistic:.4g}, {tail} by resampling; null: {self.null}"
        known = ", ".join(f"{df:g}" for df in (self.df_num, self.df_denom) if not math.isnan(df))
        return f"{self.distribution}({known}) = {self.statistic:.4g}, {tail}; null: {self.null}"

    def as_row(
        self,
        analysis: str,
        quantity: str,
        term: str,
        *,
        n: int,
        n_clusters: int,
        level: float = MISSING,
        layer: str = "",
        control: str = "",
    ) -> Row:
        """Put the statistic and its p-value into a row of a tidy table; it has no interval.

        Parameters
        ----------
        analysis, quantity, term, layer, control
            Labels of the row.
        n, n_clusters
            Rows and independent units behind the test.
        level
            Confidence level of the other rows of the table.
        """
        value = Estimate(
            self.statistic, MISSING, MISSING, MISSING, level, self.p_value, n, n_clusters
        )
        return Row(analysis, quantity, term, value, layer, control)


def f_test(null: str, statistic: float, df_num: float, df_denom: float) -> HypothesisTest:
    """Test by an F statistic; large values speak against the null.

    A statistic that is not finite, or degrees of freedom that are not positive, make it invalid.
    """
    broken = _not_a_statistic(statistic, df_num, df_denom)
    if broken:
        return invalid(null, broken)
    p_value = float(special.fdtrc(df_num, df_denom, max(statistic, 0.0)))
    return HypothesisTest(null, float(statistic), "F", float(df_num), float(df_denom), p_value)


def chi2_test(null: str, statistic: float, df: float) -> HypothesisTest:
    """Test by a χ² statistic; large values speak against the null. Invalid as in `f_test`."""
    broken = _not_a_statistic(statistic, df)
    if broken:
        return invalid(null, broken)
    p_value = float(special.chdtrc(df, max(statistic, 0.0)))
    return HypothesisTest(null, float(statistic), "chi2", float(df), MISSING, p_value)


def t_test(null: str, statistic: float, df: float) -> HypothesisTest:
    """Test by Student's t, two-sided. Invalid as in `f_test`."""
    broken = _not_a_statistic(statistic, df)
    if broken:
        return invalid(null, broken)
    p_value = 2.0 * float(special.stdtr(df, -abs(statistic)))
    return HypothesisTest(null, float(statistic), "t", MISSING, float(df), p_value)


def bootstrap_test(
    null: str, statistic: float, p_value: float, df_num: float = MISSING
) -> HypothesisTest:
    """Test by a statistic whose null distribution was resampled.

    Parameters
    ----------
    null, statistic, p_value
        In words; as observed; the share of resampled statistics that are at least as extreme.
    df_num
        Number of restrictions that are tested together.
    """
    broken = _not_a_statistic(statistic)
    if broken:
        return invalid(null, broken)
    return HypothesisTest(
        null, float(statistic), "bootstrap", float(df_num), MISSING, float(p_value)
    )


def invalid(null: str, because: str) -> HypothesisTest:
    """Return a test that cannot be made, with the reason in words."""
    return HypothesisTest(null, MISSING, "none", MISSING, MISSING, MISSING, because)


def _not_a_statistic(statistic: float, *degrees: float) -> str:
    if math.isnan(statistic):
        return "the statistic is not a number"
    bad = [df for df in degrees if not df > 0]
    return f"it has {bad[0]:g} degrees of freedom" if bad else ""
