"""What can a world tell, before any model is read?

A state can show that it is the log-posterior and not the posterior only where the two are not
nearly the same, and that it was learned only where no simple reader of the tokens comes close. Both
are properties of the world, computed here from exact posteriors alone: what is known of the
log-odds by who knows the posterior, its most probable value, or the tokens; and, of states planted
with a known form, how often the study that is about to be made says what is true.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from concept_ppl.analyses.agreement.contenders import Contender, contenders
from concept_ppl.analyses.claim.form_checks import check_concepts
from concept_ppl.analyses.claim.power_path import contrasts
from concept_ppl.analyses.designs.arrays import FloatArray, as_matrix, check_contrasts, check_level
from concept_ppl.analyses.designs.cross_fits import cross_fit
from concept_ppl.analyses.designs.decomposition import decompose
from concept_ppl.analyses.designs.design import Design, make_design
from concept_ppl.analyses.designs.held_out import squared_errors
from concept_ppl.analyses.designs.shares import explained_share
from concept_ppl.analyses.results.figures import Panel, forest
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row
from concept_ppl.errors import InputError

from .exact_fit import exact, independent_contrasts, population_fit
from .planted_states import Verdicts, bench, judge_planted

SURE = 6.0
"""Nats of log-odds beyond which a posterior is as good as certain."""
ENOUGH = 0.8
"""Least power at which a verdict is given."""
LOG, PLAIN, ADDITIVE = "log-posterior", "posterior", "additive sum"
Readers = Mapping[str, npt.ArrayLike | Mapping[str, npt.ArrayLike]]


@dataclass(frozen=True, slots=True)
class PlantedRates:
    """How often the right thing is said of states of one known form; Wilson intervals.

    Attributes
    ----------
    kind
        What the states are affine in: ``log-posterior``, ``posterior`` or ``additive sum``.
    side
        The interval of logarithm minus posterior lies on one side of 0: above it for the
        log-posterior, below it for the posterior. Of the additive sum: above it.
    form
        The verdict on the form is the true one; "log-posterior" asks for more than the additive
        sum shows. Of the additive sum: it is not called log-posterior.
    learned
        "More than the best control" is said.
    claimed
        The claim (R² and the worst direction above the margin) is said to be shown.
    false
        "Learned log-posterior" is said: all of form, learned and side.
    share
        Mean held-out R² of the log-odds.
    """

    kind: str
    side: Estimate
    form: Estimate
    learned: Estimate
    claimed: Estimate
    false: Estimate
    share: float


@dataclass(frozen=True, slots=True)
class WorldPower(Result):
    """What a world can tell of the states of a predictor.

    Attributes
    ----------
    told
        Held-out R² of the exact log-odds given: the posterior, its most probable value, and each
        reader of the tokens. In a population (``weights`` of all contexts) exact, without interval.
    spread, beyond, entropy
        Standard deviation of the log-odds in nats (root mean square over contrasts); share of
        log-odds beyond ±6 nats; mean entropy of the marginals, summed over concepts, in nats.
    planted
        Rates for states of each known form; empty where none were planted.
    signal, width, n_replicates
        R² of the planted states, their width, how many of each form.
    n
        Contexts.
    target
        Label that the caller gave.
    """

    told: tuple[tuple[str, Estimate], ...]
    spread: float
    beyond: float
    entropy: float
    planted: tuple[PlantedRates, ...]
    signal: float
    width: int
    n_replicates: int
    n: int
    target: str

    @property
    def can_tell_form(self) -> bool | None:
        """Whether the right form is found in 80% of planted states; None where not asked."""
        rates = [one.form.estimate for one in self.planted if one.kind in (LOG, PLAIN)]
        return min(rates) >= ENOUGH if rates else None

    @property
    def can_tell_learned(self) -> bool | None:
        """Whether a log-posterior of this signal exceeds the best control; None where not asked."""
        rates = [one.learned.estimate for one in self.planted if one.kind == LOG]
        return rates[0] >= ENOUGH if rates else None

    @property
    def sentence(self) -> str:
        """Say what the world can tell."""
        if not self.planted:
            return (
                f"{self.told[0][1].estimate:.3f} of the log-odds is told by the posterior itself."
            )
        rates = {one.kind: one for one in self.planted}
        log, plain = rates[LOG], rates[PLAIN]
        learned = round(log.learned.estimate * self.n_replicates)
        return (
            f"This world, with {self.n:,} contexts and a state that tells {self.signal:g}, knows "
            f"the log-posterior in {_of(log.form, self.n_replicates)} and the posterior in "
            f"{_of(plain.form, self.n_replicates)}, and shows that such a state is learned in "
            f"{learned} of {self.n_replicates}."
        )

    @property
    def title(self) -> str:
        """Say what was asked."""
        return f"What the world can tell of {self.target}"

    @property
    def headline(self) -> str:
        """Say how it came out."""
        return self.sentence

    def rows(self) -> Iterator[Row]:
        """One row a reader, three for the log-odds, five for each planted form."""
        name = "world_power"
        for reader, value in self.told:
            yield Row(name, "r2_log_odds", self.target, value, control=reader)
        for quantity in ("spread", "beyond", "entropy"):
            yield Row(name, quantity, self.target, exact(getattr(self, quantity), self.n))
        for one in self.planted:
            for quantity in ("side", "form", "learned", "claimed", "false"):
                value = getattr(one, quantity)
                yield Row(name, f"rate_{quantity}", self.target, value, control=one.kind)

    def lines(self) -> list[str]:
        """List what tells the log-odds, their spread, and the rates."""
        return [
            *(f"  R² given {reader}  {value}" for reader, value in self.told),
            f"  spread {self.spread:.2f} nats, {100 * self.beyond:.1f}% beyond ±{SURE:g} nats, "
            f"entropy {self.entropy:.2f} nats",
            *(
                f"  planted {one.kind}: side {one.side.estimate:.2f}, "
                f"form {one.form.estimate:.2f}, learned {one.learned.estimate:.2f}, "
                f"learned log-posterior {one.false.estimate:.2f}"
                for one in self.planted
            ),
        ]

    def panel(self) -> Panel:
        """Forest plot of what tells the log-odds."""
        return forest(list(self.told), "R² of the exact log-odds")


def _of(rate: Estimate, n: int) -> str:
    return f"{round(rate.estimate * n)} of {n}"


def world_power(
    log_p: npt.ArrayLike | Sequence[npt.ArrayLike],
    *,
    readers: Readers | None = None,
    rules: Sequence[str] = (),
    additive: npt.ArrayLike | None = None,
    signal: float = 0.4,
    width: int = 64,
    n_replicates: int = 100,
    margin: float = 0.95,
    weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    target: str = "log_odds",
    n_folds: int = 5,
    seed: int = 0,
    level: float = 0.95,
    progress: Callable[[int, int], None] | None = None,
) -> WorldPower:
    """Ask what exact posteriors of contexts can tell, before any model is read.

    Parameters
    ----------
    log_p
        (n, K) log-probabilities in nats of all values of a concept, or a list of one such array a
        concept.
    readers
        Features (n, k) of simple readers of the tokens, or families of them, such as
        `token_readers` makes: the controls of the study.
    rules
        Names of readers that are told of without being controls: mechanisms that have to be
        learned, hard-wired.
    additive
        (n, k) sum over a context's tokens of what each tells alone, in nats. States that are affine
        in it are planted, too, and its form stands beside that of planted states, as that of the
        best control does in a study.
    signal
        R² of what planted states are affine in, given the states, in the population.
    width
        Coordinates of planted states. A model's states have more, most of them faint.
    n_replicates
        Planted states of each form; 0 for none.
    margin
        Of the claim.
    weights
        (n,) probabilities of contexts that are all there are: the R² are then exact, of the
        population, by least squares without a penalty; a family of readers is as its best member.
    clusters
        (n,) labels of independent units; each row its own by default.
    target
        Label for the tidy table.
    n_folds, seed
        Folds, cluster-disjoint, and planted states, drawn from the seed.
    level
        Of the intervals.
    progress
        Called with (planted states done, in all).

    Raises
    ------
    InputError
        If probabilities do not sum to one or are zero, there is one value alone, the signal is not
        inside (0, 1), or an array has another length.
    """
    check_level(level)
    if not 0.0 < signal < 1.0:
        raise InputError(f"signal is {signal}; a share of explained variance lies in (0, 1).")
    n = len(log_p[0]) if isinstance(log_p, list | tuple) else len(np.asarray(log_p))
    concepts = check_concepts(log_p, n)
    design = make_design(n, weights=weights, clusters=clusters, n_folds=n_folds, seed=seed)
    if weights is None:
        Z, _ = check_contrasts(contrasts(concepts, 0.0), n)
        told, found = _told(concepts, Z, readers or {}, design, level)
        rivals = [one for name, one in found.items() if name not in rules]
    else:
        Z = independent_contrasts(contrasts(concepts, 0.0))
        told, rivals = _told_exactly(concepts, Z, readers or {}, design), []
    planted: list[PlantedRates] = []
    if n_replicates and weights is None:
        forms = {LOG: Z, PLAIN: contrasts(concepts, 1.0)}
        if additive is not None:
            forms[ADDITIVE] = _of_length(additive, n)
        one = bench(Z, concepts, design, rivals, forms.get(ADDITIVE), margin, level)
        done = _Counter(len(forms) * n_replicates, progress)
        planted = [
            _rates(
                kind,
                judge_planted(
                    one,
                    regressors,
                    signal=signal,
                    width=width,
                    n_replicates=n_replicates,
                    seed=seed,
                    progress=done.step,
                ),
                level,
            )
            for kind, regressors in forms.items()
        ]
    mass = design.weights / design.weights.sum()
    entropy = -sum(float(mass @ (np.exp(table) * table).sum(axis=1)) for table in concepts)
    return WorldPower(
        tuple(told.items()),
        float(np.sqrt(np.mean(mass @ np.square(Z - mass @ Z)))),
        float(mass @ (np.abs(Z) > SURE).mean(axis=1)),
        entropy,
        tuple(planted),
        signal,
        width,
        n_replicates if planted else 0,
        n,
        target,
    )


def _of_length(additive: npt.ArrayLike, n: int) -> FloatArray:
    matrix = as_matrix(additive, "additive")
    if len(matrix) != n:
        raise InputError(f"additive has {len(matrix)} rows, log_p has {n}; give one a context.")
    return matrix


@dataclass
class _Counter:
    n: int
    progress: Callable[[int, int], None] | None
    done: int = 0

    def step(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.n)


def most_probable(log_p: FloatArray) -> FloatArray:
    """Return indicators (n, K − 1) of the most probable value, for all values but the first."""
    return np.asarray(np.eye(log_p.shape[1])[log_p.argmax(axis=1)][:, 1:])


def _of_posterior(concepts: Sequence[FloatArray]) -> dict[str, FloatArray]:
    """Return the functions of the posterior that are held against its log-odds."""
    return {
        PLAIN: contrasts(concepts, 1.0),
        "most probable value": np.hstack([most_probable(table) for table in concepts]),
    }


def _told(
    concepts: Sequence[FloatArray], Z: FloatArray, readers: Readers, design: Design, level: float
) -> tuple[dict[str, Estimate], dict[str, Contender]]:
    """Held-out R² of the log-odds given each thing, and the readers as the study's controls."""
    fit = cross_fit(decompose(Z, design), Z)
    errors = squared_errors(fit)
    rivals = contenders(readers, fit) if readers else {}
    every = contenders(_of_posterior(concepts), fit) | rivals
    told = {name: explained_share(one.errors(errors), level) for name, one in every.items()}
    return told, rivals


