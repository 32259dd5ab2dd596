"""Does the bridge cost anything beyond the forward pass, and does it stay small? On SmolLM2.

Prints one row per bar and writes all of them to ``benchmarks/results/``, as JSON. One thread; a
process for each row; ratios in pairs within one process.
"""

import argparse
import gc
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measures import Spread, Work, paired_ratio
from peak_memory import resident
from posterior import RESULTS, Row, Settings, in_own_process, surroundings
from wordfreq import top_n_list

from concept_ppl import load_model, simulate
from concept_ppl.bridge import LanguageModel, extract, load_language_model
from concept_ppl.bridge.anatomy.forward_pass import pad_right
from concept_ppl.bridge.extraction.positions import readings
from concept_ppl.bridge.extraction.reading_plan import BATCH_TOKENS_CPU, Batch, plan_readings

LANGUAGES = ("en", "fr", "de", "es", "it")
N_WORDS, N_CONTEXTS = 4_000, 3_000
N_ALONE = 40
"""Words that run one at a time in each repeat: all 4,000 would take an hour."""
N_SOME = 600


@dataclass
class Bench:
    """SmolLM2 and what it reads."""

    language_model: LanguageModel = field(default_factory=lambda: load_language_model("smollm2"))

    @cached_property
    def words(self) -> list[str]:
        """The most frequent words of five languages."""
        each = N_WORDS // len(LANGUAGES)
        return [word for language in LANGUAGES for word in top_n_list(language, each)]

    @cached_property
    def contexts(self) -> list[str]:
        """Contexts of the language study."""
        world = load_model("switching_languages", languages=LANGUAGES)
        return list(simulate(world, N_CONTEXTS, seed=0)["text"])

    def some(self, n: int) -> list[str]:
        """Some words drawn at random, without repetition."""
        distinct = sorted(set(self.words))
        return list(np.random.default_rng(0).choice(distinct, n, replace=False))

    def batches(self, texts: list[str]) -> list[tuple[list[str], Batch]]:
        """The batches that `extract` makes of the texts, each with its texts."""
        found = readings(
            self.language_model.tokenizer,
            texts,
            positions="last",
            prefix=self.language_model.prefix,
            leading_space=True,
        )
        text_of = dict(zip(found, texts, strict=True))
        plan = plan_readings(found, "last", BATCH_TOKENS_CPU)
        batches = map(plan.batch, range(plan.n_batches))
        return [([text_of[r] for r in batch.readings], batch) for batch in batches]

    def forward(self, batch: Batch) -> object:
        """What anyone would call: the model on a padded batch."""
        ids, mask = pad_right([r.tokens for r in batch.readings], torch.device("cpu"))
        with torch.inference_mode():
            return self.language_model.model(input_ids=ids, attention_mask=mask)

    def one_at_a_time(self, words: list[str]) -> None:
        """The published way: each word alone, all hidden states, the last token's kept."""
        tokenizer = self.language_model.tokenizer
        for word in words:
            ids = tokenizer(f" {word}", return_tensors="pt", add_special_tokens=False)["input_ids"]
            prefix = torch.tensor([[self.language_model.prefix]])
            with torch.inference_mode():
                output = self.language_model.model(
                    torch.cat([prefix, ids], dim=1), output_hidden_states=True
                )
            _ = [hidden[0, -1].numpy().copy() for hidden in output.hidden_states]


def row_throughput(settings: Settings) -> Row:
    """Time batch by batch, ours and the bare model in turn: one pass over everything."""
    bench = Bench()
    ratios = []
    batches = bench.batches(bench.words) + bench.batches(bench.contexts)
    for number, (texts, batch) in enumerate(batches[:: 12 if settings.quick else 1]):
        bare = Work(lambda batch=batch: bench.forward(batch))
        ours = Work(
            lambda texts=texts: extract(
                bench.language_model, texts, sites="all", batch_tokens=10**9
            )
        )
        pair = (bare, ours) if number % 2 else (ours, bare)
        taken = {work: work.seconds_each() for work in pair}
        ratios.append(taken[bare] / taken[ours])
    note = f"batch by batch, {len(ratios)} of {len(batches)}; the bare model computes logits too"
    work = f"{N_WORDS:,} words and {N_CONTEXTS:,} contexts, all sites"
    return Row(work, "bare model(**batch)", Spread.of(ratios), " of its speed", 0.9, True, note)


