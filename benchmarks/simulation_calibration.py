"""Are posteriors of parameters right? Simulation-based calibration of NUTS on a small program.

Each data set is drawn from parameters that are drawn from the prior; the rank of each true number
among its posterior draws is then uniform, and 95% intervals cover in 95% of the data sets. Ranks
are kept in ``benchmarks/results/simulation_calibration.cells``, a file a data set, so that a run
that was stopped goes on where it was. ``--ray`` works on a cluster whose machines share this
checkout; ``--write`` renders the page in docs/. Source: Talts et al.
(2018), https://arxiv.org/abs/1804.06788; simultaneous band: Säilynoja, Bürkner and Vehtari (2022),
https://doi.org/10.1007/s11222-022-10090-6.
"""

import argparse
import platform
import warnings
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.ops.indexing import Vindex
from scipy import stats

from concept_ppl import fit
from concept_ppl.analyses.studies.laboratory.cells import Cell, answer_cells, read_cells
from concept_ppl.cli.progress import stage
from concept_ppl.distributed import ONE_PROCESS, Machines, Store, hired

ROOT = Path(__file__).parents[1]
RANKS = ROOT / "benchmarks" / "results" / "simulation_calibration.cells"
TABLE = ROOT / "docs" / "reference" / "simulation_calibration.csv"
PAGE = ROOT / "docs" / "reference" / "simulation_calibration.md"
N_CONTEXTS, N_TOKENS = 40, 4
WARMUP, KEPT, EVERY = 150, 99, 2
"""Warm-up, draws whose ranks count, and iterations from one of them to the next."""
BINS = 20
"""KEPT + 1 ranks in so many bins."""
WEIGHTS = torch.tensor([4.0, 2.0], dtype=torch.float64)
EMISSION = torch.tensor([[9.0, 3.0, 1.5], [1.5, 3.0, 9.0]], dtype=torch.float64)


def small(n_tokens):
    """Two classes whose priors differ so much that their names are known; three token values.

    Priors that differ little leave a second mode, with the names swapped, that a chain may never
    visit (or never leave, where it starts there): ranks are then far from uniform.
    """
    share = pyro.sample("share", dist.Dirichlet(WEIGHTS))
    with pyro.plate("classes", 2):
        emission = pyro.sample("emission", dist.Dirichlet(EMISSION))
    kind = pyro.sample("kind", dist.Categorical(share))
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Categorical(Vindex(emission)[kind]))


def numbers(values):
    """Return the free numbers that are ranked, by name, from arrays (…, *shape)."""
    share, emission = np.asarray(values["share"]), np.asarray(values["emission"])
    named = {"share[0]": share[..., 0]}
    for k in range(2):
        for v in range(3):
            named[f"emission[{k},{v}]"] = emission[..., k, v]
    return named


def one(seed, kept=KEPT, warmup=WARMUP):
    """Draw parameters and tokens, fit, and return ranks and coverage."""
    rng = np.random.default_rng(seed)
    truth = {
        "share": rng.dirichlet(WEIGHTS.numpy()),
        "emission": np.stack([rng.dirichlet(row) for row in EMISSION.numpy()]),
    }
    kinds = rng.choice(2, N_CONTEXTS, p=truth["share"])
    tokens = [rng.choice(3, N_TOKENS, p=truth["emission"][kind]) for kind in kinds]
    found = fit(
        small,
        tokens,
        "nuts",
        chains=1,
        warmup=warmup,
        draws=kept * EVERY,
        seed=seed,
        log_likelihood=False,
    )
    true = numbers(truth)
    ranks, covered = {}, {}
    for name, draws in numbers(found.draws).items():
        thinned = draws[0, EVERY - 1 :: EVERY]
        ranks[name] = int((thinned < true[name]).sum())
        low, high = np.quantile(draws[0], [0.025, 0.975], method="weibull")
        covered[name] = bool(low <= true[name] <= high)
    diverging = int(found.sample_stats["diverging"].sum())
    return {"seed": seed, "ranks": ranks, "covered": covered, "diverging": diverging}


