"""How often does a linear classifier name each concept, and what does that number hide?

Classification accuracy is how Liu et al. 2025 (https://arxiv.org/abs/2503.08980, section 6) measure
recovery. Here it stands beside the accuracy of the exact posterior, which no classifier exceeds,
and beside what it cannot see: whether the log-posterior itself can be read, in all directions.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from concept_ppl.analyses.agreement.canonical import CanonicalCorrelations, correlate
from concept_ppl.analyses.agreement.goodness import GoodnessOfFit, goodness_of_fit
from concept_ppl.analyses.designs.arrays import FloatArray, check_contrasts, check_level
from concept_ppl.analyses.designs.decomposition import decompose_states
from concept_ppl.analyses.regression.probes import Probe, probe
from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Row, square_in_words
from concept_ppl.errors import InputError, listed

from .exact_fit import exact


@dataclass(frozen=True, slots=True)
class ConceptRecovery(Result):
    """Accuracy of linear classifiers, concept by concept, and the core metrics beside it.

    Attributes
    ----------
    probes
        Held-out logistic probe of each concept beside Bayes, by name.
    accuracy, bayes_accuracy, gap
        Means over the concepts: of the probes, of Bayes, and of the first minus the second; no
        interval.
    fit
        Held-out R² both ways between states and the log-odds of all concepts.
    correlations
        Held-out canonical correlations of the same.
    layer
        Label that the caller gave.
    """

    probes: Mapping[str, Probe]
    accuracy: float
    bayes_accuracy: float
    gap: float
    fit: GoodnessOfFit
    correlations: CanonicalCorrelations
    layer: str

    @property
    def title(self) -> str:
        """Say what was asked."""
        return "Recovery of the concepts"

    def rows(self) -> Iterator[Row]:
        """Return the means, each probe, then R² and canonical correlations."""
        some = self.fit.backward
        for quantity, control, value in (
            ("accuracy_mean", "", self.accuracy),
            ("accuracy_mean", "bayes", self.bayes_accuracy),
            ("accuracy_difference_mean", "bayes", self.gap),
        ):
            plain = exact(value, some.n)
            yield Row("concept_recovery", quantity, "concepts", plain, self.layer, control)
        for part in (*self.probes.values(), self.fit, self.correlations):
            yield from part.rows()

    def panel(self) -> Panel:
        """Forest plot: accuracies on top, what they hide below."""
        entries = [(f"accuracy, {name}", p.probe.accuracy) for name, p in self.probes.items()]
        entries += [
            ("R²(Z|F)", self.fit.backward),
            ("mean ρ²", self.correlations.mean),
            ("smallest ρ²", self.correlations.smallest),
        ]
        return forest(entries, "held out")

    @property
    def headline(self) -> str:
        """Say how many concepts there are."""
        return f"Recovery of {len(self.probes)} concepts"

    def lines(self) -> list[str]:
        """State accuracy beside Bayes, then what it hides."""
        return [
            f"  accuracy {self.accuracy:.3f}, Bayes {self.bayes_accuracy:.3f}, "
            f"difference {self.gap:.3f}, means over concepts",
            *(
                f"    {name}  {found.probe.accuracy}; Bayes {found.bayes.accuracy.estimate:.3f}"
                for name, found in self.probes.items()
                if found.bayes is not None
            ),
            f"  R² of the log-odds       {self.fit.backward}",
            f"  R² of the states         {self.fit.forward}",
            f"  smallest ρ²              {square_in_words(self.correlations.smallest)}",
            f"  mean ρ²                  {square_in_words(self.correlations.mean)}",
        ]


def concept_recovery(
    F: npt.ArrayLike,
    log_posteriors: Mapping[str, npt.ArrayLike],
    weights: npt.ArrayLike | None = None,
    *,
    values: Mapping[str, npt.ArrayLike] | None = None,
    layer: str = "",
    n_folds: int = 5,
    seed: int = 0,
    level: float = 0.95,
) -> ConceptRecovery:
    """Probe each concept, beside Bayes, R² and canonical correlations, every context one cluster.

    Without ``values`` accuracy is *expected*: each context stands once for every value of the
    concept, with weight p(x) p(value|x), so that no label is drawn and no noise of labels is left.

    Parameters
    ----------
    F
        (n, d) states, a row a context.
    log_posteriors
        (n, K) exact log p(value | context), nats, by name of the concept. Log-odds must be finite
        for R² and canonical correlations.
    weights
        (n,) p(x); equal by default.
    values
        (n,) the value of each concept in each context, where contexts and concepts were drawn.
    layer, n_folds, seed, level
        As in `goodness_of_fit`.

    Raises
    ------
    InputError
        If there is no concept, a log-odds is infinite or missing, ``values`` names other concepts;
        and as `probe`, `goodness_of_fit` and `canonical_correlations`.
    """
    check_level(level)
    tables = {name: np.asarray(table, np.float64) for name, table in log_posteriors.items()}
    if not tables:
        raise InputError("log_posteriors holds no concept; give at least one.")
    if values is not None and set(values) != set(tables):
        raise InputError(
            f"values are of {listed(values)}, posteriors of {listed(tables)}; name the same "
            "concepts in both."
        )
    states = decompose_states(F, weights=weights, n_folds=n_folds, seed=seed)
    design = states.design
    options = {"layer": layer, "n_folds": n_folds, "seed": seed, "level": level}
    probes = {}
    for name, table in tables.items():
        rows, labels, mass = _expanded(
            table, design.weights, values[name] if values else None, name
        )
        probes[name] = probe(
            states.F[rows],
            labels,
            log_posterior=table[rows],
            weights=mass,
            clusters=rows,
            concept=name,
            **options,  # type: ignore[arg-type]
        )
    Z = np.hstack([_finite_log_odds(table, name) for name, table in tables.items()])
    names = [f"{name}.{k}:0" for name, t in tables.items() for k in range(1, t.shape[1])]
    accuracy, bayes, gap = (
        float(np.mean([getattr(found, part).accuracy.estimate for found in probes.values()]))
        for part in ("probe", "bayes", "gap")
    )
    fit = goodness_of_fit(states, Z, names=names, **options)  # type: ignore[arg-type]
    correlations = correlate(
        states, check_contrasts(Z, design.n, names)[0], "log_odds", layer, level
    )
    return ConceptRecovery(probes, accuracy, bayes, gap, fit, correlations, layer)


def _expanded(
    table: FloatArray,
    weights: FloatArray,
    values: npt.ArrayLike | None,
    name: str,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray]:
    """Rows of the contexts, the concept's value in each, and their weights."""
    if table.ndim != 2 or len(table) != len(weights):
        raise InputError(
            f"log_posteriors of {name} has shape {table.shape}; it must be ({len(weights)}, K)."
        )
    if values is not None:
        labels = np.asarray(values)
        if labels.shape != weights.shape:
            raise InputError(f"values of {name} have shape {labels.shape}, not ({len(weights)},).")
        return np.arange(len(weights)), labels, weights
    mass = weights[:, None] * np.exp(table)
    rows, labels = np.nonzero(mass > 0)
    return rows, labels, np.asarray(mass[rows, labels])


def _finite_log_odds(table: FloatArray, name: str) -> FloatArray:
    with np.errstate(invalid="ignore"):
        odds = table[:, 1:] - table[:, :1]
    broken = np.argwhere(~np.isfinite(odds))
    if broken.size:
        raise InputError(
            f"The log-odds of {name} are infinite at row {broken[0, 0]}, value "
            f"{broken[0, 1] + 1}; a value is impossible there, so leave such contexts out."
        )
    return np.asarray(odds)
