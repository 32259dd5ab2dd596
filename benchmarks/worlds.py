"""What can each world tell of a predictor? Writes docs/reference/worlds.md.

    python benchmarks/worlds.py --write

Before any predictor is read, the world itself says what can be learned from it: how much of its
exact log-odds is already told by the posterior, by the most probable value, and by linear readers
of the tokens. Every number of the page is computed here, none is typed.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concept_ppl import load_model, posterior, simulate
from concept_ppl.analyses import goodness_of_fit
from concept_ppl.analyses.results.rows import Estimate
from concept_ppl.contexts.tokens import UNOBSERVED, Contexts, as_contexts

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "worlds.md"
TEXT = Path(__file__).with_suffix(".txt")
DECAYS = (1.0, 0.98, 0.95, 0.9, 0.8, 0.7, 0.5, 0.3, 0.0)
"""The plain sum, and eight sums in which a token counts the less the older it is."""
MOST_COUNTED = 128
"""Counts of tokens (and of neighbouring pairs) are read where there are no more kinds of them."""
SURE = 6.0
N_CONTEXTS = 4000

Array = NDArray[np.float64]
Knobs = dict[str, Any]
WORLDS: dict[str, Sequence[Knobs]] = {
    "switching_languages": [{}],
    "ambiguous_languages": [{}, {"limit": 1.5}, {"limit": 4.0}, {"switch": 0.01}, {"switch": 0.2}],
    "negated_opinions": [{}, {"negation": 0.0}, {"negation": 0.5}, {"strength": 0.5}],
    "codebook": [{}, {"noise": 0.15}, {"noise": 0.5}, {"names": 3}, {"exclusive": False}],
    "hidden_dice": [{}, {"tilt": 0.7}, {"tilt": 2.0}, {"switch": 0.01}, {"switch": 0.2}],
    "topics_and_registers": [
        {},
        {"topic_evidence": 0.6},
        {"topic_evidence": 2.0},
        {"register_evidence": 0.0},
        {"switch": 0.5},
    ],
}
HEADS = (
    "world",
    "posterior",
    "MAP",
    "tokens",
    "pairs",
    "spread, nats",
    f"beyond ±{SURE:.0f}",
    "entropy, nats",
)


def contrasts(log_p: Sequence[Array], of: Any = None) -> Array:
    """Return value minus first value of each concept, shape (n, Σ(K − 1)), of log p or of p."""
    tables = [table if of is None else of(table) for table in log_p]
    cut = [t[:, 1:] - t[:, :1] if of is None else t[:, 1:] for t in tables]
    return np.concatenate(cut, axis=1)


def most_probable(log_p: Array) -> Array:
    """Return the most probable value as one-hot, shape (n, K)."""
    return np.eye(log_p.shape[1])[log_p.argmax(1)]


def decayed_sums(rows: Array, lengths: NDArray[np.int64]) -> Array:
    """Sum each context's rows (Σ lengths, q), recent ones weighted more: (n, q · len(DECAYS))."""
    ends = np.cumsum(lengths)
    age = np.repeat(ends, lengths) - 1 - np.arange(len(rows))
    weighted = [rows * np.power(decay, age)[:, None] for decay in DECAYS]
    return np.add.reduceat(np.concatenate(weighted, axis=1), ends - lengths, axis=0)


def counts(codes: NDArray[np.int64], lengths: NDArray[np.int64]) -> Array:
    """Count codes (Σ lengths,) in each context, beside the last one and the length."""
    kinds, code = np.unique(codes, return_inverse=True)
    ends = np.cumsum(lengths)
    rows = np.eye(len(kinds))[code]
    total = np.add.reduceat(rows, ends - lengths, axis=0)
    return np.concatenate([total, rows[ends - 1], lengths[:, None]], axis=1)


