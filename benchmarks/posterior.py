"""Is the posterior engine as fast and as small as it should be, beside named peers?

Prints one row per bar and writes all of them to ``benchmarks/results/``, as JSON. One process, one
thread for everybody; every answer is compared with the peer's before either is timed.
"""

import argparse
import ctypes
import datetime
import json
import os
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path

import torch
from measures import Spread, Work, paired_ratio, peak_memory
from peers import (
    Answerer,
    hand_written,
    in_probabilities,
    largest_difference,
    pgmpy_elimination,
    pgmpy_messages,
    pomegranate_propagation,
    pyro_marginals,
)
from programs import Program, chain_program, chain_tables, crossing_program
from torch import Tensor

from concept_ppl import compile_model, load_model, posterior, simulate
from concept_ppl.contexts.tokens import as_contexts
from concept_ppl.programs.factors import FactorGraph

RESULTS = Path(__file__).with_name("results")
PACKAGES = ("concept-ppl", "torch", "pyro-ppl", "pgmpy", "pomegranate", "numpy")
AGREEMENT = {torch.float32: 1e-4, torch.float64: 1e-10}
"""Largest |Δp| that still counts as the same answer."""


@dataclass(frozen=True)
class Settings:
    """How much to repeat, and where our side runs; peers stay on the CPU."""

    quick: bool
    device: torch.device
    keep_memory: bool = False

    def repeats(self, n: int) -> int:
        """Return n, or 3 in a quick run."""
        return min(n, 3) if self.quick else n


@dataclass(frozen=True)
class Row:
    """One measured figure beside its bar.

    Attributes
    ----------
    figure : Spread or float or None
        None if it could not be measured; ``note`` says why.
    unit : str
    limit : float
        The bar.
    at_least : bool
        Whether the figure must reach the bar, or stay below it.
    """

    work: str
    against: str
    figure: Spread | float | None
    unit: str
    limit: float
    at_least: bool
    note: str = ""

    @property
    def median(self) -> float | None:
        """The figure that is held against the bar."""
        return self.figure.median if isinstance(self.figure, Spread) else self.figure

    @property
    def met(self) -> bool | None:
        """Whether the bar was met; None if nothing was measured."""
        if self.median is None:
            return None
        return self.median >= self.limit if self.at_least else self.median <= self.limit

    def cells(self) -> tuple[str, ...]:
        """Return the row of the printed table."""
        bar = f"{'≥' if self.at_least else '≤'} {self.limit:,g}{self.unit}"
        verdict = {True: "met", False: "NOT MET", None: "–"}[self.met]
        return self.work, self.against, bar, self._reached(), verdict, self.note

    def _reached(self) -> str:
        if self.median is None:
            return "not measured"
        text = f"{self.median:,.3g}" if self.median < 1000 else f"{self.median:,.0f}"
        if isinstance(self.figure, Spread) and self.figure.low == self.figure.low:
            text += f" [{self.figure.low:,.3g}, {self.figure.high:,.3g}]"
        return text + self.unit


def times_faster(
    graph: FactorGraph, contexts: Tensor, peer: Answerer, n_peer: int, repeats: int, exact: bool
) -> tuple[Spread, str]:
    """Return peer's seconds per context over ours, after a comparison of the answers.

    The peer gets the first ``n_peer`` contexts, where it is too slow for all of them.
    """
    answer = posterior(graph, contexts)
    ours = {name: table[:n_peer].exp() for name, table in answer.log_marginals.items()}
    difference = largest_difference(ours, peer(contexts[:n_peer]))
    if exact and not difference <= AGREEMENT[graph.dtype]:
        raise RuntimeError(f"the answers differ by {difference:.2g}: no time would mean anything")
    ratio, seconds = paired_ratio(
        Work(lambda: peer(contexts[:n_peer]), n_peer),
        Work(lambda: posterior(graph, contexts), len(contexts)),
        repeats,
    )
    note = f"ours {seconds.median * 1e6:.3g} µs a context; largest |Δp| {difference:.1g}"
    return ratio, note


def drawn(program: Program, n_contexts: int, n_tokens: int) -> Tensor:
    """Draw contexts from the program itself, shape (n_contexts, n_tokens)."""
    table = simulate(program, n_contexts, lengths=n_tokens, seed=0)
    return torch.from_numpy(as_contexts(table).padded())


def joint_of_256(settings: Settings) -> tuple[FactorGraph, Tensor, str]:
    """Return the graph, the contexts and the float32 error that two rows share."""
    program = chain_program(chain_tables(8, 1000))
    contexts = drawn(program, 4096, 32)
    graph = compile_model(program, 32, device=settings.device, dtype=torch.float32)
    exact = posterior(compile_model(program, 32), contexts).log_marginals
    rounded = posterior(graph, contexts).log_marginals
    error = max((rounded[name].cpu() - exact[name]).abs().max().item() for name in exact)
    return graph, contexts, f"float32 error {error:.1g} nats in log p"