def rank_tests(ranks, kept=KEPT):
    """Return the p-value of a χ² test, and whether the ECDF stays in its simultaneous 95% band."""
    ranks = np.asarray(ranks)
    counts = np.bincount(ranks * BINS // (kept + 1), minlength=BINS)
    p_value = float(stats.chisquare(counts).pvalue)
    grid = np.arange(1, kept + 1) / (kept + 1)
    reached = (ranks[:, None] < np.arange(1, kept + 1)).sum(0)
    level = band_level(len(ranks), kept)
    low, high = stats.binom.interval(1 - level, len(ranks), grid)
    outside = (reached < low) | (reached > high)
    return p_value, not outside.any()


def band_level(n, kept, *, level=0.05, repeats=2000):
    """Return the pointwise level at which the band holds simultaneously, by simulation."""
    rng = np.random.default_rng(0)
    grid = np.arange(1, kept + 1) / (kept + 1)
    smallest = np.empty(repeats)
    for r in range(repeats):
        counts = np.bincount(rng.integers(0, kept + 1, n), minlength=kept + 1)
        reached = counts.cumsum()[:-1]
        below = stats.binom.cdf(reached, n, grid)
        above = stats.binom.sf(reached - 1, n, grid)
        smallest[r] = 2 * np.minimum(below, above).min()
    return float(np.quantile(smallest, level))


def quietly(seed):
    warnings.simplefilter("ignore")
    return one(seed)


def measure(settings, ask=quietly):
    """Answer a cell: ranks and coverage of every number, under names of their own."""
    found = ask(settings["seed"])
    ranks = {f"rank {name}": rank for name, rank in found["ranks"].items()}
    covered = {f"covered {name}": int(covers) for name, covers in found["covered"].items()}
    return {**ranks, **covered, "diverging": found["diverging"]}


def line_of(row):
    """Return what a data set gave, from its cell."""
    whose = {
        kind: {k.removeprefix(kind): v for k, v in row.items() if k.startswith(kind)}
        for kind in ("rank ", "covered ")
    }
    covered = {name: bool(covers) for name, covers in whose["covered "].items()}
    return {
        "seed": row["seed"],
        "ranks": whose["rank "],
        "covered": covered,
        "diverging": row["diverging"],
    }


def run(n, path=RANKS, *, ask=quietly, machines=ONE_PROCESS):
    """Fit the data sets that have no file yet, and return what came out of all that have one."""
    store = Store(path)
    with hired(machines) as crew, stage("calibration") as progress:
        knobs = {
            "calibration": "nuts",
            "contexts": N_CONTEXTS,
            "tokens": N_TOKENS,
            "warmup": WARMUP,
            "kept": KEPT,
            "every": EVERY,
        }
        plan = [Cell({**knobs, "seed": seed}, crew.environment) for seed in range(n)]
        _, failed = answer_cells(plan, partial(measure, ask=ask), store, crew, progress=progress)
    if failed:
        print(f"{len(failed)} of {n} data sets failed; the first: {failed[0].failure.reason}")
    left_out = {one.cell.digest for one in failed}
    return [
        line_of(row) for row in read_cells([c for c in plan if c.digest not in left_out], store)
    ]


def between_order_statistics(ranks, kept=KEPT):
    """Whether truths lie between the draws that hold them in 95 of 100 cases, exactly.

    A rank is uniform over kept + 1 values if draws are right and independent. Of 100, the lowest
    two and the highest three lie outside of the interval between the 2nd and the 97th draw.
    """
    share = (kept + 1) / 100
    ranks = np.asarray(ranks)
    return (ranks >= 2 * share) & (ranks < 97 * share)


def summarise(lines):
    """Return one row a number: rank test, band, coverage with its interval."""
    rows = []
    for name in lines[0]["ranks"]:
        p_value, inside = rank_tests([line["ranks"][name] for line in lines])
        hits = int(between_order_statistics([line["ranks"][name] for line in lines]).sum())
        interval = stats.binomtest(hits, len(lines)).proportion_ci(0.95, "wilson")
        rows.append(
            {
                "number": name,
                "data_sets": len(lines),
                "rank_p_value": p_value,
                "ecdf_in_band": inside,
                "coverage": hits / len(lines),
                "coverage_low": interval.low,
                "coverage_high": interval.high,
                "reported_cover": np.mean([line["covered"][name] for line in lines]),
            }
        )
    return rows


def write(lines):
    rows = summarise(lines)
    header = list(rows[0])
    text = [",".join(header)]
    text += [
        ",".join(f"{row[c]:.4g}" if isinstance(row[c], float) else str(row[c]) for c in header)
        for row in rows
    ]
    TABLE.write_text("\n".join(text) + "\n")
    overall = np.mean([row["coverage"] for row in rows])
    by_reported = np.mean([row["reported_cover"] for row in rows])
    diverging = sum(line["diverging"] for line in lines)
    page = [
        "# Simulation-based calibration of NUTS",
        "",
        f"{len(lines)} data sets of {N_CONTEXTS} contexts of {N_TOKENS} tokens, each drawn from "
        f'parameters that were drawn from the prior, and fitted with `fit(…, "nuts")`: '
        f"{WARMUP} warm-up iterations, {KEPT * EVERY} draws, of which one in {EVERY} is ranked. "
        f"{diverging} of {len(lines) * KEPT * EVERY:,} transitions diverged.",
        "",
        "| number | rank test, p | ECDF in its 95% band | ranks cover | reported intervals cover |",
        "|---|---|---|---|---|",
    ]
    page += [
        f"| {row['number']} | {row['rank_p_value']:.3f} | {'yes' if row['ecdf_in_band'] else 'no'} "
        f"| {row['coverage']:.3f} [{row['coverage_low']:.3f}, {row['coverage_high']:.3f}] "
        f"| {row['reported_cover']:.3f} |"
        for row in rows
    ]
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "pyro-ppl"))
    page += [
        "",
        f"All numbers together: {overall:.3f}, and {by_reported:.3f} for the intervals that "
        f"`parameter_estimates` reports. The rank test is χ² over {BINS} bins; the band is "
        "two-sided and simultaneous. Ranks cover where the truth lies between those order "
        "statistics of the ranked draws that hold it in 95% exactly if the draws are right. "
        "Reported intervals are the same of all draws, which depend on each other, so that they "
        "are worth fewer. The two rows of `emission` have three numbers each, two of them free.",
        "",
        "Chains start at draws from the prior. Started anywhere in unconstrained coordinates, a "
        "chain may stay where the names of the two classes are swapped, and its ranks are then far "
        "from uniform: it does not cross between such modes. Give a concept's values names by a "
        "prior or by some known values, or read the draws matched.",
        "",
        f"Made by `python benchmarks/simulation_calibration.py -n {len(lines)} --write` (Python "
        f"{platform.python_version()}, {versions}).",
    ]
    PAGE.write_text("\n".join(page) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=500, help="data sets in all")
    parser.add_argument("--workers", type=int, help="default: 1, with --ray all there are")
    parser.add_argument("--ray", nargs="?", const="", metavar="ADDRESS", help="a Ray cluster")
    parser.add_argument("--write", action="store_true", help="render the page in docs/")
    options = parser.parse_args()
    lines = run(options.n, machines=Machines(options.workers, options.ray, announce=print))
    for row in summarise(lines):
        print(row)
    if options.write:
        write(lines)


if __name__ == "__main__":
    main()
