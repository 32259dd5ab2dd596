"""What a GPU gives: the same work on the card and on the CPU beside it, answers compared first.

Runs the tests that need CUDA, then times posteriors, EM, training and the reading of a language
model of a billion parameters, in at most eight minutes, and writes docs/reference/gpu.md with the
card's name. Without a card it says so and ends with status 2.
"""

import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from concept_ppl import load_model, posterior
from concept_ppl.contexts import Contexts
from concept_ppl.fitting.likelihoods.likelihood import make_likelihood
from concept_ppl.inference.enumerated_contexts import enumerate_contexts
from concept_ppl.predictors import PredictorConfig, exact_examples, train
from concept_ppl.programs import compile_model

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "gpu.md"
SECONDS = 8 * 60
"""Of the whole script; a row that no time is left for is left out, and the page says so."""
LENGTH, CPU_CONTEXTS = 32, 200_000
POSTERIOR_BAR, EM_BAR, EXTRACTION_BAR = 20.0, 10.0, 0.9


def seconds_of(call, repeats=3):
    """Return the least seconds of some calls, after one that warms up."""
    call()
    taken = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return min(taken)


def verdict(met):
    return "met" if met else "NOT MET"


def tests():
    command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "tests"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    return f"Tests that need CUDA: {done.stdout.strip().splitlines()[-1]}."


def some_contexts(n):
    """Distinct contexts of a world, drawn at random from its vocabulary."""
    rng = np.random.default_rng(0)
    size = compile_model(load_model("concept_dag"), LENGTH, lengths=()).vocabulary_size
    tokens = rng.integers(0, size, n * LENGTH)
    return Contexts(tokens, np.full(n, LENGTH))


def posteriors():
    """Rows of contexts a second, and the largest difference in nats, in both precisions."""
    model, few = load_model("concept_dag"), some_contexts(CPU_CONTEXTS)
    exact = posterior(compile_model(model, LENGTH, lengths=()), few)
    for dtype in (torch.float64, torch.float32):
        here = compile_model(model, LENGTH, lengths=(), dtype=dtype)
        there = compile_model(model, LENGTH, lengths=(), dtype=dtype, device="cuda")
        cpu = seconds_of(lambda g=here: posterior(g, few), 1) / CPU_CONTEXTS
        error = (posterior(there, few).log_evidence.cpu() - exact.log_evidence).abs().max()
        for n in (10**6, 10**7):
            many = some_contexts(n)
            gpu = seconds_of(lambda g=there, c=many: posterior(g, c), 1) / n
            name = f"posterior, {n:,} contexts of {LENGTH} tokens, {str(dtype)[6:]}"
            met = verdict(cpu / gpu >= POSTERIOR_BAR)
            reached = f"{cpu / gpu:.1f} times | {1 / gpu:,.0f} a second, {error:.1e} nats"
            yield f"| {name} | {reached} | {met} |"


def expected_counts():
    from fit_programs import answers_of_classes, latent_classes  # noqa: PLC0415

    tokens = torch.from_numpy(answers_of_classes(10**5, 8, 20, 50))
    program, found = latent_classes(8, 20, 50), []
    for device in ("cpu", "cuda"):
        likelihood = make_likelihood(program, tokens, device=device)
        values = likelihood.program.random_values(torch.Generator().manual_seed(0))
        total, _, _ = likelihood.expected_counts(values)
        call = partial(likelihood.expected_counts, values)
        found.append((seconds_of(call), total))
    (cpu, here), (gpu, there) = found
    error, met = abs(here - there) / abs(here), verdict(cpu / gpu >= EM_BAR)
    reached = f"{cpu / gpu:.1f} times | {error:.1e} relative"
    yield f"| E-step, 100,000 contexts, 8 classes | {reached} | {met} |"


def training():
    examples = exact_examples(enumerate_contexts(load_model("one_hot_permutation"), 4))
    config, found = PredictorConfig("llama", width=256, depth=4), []
    for device in ("cpu", "cuda"):
        start = time.perf_counter()
        trained = train(config, examples, seed=0, max_steps=20, kl_target=1e-9, device=device)
        found.append((time.perf_counter() - start, trained.kl))
    (cpu, here), (gpu, there) = found
    reached = f"{cpu / gpu:.1f} times | KL {here:.4f}, {there:.4f}"
    yield f"| 20 steps of a Llama, width 256 | {reached} | |"


def extraction():
    """A model of a billion parameters from its config: reading all sites beside a bare forward."""
    import transformers  # noqa: PLC0415

    from concept_ppl.bridge.anatomy.forward_pass import read_states  # noqa: PLC0415
    from concept_ppl.bridge.anatomy.parts import Anatomy, find_blocks  # noqa: PLC0415

    config = transformers.LlamaConfig(
        hidden_size=2048, num_hidden_layers=16, num_attention_heads=32, intermediate_size=8192,
        vocab_size=32_000,
    )  # fmt: skip
    with torch.device("cuda"):
        decoder = transformers.LlamaModel(config).to(torch.bfloat16).eval()
    anatomy = Anatomy(
        decoder=decoder,
        token_embedding=decoder.get_input_embeddings(),
        blocks=find_blocks(decoder, 16, "LlamaModel"),
        unembedding=torch.nn.Identity(),
        width=2048,
        max_tokens=None,
    )
    ids = torch.randint(0, 32_000, (32, 256), device="cuda")
    mask = torch.ones_like(ids)
    sites = tuple(f"resid.{layer}" for layer in range(1, 17))
    with torch.inference_mode():
        bare = seconds_of(lambda: decoder(input_ids=ids, attention_mask=mask, use_cache=False))
        ours = seconds_of(lambda: read_states(anatomy, ids, mask, sites, lambda h: h[:, -1].cpu()))
    n = sum(p.numel() for p in decoder.parameters()) / 1e9
    reached, met = f"{bare / ours:.2f} of a bare forward", verdict(bare / ours >= EXTRACTION_BAR)
    yield f"| all sites of a model of {n:.2f} billion | {reached} | | {met} |"


def main():
    if not torch.cuda.is_available():
        print("there is no CUDA device here, so nothing was timed and nothing written.")
        raise SystemExit(2)
    start, rows, left_out = time.perf_counter(), [], []
    card = torch.cuda.get_device_name()
    lines = [f"# On a GPU: {card}", "", "Written by `python benchmarks/gpu.py`. " + tests()]
    for part in (posteriors, expected_counts, training, extraction):
        if time.perf_counter() - start > SECONDS - 60:
            left_out.append(part.__name__)
            continue
        for row in part():
            print(row, flush=True)
            rows.append(row)
    lines += ["", "| work | card beside the CPU | answers | bar |", "|---|---|---|---|", *rows, ""]
    lines += [f"No time was left for: {', '.join(left_out)}.", ""] if left_out else []
    PAGE.write_text("\n".join(lines))
    print(f"written to {PAGE}")


if __name__ == "__main__":
    main()
