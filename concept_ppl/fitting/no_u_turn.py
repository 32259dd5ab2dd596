"""The No-U-Turn Sampler on one vector of coordinates, and how it adapts while it warms up.

Multinomial sampling along trajectories that double until they turn, with the generalised criterion
and its checks across subtrees; a diagonal metric estimated in windows of doubling length; the step
size by dual averaging. Sources: Hoffman and Gelman (2014), https://jmlr.org/papers/v15/hoffman14a.html;
Betancourt (2017), https://arxiv.org/abs/1701.02434.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Density = Callable[[Array], tuple[float, Array]]
"""From coordinates to the log density and its gradient."""
DIVERGENT = 1000.0
"""Energy error, in nats, beyond which a trajectory has left the typical set."""


@dataclass(frozen=True)
class State:
    """A point in phase space, with the density and its gradient there."""

    position: Array
    momentum: Array
    log_density: float
    gradient: Array


@dataclass(frozen=True)
class Tree:
    """A stretch of trajectory.

    Attributes
    ----------
    first, last : State
        Its ends, in the direction of time.
    chosen : State
        A draw from its states, by their weights.
    log_weight : float
        log Σ exp(H_0 − H) over its states.
    momentum : array
        Σ momentum.
    accepted, n_steps : float, int
        Σ min(1, exp(H_0 − H)), and its number of steps.
    diverging, turning : bool
    """

    first: State
    last: State
    chosen: State
    log_weight: float
    momentum: Array
    accepted: float
    n_steps: int
    diverging: bool
    turning: bool

    @property
    def has_ended(self) -> bool:
        """Whether the trajectory goes no further."""
        return self.diverging or self.turning


@dataclass(frozen=True)
class Transition:
    """What one iteration did."""

    energy: float
    acceptance_rate: float
    n_steps: int
    tree_depth: int
    diverging: bool


@dataclass
class StepSize:
    """Dual averaging of the log step size towards a target acceptance rate."""

    target: float
    log_step: float
    average: float = 0.0
    error: float = 0.0
    count: int = 0
    centre: float = field(init=False)

    def __post_init__(self) -> None:
        self.centre = np.log(10.0) + self.log_step

    def update(self, acceptance_rate: float) -> None:
        """Learn from one iteration."""
        self.count += 1
        share = 1 / (self.count + 10)
        self.error = (1 - share) * self.error + share * (self.target - acceptance_rate)
        self.log_step = self.centre - np.sqrt(self.count) / 0.05 * self.error
        weight = self.count**-0.75
        self.average = weight * self.log_step + (1 - weight) * self.average


@dataclass
class Sampler:
    """One chain: where it is, what it has adapted, and its own random numbers.

    Everything but the density is in here, so that a chain that was stored goes on as it would have.
    """

    position: Array
    warmup: int
    target: float
    max_tree_depth: int
    rng: np.random.Generator
    inverse_mass: Array = field(init=False)
    step_size: float = field(init=False, default=1.0)
    iteration: int = field(init=False, default=0)
    seen: list[Array] = field(init=False, default_factory=list)
    adapted: StepSize | None = field(init=False, default=None)
    log_density: float = field(init=False, default=np.nan)
    gradient: Array = field(init=False)

    def __post_init__(self) -> None:
        self.inverse_mass = np.ones_like(self.position)
        self.gradient = np.zeros_like(self.position)
        self.window_ends = adaptation_windows(self.warmup)

    def step(self, density: Density) -> Transition:
        """Take one iteration, and adapt while warming up."""
        if self.iteration == 0:
            self.log_density, self.gradient = density(self.position)
            self._restart_step_size(density)
        transition = self._transition(density)
        if self.iteration < self.warmup:
            self._adapt(density, transition)
        self.iteration += 1
        return transition

    def _draw_momentum(self) -> Array:
        normal: Array = self.rng.standard_normal(len(self.position)) / np.sqrt(self.inverse_mass)
        return normal

    def _energy(self, state: State) -> float:
        kinetic = 0.5 * float(state.momentum @ (self.inverse_mass * state.momentum))
        energy = kinetic - state.log_density
        return energy if np.isfinite(energy) else np.inf

    def _leapfrog(self, density: Density, state: State, step: float) -> State:
        momentum = state.momentum + 0.5 * step * state.gradient
        position = state.position + step * self.inverse_mass * momentum
        log_density, gradient = density(position)
        return State(position, momentum + 0.5 * step * gradient, log_density, gradient)

    def _transition(self, density: Density) -> Transition:
        start = State(self.position, self._draw_momentum(), self.log_density, self.gradient)
        initial = self._energy(start)
        tree = Tree(start, start, start, 0.0, start.momentum, 0.0, 0, False, False)
        depth = 0
        while depth < self.max_tree_depth and not tree.has_ended:
            forward = self.rng.random() < 0.5
            end = tree.last if forward else tree.first
            step = self.step_size if forward else -self.step_size
            other = self._build(density, end, depth, step, initial)
            depth += 1
            tree = self._joined(tree, other, forward, progressive=True)
        chosen = tree.chosen
        self.position, self.log_density = chosen.position, chosen.log_density
        self.gradient = chosen.gradient
        rate = tree.accepted / max(tree.n_steps, 1)
        return Transition(self._energy(chosen), rate, tree.n_steps, depth, tree.diverging)

    def _build(self, density: Density, end: State, depth: int, step: float, initial: float) -> Tree:
        """Go on for 2^depth steps from an end of the trajectory, or until it has to stop."""
        if depth == 0:
            state = self._leapfrog(density, end, step)
            gain = initial - self._energy(state)
            return Tree(
                state,
                state,
                state,
                gain,
                state.momentum,
                float(np.exp(min(gain, 0.0))),
                1,
                gain < -DIVERGENT,
                False,
            )
        near = self._build(density, end, depth - 1, step, initial)
        if near.has_ended:
            return near
        forward = step > 0
        far = self._build(density, near.last if forward else near.first, depth - 1, step, initial)
        return self._joined(near, far, forward, progressive=False)

    def _joined(self, old: Tree, new: Tree, forward: bool, *, progressive: bool) -> Tree:
        """Put two stretches together; the new one's states are not chosen if it had to stop."""
        left, right = (old, new) if forward else (new, old)
        together = float(np.logaddexp(old.log_weight, new.log_weight))
        chance = new.log_weight - (old.log_weight if progressive else together)
        takes_new = not new.has_ended and np.log(self.rng.random()) < chance
        momentum = old.momentum + new.momentum
        turning = new.turning or (
            not new.has_ended
            and (
                self._turns(left.first, right.last, momentum)
                or self._turns(left.first, right.first, left.momentum + right.first.momentum)
                or self._turns(left.last, right.last, right.momentum + left.last.momentum)
            )
        )
        return Tree(
            left.first,
            right.last,
            new.chosen if takes_new else old.chosen,
            together,
            momentum,
            old.accepted + new.accepted,
            old.n_steps + new.n_steps,
            old.diverging or new.diverging,
            turning,
        )

    def _turns(self, first: State, last: State, momentum: Array) -> bool:
        velocity = self.inverse_mass * momentum
        return bool(velocity @ first.momentum <= 0 or velocity @ last.momentum <= 0)

    def _adapt(self, density: Density, transition: Transition) -> None:
        assert self.adapted is not None
        self.adapted.update(transition.acceptance_rate)
        self.step_size = float(np.exp(self.adapted.log_step))
        start, *ends = self.window_ends
        if start <= self.iteration < ends[-1]:
            self.seen.append(self.position)
        if self.iteration + 1 in ends and len(self.seen) > 1:
            n = len(self.seen)
            variance = np.var(self.seen, axis=0, ddof=1)
            self.inverse_mass = (n * variance + 5e-3) / (n + 5)
            self.seen = []
            self._restart_step_size(density)
        if self.iteration + 1 == self.warmup and self.adapted.count:
            self.step_size = float(np.exp(self.adapted.average))

    def _restart_step_size(self, density: Density) -> None:
        """Double or halve the step until its acceptance passes .8, and average anew from there."""
        state = State(self.position, self._draw_momentum(), self.log_density, self.gradient)
        initial, direction = self._energy(state), 0
        for _ in range(50):
            gain = initial - self._energy(self._leapfrog(density, state, self.step_size))
            wanted = 1 if gain > np.log(0.8) else -1
            if direction not in {0, wanted}:
                break
            direction = wanted
            self.step_size *= 2.0**direction
        self.adapted = StepSize(self.target, float(np.log(self.step_size)))


def adaptation_windows(warmup: int) -> list[int]:
    """Return where the windows of the metric start, and where each of them ends."""
    first, last, width = (75, 50, 25) if warmup >= 150 else (warmup * 15 // 100, warmup // 10, 25)
    end = warmup - last
    if warmup < 150:
        return [first, max(end, first)]
    ends, start = [], first
    while start < end:
        stop = start + width
        if stop + 2 * width > end:
            stop = end
        ends.append(stop)
        start, width = stop, 2 * width
    return [first, *ends]
