"""How much memory does one call of posterior() take above its inputs? Prints bytes as JSON.

Runs in a process of its own, because the high-water mark of a process never falls by itself. Linux
only: the mark is ``VmHWM`` in /proc.
"""

import ctypes
import gc
import json
import sys
from pathlib import Path

import torch
from programs import chain_program, chain_tables

from concept_ppl import compile_model, posterior

N_CONCEPTS, VOCABULARY, N_TOKENS = 10, 1000, 32


def resident(field: str) -> int:
    """Return VmRSS (now) or VmHWM (the most so far), in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def main() -> None:
    torch.set_num_threads(1)
    graph = compile_model(chain_program(chain_tables(N_CONCEPTS, VOCABULARY)), N_TOKENS)
    contexts = torch.randint(VOCABULARY, (int(sys.argv[1]), N_TOKENS))
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # or what compilation gave back would be lent out unseen
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again from here
    before = resident("VmRSS")
    answer = posterior(graph, contexts)
    tensors = [*answer.log_marginals.values(), answer.log_evidence, answer.entropy]
    sizes = {
        "inputs": contexts.nbytes,
        "answers": sum(tensor.nbytes for tensor in tensors),
        "peak": resident("VmHWM") - before,
    }
    print(json.dumps(sizes))


if __name__ == "__main__":
    main()
