"""Would the fitted model have produced data like these? Token statistics against replicates.

A statistic of the observed tokens is ranked among the same statistic of replicated data sets
(Rubin 1984, https://doi.org/10.1214/aos/1176346785; Gelman, Meng and Stern 1996). The data were
used to fit, so that p-values are conservative: a small one is a misfit, a large one is no proof.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from concept_ppl.analyses.designs.arrays import FloatArray, IntArray, check_level
from concept_ppl.analyses.results.figures import INK, Panel
from concept_ppl.analyses.results.hypotheses import HypothesisTest, bootstrap_test
from concept_ppl.analyses.results.multiplicity import benjamini_hochberg
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row
from concept_ppl.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

N_PAIRED = 30
"""Tokens whose pairs are counted: the most frequent."""
FEWEST_REPLICATES = 20


@dataclass(frozen=True, slots=True, eq=False)
class PredictiveCheck(Result):
    """One family of statistics beside its replicates.

    Attributes
    ----------
    name
        Of the family.
    terms
        Of its k statistics.
    observed
        (k,) as observed.
    expected, low, high
        (k,) mean of the replicates, and the interval that ``level`` of them lie in.
    p_values
        (k,) two-sided, each for itself.
    test
        Of the family as a whole: Σ (statistic − mean)² / variance, ranked among the replicates'
        own.
    level
        Of the intervals.
    n
        Contexts.
    """

    name: str
    terms: tuple[str, ...]
    observed: FloatArray
    expected: FloatArray
    low: FloatArray
    high: FloatArray
    p_values: FloatArray
    test: HypothesisTest
    level: float
    n: int

    @property
    def title(self) -> str:
        """Say what was asked."""
        return "Posterior predictive check"

    def rows(self) -> list[Row]:
        """Return the rows of :meth:`tidy`."""
        analysis = "predictive_check"
        whole = self.test.as_row(
            analysis, self.name, "all", n=self.n, n_clusters=self.n, level=self.level
        )
        columns = zip(self.terms, self.observed, self.low, self.high, self.p_values, strict=True)
        return [
            whole,
            *(
                Row(
                    analysis,
                    self.name,
                    term,
                    Estimate(float(o), math.nan, float(a), float(b), self.level, float(p), n, n),
                )
                for n in (self.n,)
                for term, o, a, b, p in columns
            ),
        ]

    def panel(self) -> Panel:
        """Draw observed statistics over the ranges of the replicates, in order of the expected."""
        return Panel(6.4, 3.2, self._draw)

    def _draw(self, axes: "Axes") -> None:
        order = np.argsort(self.expected, kind="stable")
        places = np.arange(len(order))
        axes.vlines(places, self.low[order], self.high[order], color="0.7", lw=2.5)
        axes.plot(places, self.observed[order], "o", color=INK, ms=3.5)
        if len(order) <= 12:
            axes.set_xticks(places, [self.terms[i] for i in order])
        else:
            axes.set_xlabel("statistics, in the order of their expectation")
        axes.set_ylabel(self.name)
        axes.spines[["top", "right"]].set_visible(False)

    @property
    def headline(self) -> str:
        """Return the test of the family, and the statistics that stand out."""
        table = self.tidy().iloc[1:]
        found = benjamini_hochberg(table)
        outside = found[found["p_value"] < 1 - self.level]["term"].tolist()
        shown = ", ".join(outside[:5]) + (", …" if len(outside) > 5 else "")
        text = f"{self.name}: {self.test}"
        return f"{text}; {len(outside)} of {len(table)} stand out: {shown}" if outside else text

    def lines(self) -> tuple[str, ...]:
        """Return none: the headline says all."""
        return ()


def predictive_check(
    observed: npt.ArrayLike,
    replicated: npt.ArrayLike,
    name: str,
    terms: Sequence[str],
    *,
    n: int,
    level: float = 0.95,
) -> PredictiveCheck:
    """Rank observed statistics among replicated ones.

    Observed and replicated data sets are exchangeable if the model is right, and every p-value
    treats them alike: means and variances are those of all R + 1 data sets.

    Parameters
    ----------
    observed, replicated
        (k,) and (R, k).
    name, terms
        Of the family and of its members.
    n
        Number of contexts behind them.
    level
        Of the ranges.
    """
    own, others = np.asarray(observed, np.float64), np.asarray(replicated, np.float64)
    check_level(level)
    if others.ndim != 2 or others.shape[1:] != own.shape or len(terms) != len(own) or not len(own):
        raise InputError(
            f"observed statistics have shape {own.shape}, replicated ones {others.shape}, for "
            f"{len(terms)} terms; they must be (k,), (R, k) and k."
        )
    if len(others) < FEWEST_REPLICATES:
        raise InputError(
            f"{len(others)} replicates cannot rank anything; draw at least {FEWEST_REPLICATES}."
        )
    everything = np.vstack([own, others])
    centre, spread = everything.mean(axis=0), everything.std(axis=0, ddof=1)
    moves = spread > 0
    scores = np.zeros_like(everything)
    scores[:, moves] = (everything[:, moves] - centre[moves]) / spread[moves]
    distance = (scores**2).sum(axis=1)
    above = (others >= own).sum(axis=0)
    below = (others <= own).sum(axis=0)
    one_sided = (1 + np.minimum(above, below)) / (1 + len(others))
    low, high = _range(others, level)
    test = bootstrap_test(
        "the fitted model produces data like these",
        float(distance[0]),
        float((distance >= distance[0]).mean()),
        float(moves.sum()),
    )
    return PredictiveCheck(
        name,
        tuple(terms),
        own,
        others.mean(axis=0),
        low,
        high,
        np.minimum(2 * one_sided, 1.0),
        test,
        level,
        n,
    )


def _range(others: FloatArray, level: float) -> tuple[FloatArray, FloatArray]:
    """Return the replicates' range, (m,) each; of counts, counts that at least ``level`` lie in."""
    are_counts = bool((others == np.round(others)).all())
    low, high = ("lower", "higher") if are_counts else ("linear", "linear")
    return (
        np.quantile(others, (1 - level) / 2, axis=0, method=low),  # type: ignore[call-overload]
        np.quantile(others, (1 + level) / 2, axis=0, method=high),  # type: ignore[call-overload]
    )


