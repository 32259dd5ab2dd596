"""Where a restart begins: of several random parameters, those that a few steps bring highest.

Many random tables lie near points where a concept's values are alike and the slope is small. A
short run from each shows which lie elsewhere, whatever kind of table a program has. It takes a part
of the contexts where they are many. Source: short runs of EM, Biernacki, Celeux and Govaert (2003),
https://doi.org/10.1016/S0167-9473(02)00163-9.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from concept_ppl.fitting.likelihoods.likelihood import Likelihood

from .ascents import Ascent

CANDIDATES = 10
CANDIDATES_RUN = 3
"""Where the program has to run again for each step."""
CONTEXTS = 500
"""Distinct contexts that the short runs take at most."""

Make = Callable[[Likelihood, Mapping[str, Tensor]], Ascent]


@dataclass
class Starts:
    """The starts of a fit by their numbers; the same number is always the same start.

    Attributes
    ----------
    likelihood : Likelihood
    make : callable
        The ascent of a likelihood from parameters.
    seed : int
    steps : int
        Of a short run.
    first : dict of str to Tensor, or None
        The start that the caller gave, of number 0.
    """

    likelihood: Likelihood
    make: Make
    seed: int
    steps: int
    first: Mapping[str, Tensor] | None = None
    _part: Likelihood = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        n = len(self.likelihood.weights)
        chosen = rng.permutation(n)[:CONTEXTS] if n > CONTEXTS else np.arange(n)
        self._part = self.likelihood.part(np.sort(chosen))

    def __call__(self, run: int) -> Mapping[str, Tensor]:
        """Return the start of a run, counted from 0."""
        if run == 0 and self.first is not None:
            return self.first
        program = self.likelihood.program
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + run)
        n = CANDIDATES if program.is_looked_up else CANDIDATES_RUN
        candidates = [program.random_values(generator) for _ in range(n)]
        heights = [self._height(candidate) for candidate in candidates]
        return candidates[int(np.argmax(heights))]

    def _height(self, start: Mapping[str, Tensor]) -> float:
        """Return the log-evidence + log prior after a short run; −inf where it is no number."""
        ascent = self.make(self._part, start)
        for step in range(self.steps):
            reached = sum(ascent.step())
            if not np.isfinite(reached):
                return -np.inf
            if step + 1 < self.steps:
                ascent.advance()
        return reached
