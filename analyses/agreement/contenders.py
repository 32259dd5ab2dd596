"""Controls side by side: each fold takes the one that did best inside its training folds.

A control may be one array, or a family of arrays (decayed sums with several factors, say) whose
member is chosen by each fold in the same way. What is known of an array that was fitted is little
(predictions, losses, influences); its decomposition is dropped, so that dozens of wide arrays can
be asked one after the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from concept_ppl.analyses.designs.arrays import FloatArray, check_states
from concept_ppl.analyses.designs.cross_fits import CrossFit, cross_fit
from concept_ppl.analyses.designs.decomposition import DecomposedStates, States, decompose
from concept_ppl.analyses.designs.design import Design
from concept_ppl.analyses.designs.held_out import SquaredErrors
from concept_ppl.analyses.designs.training_influence import influence_by_fold
from concept_ppl.errors import InputError

Controls = Mapping[str, States | Mapping[str, npt.ArrayLike]]
"""Arrays, decomposed states, or families of arrays, by name."""
Place = tuple[str, str]
"""Control and member; the member of a control that is no family is the empty string."""


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """What a fold needs to know to choose a control, and what its choice then says.

    Attributes
    ----------
    places
        For each fold, the control and the member whose map it takes.
    losses, penalties
        (K,) cross-validated loss inside the training folds, and the penalty that had it.
    sse
        (n, t) squared held-out errors.
    influence
        (K, n, t) derivative of their weighted sums by each row's weight, through the map of a fold.
    """

    places: tuple[Place, ...]
    losses: FloatArray
    penalties: FloatArray
    sse: FloatArray
    influence: FloatArray

    def beside(self, other: "Contender", folds: npt.NDArray[np.int64]) -> "Contender":
        """Take for each fold the better of the two; ``folds`` is the fold of each row."""
        is_better = other.losses < self.losses
        return Contender(
            tuple(
                theirs if better else own
                for own, theirs, better in zip(self.places, other.places, is_better, strict=True)
            ),
            np.where(is_better, other.losses, self.losses),
            np.where(is_better, other.penalties, self.penalties),
            np.where(is_better[folds][:, None], other.sse, self.sse),
            np.where(is_better[:, None, None], other.influence, self.influence),
        )

    def errors(self, like: SquaredErrors) -> SquaredErrors:
        """Errors of the chosen maps, about the means of the same training folds as ``like``."""
        return replace(like, sse=self.sse, sse_training=self.influence.sum(axis=0))


def contenders(controls: Controls, fit: CrossFit) -> dict[str, Contender]:
    """Fit every control to the targets of ``fit``, on its folds; of a family each takes the best.

    Raises
    ------
    InputError
        If there is no control, or one does not match the states.
    """
    if not controls:
        raise InputError("There is no control; give at least one, such as a bag of tokens.")
    design = fit.states.design
    found: dict[str, Contender] = {}
    for name, member, array in _members(controls):
        one = _contender((name, member), decomposed_control(array, design, name), fit)
        found[name] = found[name].beside(one, design.folds) if name in found else one
    return found


@dataclass(frozen=True, slots=True, eq=False)
class FittedControls:
    """Controls that were fitted once, to stand beside the states of many looks or layers.

    What a control tells of the contrasts depends on contrasts and folds alone, not on the states
    that it stands beside.

    Attributes
    ----------
    controls
        As they were given.
    rivals
        What is known of each after fitting.
    design
        Rows, weights, clusters and folds.
    targets
        (n, q) the contrasts.
    """

    controls: Controls
    rivals: Mapping[str, Contender]
    design: Design
    targets: FloatArray

    def beside(self, fit: CrossFit) -> Mapping[str, Contender]:
        """Return the rivals of a fit to the same contrasts on the same folds.

        Raises
        ------
        InputError
            If the fit is of other contrasts or folds.
        """
        if not self.design.same_as(fit.states.design):
            raise InputError("The controls were fitted with other weights, clusters or folds.")
        if not np.array_equal(self.targets, fit.targets):
            raise InputError("The controls were fitted to other contrasts than these.")
        return self.rivals


def best_of(rivals: Sequence[Contender], design: Design) -> Contender:
    """Take for each fold the best of several; where two do equally well, the first."""
    best = rivals[0]
    for rival in rivals[1:]:
        best = best.beside(rival, design.folds)
    return best


def control_at(controls: Controls, place: Place) -> States:
    """Return the array of a control, or that of a member of a family."""
    name, member = place
    control = controls[name]
    return control[member] if isinstance(control, Mapping) else control


def decomposed_control(control: States, design: Design, name: str) -> DecomposedStates:
    """Check a control against the design of the states and decompose it on the same folds."""
    if isinstance(control, DecomposedStates):
        if not control.design.same_as(design):
            raise InputError(
                f"Control {name} was decomposed with other weights, clusters or folds than F."
            )
        return control
    array = check_states(control, f"Control {name}")
    if len(array) != design.n:
        raise InputError(f"Control {name} has {len(array)} rows, F has {design.n}.")
    # Eigendecompositions wait for all threads at every step: beside another process, two threads
    # were seen to take ten times as long as one.
    with threadpool_limits(1, user_api="blas"):
        return decompose(array, design)


def _members(controls: Controls) -> Iterator[tuple[str, str, States]]:
    for name, control in controls.items():
        if not isinstance(control, Mapping):
            yield name, "", control
            continue
        if not control:
            raise InputError(f"Control {name} is a family without members.")
        for member, array in control.items():
            yield name, member, array


def _contender(place: Place, states: DecomposedStates, like: CrossFit) -> Contender:
    fit = cross_fit(states, like.targets)
    residuals = fit.targets - fit.predicted
    gradient = -2.0 * states.design.weights[:, None] * residuals
    return Contender(
        (place,) * states.design.n_folds,
        fit.inner_loss,
        fit.penalties,
        np.square(residuals),
        influence_by_fold(fit, gradient),
    )
