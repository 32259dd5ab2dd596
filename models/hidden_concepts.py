"""A concept that moves from token to token, a hidden Markov process; Mess3 is a preset."""

from collections.abc import Callable

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.ops.indexing import Vindex
from torch import Tensor

from concept_ppl.errors import ModelError

TOKEN_CONCENTRATION = 0.3
PRESETS = ("random", "mess3")
MESS3_MOVE, MESS3_TELL = 0.05, 0.85


def build(
    preset: str = "random",
    states: int = 3,
    vocabulary: int = 4,
    switch: float = 0.2,
    x_informativeness: float = 0.8,
    y_determinism: float | None = None,
    seed: int = 0,
    lengths: tuple[int, int] = (1, 8),
) -> Callable[[int], None]:
    """Return the model.

    The first state is uniform. Before each further token the state may move; each token is emitted
    from the state at its own position. What a token says of the last state depends on the tokens
    between: from three tokens on, the log-odds of the last state are **not** additive in the
    tokens, unless ``switch`` is 0. (Of two tokens each says its own, whatever the other.)

    The knobs change no random draw.

    Parameters
    ----------
    preset
        ``random``, or ``mess3``: the process of Shai et al. 2024 (https://arxiv.org/abs/2405.15943)
        with three states and three tokens, where a state moves to each of the others with
        probability .05, and emits its own token with probability .85, each of the others with .075.
        It has no use for ``states``, ``vocabulary``, ``switch``, ``x_informativeness`` and
        ``seed``.
    states, vocabulary
        Numbers of states and of token values.
    switch
        Probability that the state moves; where to, is a draw from the flat Dirichlet distribution
        for each state.
    x_informativeness
        Each state's token distribution is this share of its own random one (Dirichlet with
        concentration 0.3) and the rest of one that all states share; at 0 tokens tell nothing.
    y_determinism
        ``None``: the next token is one more of the process, emitted from the *next* state. A
        number: the next token is the number of the last state with this probability, else uniform
        over all states; at 1, ``y = c`` exactly, at 0, y tells nothing.
    seed
        Of the random tables.
    lengths
        Shortest and longest context to simulate.

    Raises
    ------
    ModelError
        If a parameter is out of range.
    """
    _require(preset, states, vocabulary, switch, x_informativeness, y_determinism)
    move, emission = (
        _mess3()
        if preset == "mess3"
        else _drawn(states, vocabulary, switch, x_informativeness, seed)
    )
    following = move @ emission if y_determinism is None else _copy(len(move), y_determinism)
    log_move, log_emission, log_following = move.log(), emission.log(), following.log()
    first = torch.zeros(len(move))

    def model(n_tokens: int) -> None:
        state = None
        for t in pyro.markov(range(n_tokens)):
            logits = first if state is None else Vindex(log_move)[state]
            state = pyro.sample(f"state_{t}", dist.Categorical(logits=logits))
            pyro.sample(f"x_{t}", dist.Categorical(logits=Vindex(log_emission)[state]))
        if state is not None:
            pyro.sample("y", dist.Categorical(logits=Vindex(log_following)[state]))

    model.lengths = tuple(lengths)  # type: ignore[attr-defined]
    return model


def _mess3() -> tuple[Tensor, Tensor]:
    """Return p(next state | state) and p(token | state), each (3, 3).

    Shai et al. label the edge by which a state is entered with the token; every edge into a state
    has the same labels, so that the token is a token of the state that is entered.
    """
    other_token = (1 - MESS3_TELL) / 2
    move = torch.full((3, 3), MESS3_MOVE, dtype=torch.float64).fill_diagonal_(1 - 2 * MESS3_MOVE)
    tell = torch.full((3, 3), other_token, dtype=torch.float64).fill_diagonal_(MESS3_TELL)
    return move, tell


def _drawn(
    states: int, vocabulary: int, switch: float, x_informativeness: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Return p(next state | state) and p(token | state), shapes (states, states | vocabulary)."""
    rng = np.random.default_rng(seed)
    elsewhere = np.zeros((states, states))
    elsewhere[~np.eye(states, dtype=bool)] = rng.dirichlet(np.ones(states - 1), states).ravel()
    own = rng.dirichlet(np.full(vocabulary, TOKEN_CONCENTRATION), states)
    shared = rng.dirichlet(np.ones(vocabulary))
    move = (1 - switch) * np.eye(states) + switch * elsewhere
    emission = x_informativeness * own + (1 - x_informativeness) * shared
    return torch.as_tensor(move), torch.as_tensor(emission)


def _copy(states: int, determinism: float) -> Tensor:
    """Return p(y | state), shape (states, states)."""
    own = torch.eye(states, dtype=torch.float64)
    return determinism * own + (1 - determinism) / states


def _require(
    preset: str,
    states: int,
    vocabulary: int,
    switch: float,
    x_informativeness: float,
    y_determinism: float | None,
) -> None:
    if preset not in PRESETS:
        raise ModelError(f"preset must be one of {', '.join(PRESETS)}, not '{preset}'.")
    if states < 2 or vocabulary < 2:
        raise ModelError(
            f"states and vocabulary must be at least 2, not {states} and {vocabulary}."
        )
    for name, value in (
        ("switch", switch),
        ("x_informativeness", x_informativeness),
        ("y_determinism", y_determinism),
    ):
        if value is not None and not 0 <= value <= 1:
            raise ModelError(f"{name} must lie between 0 and 1, not {value}.")