def row_pyro(settings: Settings) -> Row:
    graph, contexts, error = joint_of_256(settings)
    peer = pyro_marginals(chain_tables(8, 1000))
    repeats = settings.repeats(9)
    ratio, note = times_faster(graph, contexts, peer, len(contexts), repeats, exact=True)
    work = "8 binary concepts, 32 tokens, V = 1,000, 4,096 contexts, float32"
    against = "Pyro TraceEnum_ELBO.compute_marginals"
    return Row(work, against, ratio, " times faster", 100, True, f"{note}; {error}")


def row_hand_written(settings: Settings) -> Row:
    graph, contexts, error = joint_of_256(settings)
    peer = hand_written(chain_tables(8, 1000), torch.float32, settings.device)
    answer = posterior(graph, contexts).log_marginals
    difference = largest_difference(
        {name: table.exp() for name, table in answer.items()}, in_probabilities(peer)(contexts)
    )
    if not difference <= AGREEMENT[torch.float32]:
        raise RuntimeError(f"the answers differ by {difference:.2g}: no time would mean anything")
    ratio, seconds = paired_ratio(
        Work(lambda: posterior(graph, contexts), len(contexts)),
        Work(lambda: peer(contexts), len(contexts)),
        settings.repeats(31),
    )
    note = f"theirs {seconds.median * 1e6:.3g} µs a context; largest |Δp| {difference:.1g}; {error}"
    return Row("the same", "embedding_bag, log_softmax, GEMM", ratio, " times", 1.3, False, note)


def _crossing(
    settings: Settings, pairs_read: int | None = None
) -> tuple[FactorGraph, FactorGraph, Tensor]:
    program = crossing_program(50, pairs_read=pairs_read)
    on_cpu = compile_model(program, 16)
    return on_cpu.to(settings.device), on_cpu, drawn(program, 50_000, 16)


CROSSING = "6 binary concepts in a DAG, 16 tokens with two parents, V = 50, float64"


def row_pgmpy(settings: Settings) -> Row:
    return _against_pgmpy(CROSSING, settings, pairs_read=1)


def row_pgmpy_crossing(settings: Settings) -> Row:
    return _against_pgmpy("the same, each token with two parents of its own", settings)


def _against_pgmpy(work: str, settings: Settings, pairs_read: int | None = None) -> Row:
    graph, on_cpu, contexts = _crossing(settings, pairs_read)
    against = "pgmpy VariableElimination, per context"
    peer = pgmpy_elimination(on_cpu)
    ratio, note = times_faster(graph, contexts, peer, 50, settings.repeats(15), exact=True)
    note += "; most of ours is the sum over the tokens of a context"
    return Row(work, against, ratio, " times faster", 5000, True, note)


def row_pomegranate(settings: Settings) -> Row:
    graph, on_cpu, contexts = _crossing(settings)
    against = "pomegranate BayesianNetwork.predict_proba"
    peer = pomegranate_propagation(on_cpu)
    ratio, note = times_faster(graph, contexts, peer, 512, settings.repeats(3), exact=False)
    note = f"{note}, all of it theirs: belief propagation is approximate where there are loops"
    return Row("that network", against, ratio, " times faster", 1, True, note)


def row_tree(settings: Settings) -> Row:
    program = load_model("concept_tree")
    on_cpu = compile_model(program, 60)
    contexts = drawn(program, 10_000, 60)
    peer = pgmpy_messages(on_cpu)
    graph, repeats = on_cpu.to(settings.device), settings.repeats(9)
    ratio, note = times_faster(graph, contexts, peer, 4, repeats, exact=True)
    work = "tree of 60 binary concepts, 10,000 contexts, all marginals, float64"
    against = "pgmpy message passing, per context"
    return Row(work, against, ratio, " times faster", 1000, True, note)


MILLION = "10 binary concepts, 32 tokens, V = 1,000, float64"


def row_memory(settings: Settings) -> Row:
    n_contexts = 100_000 if settings.quick else 1_000_000
    work, against = f"{n_contexts:,} contexts, {MILLION}", "peak memory above the inputs, CPU"
    found = peak_memory(n_contexts)
    if found is None:
        return Row(work, against, None, " GB", 2, False, "needs Linux")
    note = f"of which answers {found['answers'] / 1e9:.2g} GB; inputs {found['inputs'] / 1e9:.2g}"
    return Row(work, against, found["peak"] / 1e9, " GB", 2, False, note)


def row_growth(settings: Settings) -> Row:
    n_contexts = 10_000 if settings.quick else 100_000
    work, against = f"contexts × 10, to {n_contexts * 10:,}", "working memory, without the answers"
    few, many = peak_memory(n_contexts), peak_memory(n_contexts * 10)
    if few is None or many is None:
        return Row(work, against, None, " times", 2, False, "needs Linux")
    before, after = (found["peak"] - found["answers"] for found in (few, many))
    each = (after - before) / (0.9 * 10 * n_contexts)
    note = (
        f"{before / 1e6:,.0f} MB to {after / 1e6:,.0f} MB: {each:.0f} bytes a context for lengths, "
        f"offsets and order, where the inputs take 256 and the answers 176"
    )
    return Row(work, against, after / before, " times", 2, False, note)


