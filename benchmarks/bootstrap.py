"""How much faster is a refit of held-out R² by reweighted Gram matrices than a scikit-learn loop?

Run with one thread (`OMP_NUM_THREADS=1`). A few refits of each stand for a thousand. Both reweight
the same clusters, keep the same folds and choose the penalty again, nested; the peer among the same
penalties, in a second row among all of them. R² of both are compared before either is timed.
"""

import argparse
import json
import os
import platform
from dataclasses import asdict
from pathlib import Path

import numpy as np
import sklearn
from measures import Work, paired_ratio
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold

from concept_ppl.analyses.designs.bootstrap import cluster_bootstrap
from concept_ppl.analyses.designs.cross_fits import PENALTIES
from concept_ppl.analyses.designs.decomposition import decompose
from concept_ppl.analyses.designs.design import make_design
from concept_ppl.analyses.designs.refits import QUANTITIES, make_refitter, refit

RESULTS = Path(__file__).parent / "results" / "bootstrap.json"
BAR = 10.0
AGREEMENT = 2e-3
"""Largest |ΔR²| that counts as the same answer; inner folds and the unit of λ differ a little."""


def planted(n, d, q):
    """States of unequal spread whose first coordinates carry the contrasts; clusters of two."""
    rng = np.random.default_rng(0)
    F = rng.normal(size=(n, d)) * np.exp(rng.normal(size=d))
    Z = F[:, :q] + rng.normal(size=(n, q))
    return F, Z, np.arange(n) // 2


def loop_of_sklearn(F, Z, clusters, folds, weights, penalties):
    """Held-out R²(Z|F) of ridge regression, λ from GridSearchCV with GroupKFold, nested."""
    sse = sst = 0.0
    for k in np.unique(folds):
        train, test = folds != k, folds == k
        mean = np.average(F[train], axis=0, weights=weights[train])
        X = (F[train] - mean) * np.sqrt(weights[train, None])
        top = np.linalg.norm(X, ord=2) ** 2
        splits = list(GroupKFold(4).split(F[train], groups=clusters[train]))
        search = GridSearchCV(
            Ridge(solver="cholesky"),
            {"alpha": penalties * top},
            cv=splits,
            scoring="neg_mean_squared_error",
        )
        search.fit(F[train], Z[train], sample_weight=weights[train])
        baseline = np.average(Z[train], axis=0, weights=weights[train])
        sse += weights[test] @ np.square(Z[test] - search.predict(F[test])).sum(axis=1)
        sst += weights[test] @ np.square(Z[test] - baseline).sum(axis=1)
    return 1.0 - sse / sst


def speed(n, d, q, repeats):
    """Ratio of medians of seconds a refit, in interleaved pairs."""
    F, Z, clusters = planted(n, d, q)
    design = make_design(n, clusters=clusters)
    states = decompose(F, design)
    refitter = make_refitter(states, Z)
    rng = np.random.default_rng(1)
    weights = rng.gamma(1.0, size=design.n_clusters)[design.clusters]
    short = PENALTIES[refitter.tried.any(axis=0)]
    ours = refit(refitter, weights)[QUANTITIES.index("r2_backward")]
    rows = {}
    for name, penalties in (("same penalties", short), ("all penalties", PENALTIES)):
        theirs = loop_of_sklearn(F, Z, clusters, design.folds, weights, penalties)
        if not abs(ours - theirs) < AGREEMENT:
            raise RuntimeError(f"R² is {ours:.5f} here and {theirs:.5f} there: no time means much")
        ratio, seconds = paired_ratio(
            Work(lambda p=penalties: loop_of_sklearn(F, Z, clusters, design.folds, weights, p)),
            Work(lambda: refit(refitter, weights)),
            repeats,
        )
        rows[name] = {
            "penalties": len(penalties),
            "ratio": asdict(ratio),
            "seconds_a_refit": seconds.median,
            "difference_of_r2": float(ours - theirs),
            "met": ratio.median >= BAR,
        }
    whole = Work(lambda: cluster_bootstrap(states, Z, n_refits=50)).seconds_each()
    return {"n": n, "d": d, "q": q, "rows": rows, "seconds_of_50_refits_in_all": whole}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two pairs, no interval")
    options = parser.parse_args()
    found = speed(3_000, 576, 4, 2 if options.quick else 7)
    found["machine"] = {
        "processor": platform.processor() or platform.machine(),
        "threads": os.environ.get("OMP_NUM_THREADS", "unset"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
    }
    print("| scikit-learn's loop tries | bar | times faster: median [95% interval] | ours | |")
    print("|---|---|---|---|---|")
    for name, row in found["rows"].items():
        ratio = row["ratio"]
        reached = f"{ratio['median']:.1f} [{ratio['low']:.1f}, {ratio['high']:.1f}]"
        verdict = "met" if row["met"] else "NOT MET"
        ours = f"{row['seconds_a_refit']:.3g} s a refit"
        print(f"| {name} ({row['penalties']}) | ≥ {BAR:g} | {reached} | {ours} | {verdict} |")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    print(f"\nwritten to {RESULTS}")


if __name__ == "__main__":
    main()
