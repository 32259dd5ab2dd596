"""What does each contrast cost in canonical directions: one robust regression table a contrast."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from concept_ppl.analyses.agreement.canonical import decoded_directions
from concept_ppl.analyses.designs.arrays import FloatArray, IntArray, check_level
from concept_ppl.analyses.designs.decomposition import States, as_decomposed
from concept_ppl.analyses.designs.design import Design
from concept_ppl.analyses.designs.repeats import contrasts_beside
from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.hypotheses import HypothesisTest, f_test
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row
from concept_ppl.errors import InputError

REPEAT_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class ContrastTable:
    """Regression of one contrast on the held-out canonical directions of the states.

    Attributes
    ----------
    contrast
        Its name.
    coefficients
        Name and estimate of the intercept and of each slope, in the unit of the contrast for one
        standard deviation of the canonical variate that the direction predicts; p-values
        two-sided, of zero.
    wald
        Joint test of the slopes.
    r_squared
        Of this regression; for an honest R² of the map see `goodness_of_fit`.
    text
        The table as statsmodels prints it.
    """

    contrast: str
    coefficients: tuple[tuple[str, Estimate], ...]
    wald: HypothesisTest
    r_squared: float
    text: str


@dataclass(frozen=True, slots=True)
class ContrastTables(Result):
    """One table a contrast.

    Attributes
    ----------
    tables
        In the order of the columns of Z.
    covariance
        ``HC3``, or ``cluster`` where rows of a cluster differ.
    target, layer
        Labels that the caller gave.
    """

    tables: tuple[ContrastTable, ...]
    covariance: str
    target: str
    layer: str

    @property
    def title(self) -> str:
        """Say what was asked."""
        return f"Contrasts of {self.target} on held-out canonical directions ({self.covariance})"

    def rows(self) -> Iterator[Row]:
        """One row a coefficient, `target:contrast:coefficient`, and one a Wald statistic."""
        name = "contrast_tables"
        for table in self.tables:
            term = f"{self.target}:{table.contrast}"
            for coefficient, value in table.coefficients:
                yield Row(name, "coefficient", f"{term}:{coefficient}", value, self.layer)
            first = table.coefficients[0][1]
            yield table.wald.as_row(
                name,
                "wald_f",
                term,
                n=first.n,
                n_clusters=first.n_clusters,
                level=first.ci_level,
                layer=self.layer,
            )

    def panel(self) -> Panel:
        """Forest plot of all slopes."""
        entries = [
            (f"{table.contrast}: {name}", value)
            for table in self.tables
            for name, value in table.coefficients[1:]
        ]
        return forest(entries, f"slope ({self.covariance})")

    def lines(self) -> list[str]:
        """All tables as statsmodels prints them, each with its joint test."""
        return [f"\n{table.text}\nJoint test: {table.wald}" for table in self.tables]


def contrast_tables(
    F: States,
    Z: npt.ArrayLike,
    *,
    n_directions: int | None = None,
    weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
    target: str = "log_odds",
    layer: str = "",
    n_folds: int = 5,
    seed: int = 0,
    level: float = 0.95,
) -> ContrastTables:
    """Regress each contrast on the leading held-out canonical directions of the states.

    Directions are held-out predictions, so that the regressors of a row have not seen its contrast;
    their own estimation error is not in the intervals. Where all rows of a cluster are equal, as
    repeats of a context are, the regression is WLS on one row a cluster, weighted by its count (or
    total weight), with HC3 (MacKinnon and White 1985,
    https://doi.org/10.1016/0304-4076(85)90158-7); otherwise rows are kept and the covariance is
    clustered. Student's t and F.

    Parameters
    ----------
    F
        (n, d) states, or the result of `decompose_states`, whose design is then used.
    Z
        (n, q) contrasts.
    n_directions
        How many directions, 1 … q; all by default.
    weights, clusters, names, target, layer, n_folds, seed, level
        As in `goodness_of_fit`.

    Raises
    ------
    InputError
        As `canonical_correlations`, if n_directions is out of range, or if there are no more
        clusters than coefficients.
    """
    check_level(level)
    states = as_decomposed(F, weights, clusters, n_folds, seed)
    design = states.design
    contrasts, labels = contrasts_beside(states, Z, names)
    count = contrasts.shape[1] if n_directions is None else n_directions
    if not 1 <= count <= contrasts.shape[1]:
        raise InputError(f"n_directions is {count}; it must lie in 1 … {contrasts.shape[1]}.")
    if design.n_clusters <= count + 1:
        raise InputError(
            f"{design.n_clusters} clusters are too few for {count + 1} coefficients; "
            "ask for fewer directions."
        )
    scores = decoded_directions(states, contrasts)[:, :count]
    first = _first_rows(design)
    repeated = _repeats(states.F, design) and _repeats(contrasts, design)
    if repeated:
        mass = design.cluster_sums(np.ones(design.n))
        X, Y, groups = scores[first], contrasts[first], None
    else:
        X, Y, mass, groups = scores, contrasts, design.weights, design.clusters
    tables = tuple(
        _table(label, Y[:, i], X, mass, groups, design, level) for i, label in enumerate(labels)
    )
    return ContrastTables(tables, "HC3" if repeated else "cluster", target, layer)


def _repeats(values: FloatArray, design: Design) -> bool:
    """Whether rows of a cluster agree, up to what batched kernels leave of the same context."""
    gap = np.abs(values - values[_first_rows(design)][design.clusters]).max()
    return bool(gap <= REPEAT_TOLERANCE * np.sqrt(np.square(values).mean()))


def _first_rows(design: Design) -> IntArray:
    """Index of the first row of each cluster, (n_clusters,)."""
    _, first = np.unique(design.clusters, return_index=True)
    return first.astype(np.int64)


def _table(
    contrast: str,
    y: FloatArray,
    X: FloatArray,
    mass: FloatArray,
    groups: IntArray | None,
    design: Design,
    level: float,
) -> ContrastTable:
    import statsmodels.api as sm

    terms = ["const", *(f"direction_{i + 1}" for i in range(X.shape[1]))]
    regressors = pd.DataFrame(np.column_stack([np.ones(len(X)), X]), columns=terms)
    model = sm.WLS(pd.Series(y, name=contrast), regressors, weights=mass)
    if groups is None:
        fit = model.fit(cov_type="HC3", use_t=True)
    else:
        fit = model.fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    ends = np.asarray(fit.conf_int(alpha=1.0 - level))
    numbers = zip(terms, fit.params, fit.bse, ends, fit.pvalues, strict=True)
    coefficients = tuple(
        (
            term,
            Estimate(
                float(value),
                float(error),
                float(low),
                float(high),
                level,
                float(p_value),
                design.n,
                design.n_clusters,
            ),
        )
        for term, value, error, (low, high), p_value in numbers
    )
    slopes = np.eye(len(terms))[1:]
    test = fit.wald_test(slopes, use_f=True, scalar=True)
    wald = f_test(
        f"no direction is related to {contrast}",
        float(test.statistic),
        float(test.df_num),
        float(test.df_denom),
    )
    text = str(fit.summary(alpha=round(1.0 - level, 12), slim=True))
    return ContrastTable(contrast, coefficients, wald, float(fit.rsquared), text)