def what_it_tells(log_p: Sequence[Array], readers: Mapping[str, Array]) -> dict[str, Any]:
    """Return held-out R² of the exact log-odds, their spread, and how sure they are.

    Parameters
    ----------
    log_p
        Of each concept that is read, its log-posterior, shape (n, K).
    readers
        Features (n, q) of linear readers of the tokens, by name.
    """
    Z = contrasts(log_p)
    features = {
        "posterior": contrasts(log_p, np.exp),
        "MAP": contrasts(log_p, most_probable),
        **readers,
    }
    fits = {name: goodness_of_fit(F, Z).backward for name, F in features.items()}
    entropy = -sum((np.exp(table) * table).sum(1).mean() for table in log_p)
    return {
        **fits,
        "spread, nats": float(np.sqrt(Z.var(0).mean())),
        f"beyond ±{SURE:.0f}": float((np.abs(Z) > SURE).mean()),
        "entropy, nats": float(entropy),
    }


def evidence_rows(model: Any, contexts: Contexts, names: Sequence[str], width: int) -> Array:
    """Return what each token (or pair of neighbours) says alone: (Σ lengths, Σ(K − 1)), in nats.

    Row t of a context is the log-odds of the concepts at position t where no token is observed but
    the last ``width`` up to t: an exact query, whatever the program.
    """
    lone, place = [], []
    for start, length in zip(contexts.offsets, contexts.lengths, strict=True):
        tokens = contexts.tokens[start : start + length]
        for t in range(length):
            masked = np.full(length, UNOBSERVED)
            own = slice(max(0, t - width + 1), t + 1)
            masked[own] = tokens[own]
            lone.append(masked)
            place.append(t)
    each = Contexts(np.concatenate(lone), np.array([len(one) for one in lone]))
    distinct, inverse = each.unique()
    at = np.empty(len(distinct), np.int64)
    at[inverse] = place  # the last observed token: contexts that are alike have the same
    answer = posterior(model, distinct, smoothed=True)
    tables = [answer.smoothed[name][distinct.offsets + at].numpy() for name in names]
    return contrasts(tables)[inverse]


def readers(model: Any, contexts: Contexts, names: Sequence[str]) -> dict[str, Array]:
    """Return the features of the best linear readers of tokens and of pairs of neighbours."""
    before = np.concatenate([[0], contexts.tokens[:-1] + 1])
    before[contexts.offsets] = 0
    kinds = len(model.labels["x"])
    features = {}
    for width, name, codes in (
        (1, "tokens", contexts.tokens),
        (2, "pairs", before * kinds + contexts.tokens),
    ):
        parts = [decayed_sums(evidence_rows(model, contexts, names, width), contexts.lengths)]
        if len(np.unique(codes)) <= MOST_COUNTED:
            parts.append(counts(codes, contexts.lengths))
        features[name] = np.concatenate(
            [*parts, *([features["tokens"]] if features else [])], axis=1
        )
    return features


def measure(name: str, knobs: Knobs, n_contexts: int) -> dict[str, Any]:
    model = load_model(name, **knobs)
    contexts = as_contexts(simulate(model, n_contexts))
    answer = posterior(model, contexts)
    names = [model.concept] if hasattr(model, "concept") else list(answer.log_marginals)
    log_p = [answer.log_marginals[one].numpy() for one in names]
    return what_it_tells(log_p, readers(model, contexts, names))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}, else print it")
    parser.add_argument("-n", type=int, default=N_CONTEXTS, help="contexts of each world")
    given = parser.parse_args()
    rows, widths = [], []
    for name, settings in WORLDS.items():
        for knobs in settings:
            numbers = measure(name, knobs, given.n)
            changed = ", ".join(f"{key}={value}" for key, value in knobs.items())
            rows.append(
                [f"· `{changed}`" if knobs else f"**`{name}`**", *map(written, numbers.values())]
            )
            fits = [value for value in numbers.values() if isinstance(value, Estimate)]
            widths += [(fit.ci_high - fit.ci_low) / 2 for fit in fits]
            print(*rows[-1], sep="  ", flush=True)
    page = TEXT.read_text(encoding="utf-8").format(
        table=table(rows), n=f"{given.n:,}", widest=f"{max(widths):.3f}".lstrip("0")
    )
    if given.write:
        PAGE.write_text(page, encoding="utf-8")
    else:
        print(page)


def written(value: Any) -> str:
    if isinstance(value, Estimate):
        return f"{value.estimate:.3f}"
    return f"{value:.2f}"


def table(rows: Sequence[Sequence[str]]) -> str:
    lines = [HEADS, ["---"] * len(HEADS), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
