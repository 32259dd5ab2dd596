"""Do tests keep their size and intervals their coverage? Every method on a grid of planted worlds.

Each replication draws a world of known truth (:mod:`validity_worlds`) and asks every method about
it (:mod:`validity_checks`). Counts are kept by blocks of replications (:mod:`validity_cells`), so
that a run that was stopped goes on where it was, and more replications or cells add to what is
there. ``--ray`` works on a cluster whose machines share this checkout; ``--write`` renders the page
in docs/.
"""

import argparse
from collections.abc import Sequence

import pandas as pd
from validity_cells import RESULTS, blocks, counted, measure
from validity_checks import CHECKS, VERDICTS
from validity_page import by_quantity, with_rates, write_page
from validity_verdicts import WORLDS, Planted
from validity_worlds import Cell, grid

from concept_ppl.analyses.studies.laboratory.cells import answer_cells
from concept_ppl.cli.progress import stage
from concept_ppl.distributed import Machines, Store, hired


def run(
    cells: Sequence[Cell | Planted],
    checks: tuple[str, ...],
    replications: int,
    machines: Machines,
    store: Store,
) -> pd.DataFrame:
    """Fill up the counts to so many replications, and return them; say what failed."""
    with hired(machines) as crew:
        plan = blocks(cells, checks, replications, crew.environment)
        with stage("validity") as progress:
            _, failed = answer_cells(plan, measure, store, crew, progress=progress)
        table = counted(store, crew.environment)
    if failed:
        print(f"{len(failed)} of {len(plan)} blocks failed; the first: {failed[0].failure.reason}")
    return table


def core() -> list[Cell]:
    """A quarter of the grid: both extremes of the noise, two ranks, two sizes of effect."""
    return [c for c in grid() if c.heavy == c.heteroscedastic and c.lost < 2 and c.r2 < 0.99]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replications", type=int, default=2000, help="of each cell")
    parser.add_argument("--cells", choices=("core", "all"), default="all")
    parser.add_argument(
        "--only", choices=(*CHECKS, VERDICTS), action="append", help="run this check alone"
    )
    parser.add_argument("--workers", type=int, help="default: 2, with --ray all there are")
    parser.add_argument("--ray", nargs="?", const="", metavar="ADDRESS", help="a Ray cluster")
    parser.add_argument("--store", default=str(RESULTS), help="finished blocks: folder or URL")
    parser.add_argument("--write", action="store_true", help="render the page in docs/")
    options = parser.parse_args()
    cells = [*(core() if options.cells == "core" else grid()), *map(Planted, WORLDS)]
    checks = tuple(options.only or (*CHECKS, VERDICTS))
    workers = options.workers or (2 if options.ray is None else None)
    machines = Machines(workers, options.ray, announce=print)
    table = with_rates(run(cells, checks, options.replications, machines, Store(options.store)))
    print(by_quantity(table).to_string())
    if options.write:
        write_page(table)


if __name__ == "__main__":
    main()
