"""How much memory and time does EM take on N contexts? Prints one line of JSON; Linux only.

Runs in a process of its own, because the high-water mark of a process never falls by itself.
"""

import json
import sys
import time
from pathlib import Path

import torch
from fit_programs import answers_of_classes, latent_classes

from concept_ppl import fit
from concept_ppl.contexts.tokens import Contexts

CLASSES, ITEMS, ANSWERS, ITERATIONS = 8, 20, 50, 5


def main():
    torch.set_num_threads(1)
    tokens = answers_of_classes(int(sys.argv[1]), CLASSES, ITEMS, ANSWERS)
    contexts = Contexts.from_padded(tokens)
    start = time.perf_counter()
    fit(
        latent_classes(CLASSES, ITEMS, ANSWERS),
        contexts,
        "em",
        restarts=1,
        iterations=ITERATIONS,
        tolerance=0.0,
        standard_errors=False,
    )
    seconds = time.perf_counter() - start
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
    print(json.dumps({"n": int(sys.argv[1]), "peak_bytes": peak, "seconds": seconds}))


if __name__ == "__main__":
    main()