def _told_exactly(
    concepts: Sequence[FloatArray], Z: FloatArray, readers: Readers, design: Design
) -> dict[str, Estimate]:
    """R² of the log-odds in the population given each thing, by least squares under p(x)."""
    features: Readers = {**_of_posterior(concepts), **readers}
    told = {}
    for name, one in features.items():
        members = list(one.values()) if isinstance(one, Mapping) else [one]
        best = max(population_fit(part, Z, design.weights).backward for part in members)
        told[name] = exact(best, design.n)
    return told


def _rates(kind: str, said: Sequence[Verdicts], level: float) -> PlantedRates:
    called = [one.alpha_log and one.beyond_controls for one in said]
    if kind == PLAIN:
        side, form = [one.plain_side for one in said], [one.alpha_plain for one in said]
    elif kind == LOG:
        side, form = [one.log_side for one in said], called
    else:
        side, form = [one.log_side for one in said], [not one for one in called]
    return PlantedRates(
        kind,
        _rate(side, level),
        _rate(form, level),
        _rate([one.learned for one in said], level),
        _rate([one.claimed for one in said], level),
        _rate([c and one.learned for c, one in zip(called, said, strict=True)], level),
        float(np.mean([one.share for one in said])),
    )


def _rate(happened: Sequence[bool], level: float) -> Estimate:
    """Share with Wilson's interval (1927, https://doi.org/10.1080/01621459.1927.10502953)."""
    from scipy import stats

    n, k = len(happened), sum(happened)
    interval = stats.binomtest(k, n).proportion_ci(level, method="wilson")
    rate = k / n
    error = float(np.sqrt(rate * (1.0 - rate) / n))
    return Estimate(
        rate, error, float(interval.low), float(interval.high), level, float("nan"), n, n
    )
