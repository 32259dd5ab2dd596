"""What one worker does in a second, and what a cluster adds to it: the numbers that others rest on.

Seconds of processor time of one thread, so that a busy machine changes little; what Ray adds is
wall time. ``docs/how-to/many-machines.md`` multiplies these by the number of workers.

    python benchmarks/machines.py [--ray]
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from concept_ppl import load_model, posterior, simulate
from concept_ppl.analyses.studies.laboratory import Extent
from concept_ppl.analyses.studies.laboratory.measures import measure
from concept_ppl.analyses.studies.regimes import REGIMES
from concept_ppl.analyses.studies.theory import THEORY
from concept_ppl.bridge import extract, load_language_model
from concept_ppl.distributed import Machines, answers, environment, hired
from concept_ppl.distributed.attempts import one_thread

CELLS, CONTEXTS, TEXTS = 4, 100_000, 200
PARTS, PAYLOAD = 200, 2**25


@contextmanager
def timed(what: str, n: int, unit: str) -> Iterator[None]:
    """Print seconds of processor time a unit, and units a second."""
    start = time.process_time()
    with one_thread():
        yield
    seconds = time.process_time() - start
    print(f"{what}: {seconds / n:.3g} s a {unit}, {n / seconds:,.0f} in a second")


def cells() -> None:
    """Time some cells of each study, as ``--quick`` has them."""
    for study in (THEORY, REGIMES):
        plan = study.plan(Extent())
        trained = [cell for cell in plan if cell.settings["training"] is not None]
        chosen = np.random.default_rng(0).choice(len(trained), CELLS, replace=False)
        with timed(f"study {study.name}, {len(plan)} cells, {len(trained)} trained", CELLS, "cell"):
            for number in chosen:
                measure(trained[number].settings)


def posteriors() -> None:
    """Time exact posteriors."""
    model = load_model("concept_dag")
    contexts = simulate(model, CONTEXTS, lengths=32, seed=0)
    posterior(model, contexts[:100])
    with timed("posterior of concept_dag, 32 tokens", CONTEXTS, "context"):
        posterior(model, contexts)


def extraction() -> None:
    """Time the states of SmolLM2-135M at every site."""
    model = load_model("word_languages")
    texts = simulate(model, TEXTS, lengths=8, seed=0)["text"].tolist()
    language_model = load_language_model("smollm2")
    with timed("extract smollm2, all sites, 8 words", TEXTS, "context"):
        extract(language_model, texts, sites="all")


def overhead() -> None:
    """Time a cluster of one worker that is started here: its start, small parts, large answers."""
    start = time.perf_counter()
    with hired(Machines(1, ray="")) as crew:
        print(f"Ray: {time.perf_counter() - start:.1f} s until it can be asked")
        for what, n, size in (("empty part", PARTS, 0), ("answer of 32 MB", 10, PAYLOAD)):
            start = time.perf_counter()
            made = answers(crew, bytes_of, [size] * (n + 1))
            next(made)
            first = time.perf_counter()
            for _ in made:
                pass
            each = (time.perf_counter() - first) / n
            print(
                f"Ray: {first - start:.1f} s until a worker's first answer, {each:.3g} s a {what}"
            )


def bytes_of() -> Callable[[int], bytes]:
    """Return what makes an answer of so many bytes."""
    return bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ray", action="store_true", help="also start Ray here, for what it adds")
    options = parser.parse_args()
    print(environment()["processor"])
    cells()
    posteriors()
    extraction()
    if options.ray:
        overhead()


if __name__ == "__main__":
    main()