def row_disk(settings: Settings) -> Row:
    bench = Bench()
    texts = bench.some(N_SOME)
    with tempfile.TemporaryDirectory() as folder:
        disk = Work(
            lambda: extract(
                bench.language_model, texts, sites="all", folder=Path(folder) / "s", force=True
            ),
            len(texts),
        )
        memory = Work(lambda: extract(bench.language_model, texts, sites="all"), len(texts))
        ratio, _ = paired_ratio(memory, disk, settings.repeats(9))
    note = "written, looked through, digested; nobody's bar but our own"
    work = f"{N_SOME} words, all sites, to the disk"
    return Row(work, "the same in memory", ratio, " of its speed", 0.9, True, note)


def row_one_by_one(settings: Settings) -> Row:
    bench = Bench()
    some, few = bench.some(N_SOME), bench.some(N_SOME)[:N_ALONE]
    alone = Work(lambda: bench.one_at_a_time(few), len(few))
    ours = Work(lambda: extract(bench.language_model, some, sites="all"), len(some))
    ratio, seconds = paired_ratio(alone, ours, settings.repeats(9))
    note = (
        f"{N_ALONE} of them alone, {N_SOME} in batches; ours {seconds.median * 1e3:.3g} ms a word"
    )
    work = f"{N_WORDS:,} words, all sites"
    return Row(work, "one word at a time", ratio, " times faster", 10, True, note)


def _stopping(share: float, settings: Settings) -> Row:
    bench = Bench()
    texts = bench.some(N_SOME // 2)
    last = bench.language_model.n_blocks
    block = round(share * last)
    early, late = (
        Work(lambda site=site: extract(bench.language_model, texts, sites=site), len(texts))
        for site in (f"resid.{block}", f"resid.{last}")
    )
    ratio, _ = paired_ratio(early, late, settings.repeats(9))
    note = f"{block}/{last} = {block / last:.2f}; the bar is a tenth above it"
    work = f"stop after block {block} of {last}"
    bar = round(1.1 * block / last, 2)
    return Row(work, "all blocks", ratio, " of its time", bar, False, note)


def row_third(settings: Settings) -> Row:
    return _stopping(1 / 3, settings)


def row_two_thirds(settings: Settings) -> Row:
    return _stopping(2 / 3, settings)


def row_memory(settings: Settings) -> Row:
    bench = Bench()
    texts = bench.words + bench.contexts
    texts = texts[::12] if settings.quick else texts
    against = "peak memory above the model"
    work = f"{len(texts):,} words and contexts, all sites, to the disk"
    marks = Path("/proc/self/clear_refs")
    if not marks.exists():
        return Row(work, against, None, " GB", 1, False, "needs Linux")
    gc.collect()
    marks.write_text("5")
    before = resident("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        extract(bench.language_model, texts, sites="all", folder=Path(folder) / "s")
        peak = resident("VmHWM") - before
        written = sum(path.stat().st_size for path in (Path(folder) / "s").iterdir())
    note = f"{written / 1e9:.2g} GB written; texts, tokens and the plan included"
    return Row(work, against, peak / 1e9, " GB", 1, False, note)


def row_agreement(settings: Settings) -> Row:
    bench = Bench()
    n = 5 if settings.quick else 20
    texts = bench.some(n) + bench.contexts[:: N_CONTEXTS // n]
    together = extract(bench.language_model, texts, sites="all")
    largest = 0.0
    for row, text in enumerate(texts):
        alone = extract(bench.language_model, [text], sites="all")
        for site in together.sites:
            scale = np.abs(alone[site]).max()
            if scale > 0:
                difference = np.abs(together[site][row] - alone[site][0]).max()
                largest = max(largest, float(difference / scale))
    note = f"{len(texts)} texts, every site; small models of every family: `pytest -m families`"
    return Row("batched states", "the same one by one", largest, " relative", 1e-3, False, note)


ROWS: dict[str, Callable[[Settings], Row]] = {
    "throughput": row_throughput,
    "disk": row_disk,
    "one-by-one": row_one_by_one,
    "third": row_third,
    "two-thirds": row_two_thirds,
    "memory": row_memory,
    "agreement": row_agreement,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few repeats, no interval")
    parser.add_argument("--only", choices=ROWS, action="append", help="measure this row alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = Settings(options.quick, torch.device("cpu"))
    about: dict[str, Any] = surroundings(settings)
    print(f"{about['machine']['processor']}, one thread, {about['date']}\n")
    print("| work | against | bar | reached: median [95% interval] | | |")
    print("|---|---|---|---|---|---|")
    rows = {}
    for name in options.only or list(ROWS):
        row = in_own_process(ROWS[name], settings)
        print("| " + " | ".join(row.cells()) + " |", flush=True)
        rows[name] = asdict(row) | {"met": row.met}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"extraction-{str(about['date']).replace(':', '')[:17]}.json"
    path.write_text(json.dumps(about | {"rows": rows}, indent=2, ensure_ascii=False) + "\n")
    print(f"\nwritten to {path}")


if __name__ == "__main__":
    main()
