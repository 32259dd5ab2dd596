"""How long and how much: paired ratios over interleaved repeats, peak memory in a fresh process."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy.stats import quantile_test


@dataclass(frozen=True)
class Work:
    """Something to time, and how many contexts one call of it answers."""

    call: Callable[[], object]
    n_contexts: int = 1

    def seconds_each(self) -> float:
        """Run once and return the seconds per context."""
        start = time.perf_counter()
        self.call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / self.n_contexts


@dataclass(frozen=True)
class Spread:
    """A median with its 95% interval by order statistics; the interval is NaN below six repeats.

    The interval speaks of this machine at this hour, not of machines in general.
    """

    median: float
    low: float
    high: float
    repeats: int

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """Summarise repeated measurements."""
        median = float(np.median(values))
        interval = quantile_test(values, q=median, p=0.5).confidence_interval(0.95)
        return cls(median, float(interval.low), float(interval.high), len(values))


def paired_ratio(numerator: Work, denominator: Work, repeats: int) -> tuple[Spread, Spread]:
    """Return the ratio of seconds per context, and the denominator's own seconds per context.

    Both run once before the clock starts, then in pairs, the order turned round each time: what
    slows the machine down for a while slows both.
    """
    torch.set_num_threads(1)  # a peer that loads numba has set it back by now
    numerator.call()
    denominator.call()
    ratios, seconds = [], []
    for repeat in range(repeats):
        pair = (numerator, denominator) if repeat % 2 else (denominator, numerator)
        taken = {work: work.seconds_each() for work in pair}
        ratios.append(taken[numerator] / taken[denominator])
        seconds.append(taken[denominator])
    return Spread.of(ratios), Spread.of(seconds)


@cache
def peak_memory(n_contexts: int) -> dict[str, int] | None:
    """Return bytes of ``inputs``, ``answers`` and the ``peak`` above the inputs; None off Linux."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    script = Path(__file__).with_name("peak_memory.py")
    done = subprocess.run(
        [sys.executable, str(script), str(n_contexts)], check=True, capture_output=True, text=True
    )
    return dict(json.loads(done.stdout))