def _own_seconds(n_concepts: int, n_contexts: int, settings: Settings) -> Work:
    """Return one call of ours on uniform tokens, its time not divided by the contexts."""
    program = chain_program(chain_tables(n_concepts, 1000))
    graph = compile_model(program, 32, device=settings.device)
    contexts = torch.randint(1000, (n_contexts, 32), generator=torch.Generator().manual_seed(0))
    return Work(lambda: posterior(graph, contexts))


def row_contexts(settings: Settings) -> Row:
    few = _own_seconds(10, 5_000, settings)
    many = _own_seconds(10, 50_000, settings)
    ratio, seconds = paired_ratio(many, few, settings.repeats(9))
    note = f"5,000 contexts take {seconds.median:.3g} s"
    return Row("contexts × 10, to 50,000", "own time", ratio, " times", 11, False, note)


def row_concept(settings: Settings) -> Row:
    ten, eleven = (_own_seconds(n, 5_000, settings) for n in (10, 11))
    ratio, seconds = paired_ratio(eleven, ten, settings.repeats(15))
    note = f"10 concepts take {seconds.median:.3g} s for 5,000 contexts"
    work = "one more binary concept, 10 to 11"
    return Row(work, "own time", ratio, " times", 2.3, False, note)


def row_compile(settings: Settings) -> Row:
    program = chain_program(chain_tables(10, 13_000))
    compilation = Work(lambda: compile_model(program, 32, device=settings.device))
    compilation.call()
    seconds = [compilation.seconds_each() for _ in range(settings.repeats(7))]
    work = "compile 10 binary concepts, V = 13,000"
    return Row(work, "wall time", Spread.of(seconds), " s", 1, False)


ROWS: dict[str, Callable[[Settings], Row]] = {
    "pyro": row_pyro,
    "hand-written": row_hand_written,
    "pgmpy": row_pgmpy,
    "pgmpy-crossing": row_pgmpy_crossing,
    "pomegranate": row_pomegranate,
    "tree": row_tree,
    "memory": row_memory,
    "growth": row_growth,
    "contexts": row_contexts,
    "concept": row_concept,
    "compile": row_compile,
}


def measured(settings: Settings, names: list[str]) -> Iterator[tuple[str, Row]]:
    """Yield each row once it was measured; a peer that is not installed makes an empty one."""
    for name in names:
        try:
            yield name, in_own_process(ROWS[name], settings)
        except ModuleNotFoundError as missing:
            note = f"{missing.name} is not installed; run `make bench`"
            yield name, Row(name, str(missing.name), None, "", 0, True, note)


def surroundings(settings: Settings) -> dict[str, object]:
    """Return what the figures depend on besides the code."""
    installed = {package.metadata["Name"] for package in metadata.distributions()}
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {name: metadata.version(name) for name in PACKAGES if name in installed},
        "python": platform.python_version(),
        "machine": {"processor": processor(), "cores": os.cpu_count(), "system": platform.system()},
        "threads": torch.get_num_threads(),
        "device": str(settings.device),
        "quick": settings.quick,
        "keep_memory": settings.keep_memory,
    }


def processor() -> str:
    """Return the name of the processor, as far as the system tells it."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    named = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def in_own_process(row: Callable[[Settings], Row], settings: Settings) -> Row:
    """Measure a row in a fresh process, so that it does not depend on the rows above it.

    What ran before changes when glibc gives memory back, and with it the time of large tables.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure, row, settings).result()


def _measure(row: Callable[[Settings], Row], settings: Settings) -> Row:
    torch.set_num_threads(1)
    if settings.keep_memory:
        keep_freed_memory()
    return row(settings)


def keep_freed_memory() -> None:
    """Let glibc keep what is freed: nobody is timed on page faults then."""
    trim_threshold, mmap_threshold = -1, -3  # the numbers of malloc.h
    libc = ctypes.CDLL(None)
    libc.mallopt(trim_threshold, 2**30)
    libc.mallopt(mmap_threshold, 2**30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few repeats, no interval")
    parser.add_argument("--only", choices=ROWS, action="append", help="measure this row alone")
    parser.add_argument(
        "--keep-memory", action="store_true", help="tell glibc to keep freed memory"
    )
    parser.add_argument("--device", default="cpu", type=torch.device, help="where our side runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = Settings(options.quick, options.device, options.keep_memory)
    about = surroundings(settings)
    print(f"{about['machine']['processor']}, one thread, {about['date']}\n")
    print("| work | against | bar | reached: median [95% interval] | | |")
    print("|---|---|---|---|---|---|")
    rows = {}
    for name, row in measured(settings, options.only or list(ROWS)):
        print("| " + " | ".join(row.cells()) + " |", flush=True)
        rows[name] = asdict(row) | {"met": row.met}
    RESULTS.mkdir(exist_ok=True)
    stamp = str(about["date"]).replace(":", "")[:17]
    path = RESULTS / f"posterior-{stamp}.json"
    path.write_text(json.dumps(about | {"rows": rows}, indent=2, ensure_ascii=False) + "\n")
    print(f"\nwritten to {path}")


if __name__ == "__main__":
    main()