def token_checks(
    tokens: IntArray,
    replicated: IntArray,
    lengths: IntArray,
    *,
    labels: Sequence[str] | None = None,
    level: float = 0.95,
) -> tuple[PredictiveCheck, ...]:
    """Check frequencies of tokens, of pairs in one context, and repetition by length.

    A mixture of the wrong components can have every frequency right and the pairs wrong: which
    tokens go together is what components explain. How many different tokens a context has, by its
    length, tells burstiness that independent tokens do not have.

    Parameters
    ----------
    tokens
        (sum of lengths,) context after context, −1 where unobserved.
    replicated
        (R, sum of lengths), the same positions unobserved.
    lengths
        (n,) of the contexts.
    labels
        Names of the tokens.
    level
        Of the ranges.
    """
    n_values = int(max(tokens.max(initial=0), replicated.max(initial=0))) + 1
    names = [str(i) for i in range(n_values)] if labels is None else list(labels)
    counts = token_counts(tokens, n_values)
    often = np.argsort(-counts, kind="stable")[:N_PAIRED]
    often = np.sort(often[counts[often] > 0])
    first, second = np.triu_indices(len(often), 1)
    groups = np.unique(lengths[lengths >= 2])
    families: list[tuple[str, Callable[[IntArray], FloatArray], Sequence[str]]] = [
        ("token frequency", lambda own: token_counts(own, n_values), names[:n_values]),
        (
            "contexts with a pair of tokens",
            lambda own: pair_counts(own, lengths, often)[first, second],
            [f"{names[often[i]]} + {names[often[j]]}" for i, j in zip(first, second, strict=True)],
        ),
        (
            "mean number of different tokens",
            lambda own: mean_distinct(own, lengths, groups),
            [f"{length} tokens" for length in groups],
        ),
    ]
    return tuple(
        predictive_check(
            statistic(tokens),
            np.stack([statistic(own) for own in replicated]),
            name,
            terms,
            n=len(lengths),
            level=level,
        )
        for name, statistic, terms in families
        if len(terms)
    )


def token_counts(tokens: IntArray, n_values: int) -> FloatArray:
    """Count each token, (n_values,)."""
    return np.bincount(tokens[tokens >= 0], minlength=n_values).astype(np.float64)


def pair_counts(tokens: IntArray, lengths: IntArray, chosen: IntArray) -> FloatArray:
    """Count the contexts that hold both of two tokens, (k, k) for k chosen ones."""
    context = np.repeat(np.arange(len(lengths)), lengths)
    place = np.full(int(max(tokens.max(initial=0), chosen.max(initial=0))) + 2, -1)
    place[chosen] = np.arange(len(chosen))
    column = place[tokens]  # an unobserved token, −1, takes the last place, which is −1
    kept = column >= 0
    holds = np.zeros((len(lengths), len(chosen)), np.float32)
    holds[context[kept], column[kept]] = 1
    return (holds.T @ holds).astype(np.float64)


def mean_distinct(tokens: IntArray, lengths: IntArray, groups: IntArray) -> FloatArray:
    """Average the number of different observed tokens over contexts of each length, (k,)."""
    context = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((tokens, context))
    own, value = context[order], tokens[order]
    is_new = np.ones(len(own), bool)
    is_new[1:] = (own[1:] != own[:-1]) | (value[1:] != value[:-1])
    distinct = np.bincount(own[is_new & (value >= 0)], minlength=len(lengths))
    return np.array([distinct[lengths == length].mean() for length in groups])
