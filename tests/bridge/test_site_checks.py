"""What a model is, is asked of it: its last state, its logits, whether it sees the future."""

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from concept_ppl.bridge import (
    LanguageModel,
    extract,
    logits_from_final_norm,
    resolve_sites,
    spread_sites,
    unembedding_rows,
    wrap_language_model,
)
from concept_ppl.bridge.anatomy.layer_checks import check_layers
from concept_ppl.bridge.anatomy.logit_map import LogitMap
from concept_ppl.errors import InputError, LanguageModelError

from .conftest import N_VOCABULARY, TEXTS, small_model, word_tokenizer

SMALL = {
    "vocab_size": N_VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 5,
}
GATED = SMALL | {"intermediate_size": 32, "num_key_value_heads": 2, "head_dim": 8}
MAMBA = {"vocab_size": N_VOCABULARY, "hidden_size": 16, "num_hidden_layers": 3, "state_size": 4}
MAMBA |= {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 5}


def wrapped(architecture: str, config: str, options: dict[str, Any], **changes: Any):
    """A random model of the family, wrapped, with weights large enough to matter."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = getattr(transformers, architecture)(getattr(transformers, config)(**options))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
    return wrap_language_model(model.to(**changes) if changes else model, word_tokenizer())


def llama4() -> LanguageModel:
    options = GATED | {"intermediate_size_mlp": 32, "num_local_experts": 2}
    return wrapped("Llama4ForCausalLM", "Llama4TextConfig", options)


def modernbert() -> LanguageModel:
    options = SMALL | {"intermediate_size": 32, "cls_token_id": 0, "sep_token_id": 1}
    return wrapped("ModernBertDecoderForCausalLM", "ModernBertDecoderConfig", options)


def opt_350m() -> LanguageModel:
    options = SMALL | {"ffn_dim": 32, "word_embed_proj_dim": 8, "do_layer_norm_before": False}
    return wrapped("OPTForCausalLM", "OPTConfig", options)


def gemma3n() -> LanguageModel:
    options = GATED | {"vocab_size_per_layer_input": N_VOCABULARY, "laurel_rank": 4}
    options |= {"hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0}
    return wrapped("Gemma3nForCausalLM", "Gemma3nTextConfig", options)


def recurrent_gemma() -> LanguageModel:
    options = GATED | {"lru_width": 16, "logits_soft_cap": 0.5}
    return wrapped("RecurrentGemmaForCausalLM", "RecurrentGemmaConfig", options)


def hyperclovax() -> LanguageModel:
    return wrapped("HyperCLOVAXForCausalLM", "HyperCLOVAXConfig", GATED | {"logits_scaling": 0.3})


@torch.inference_mode()
def assert_logits_are_rebuilt(language_model: LanguageModel, tolerance: float = 1e-5) -> None:
    texts = [text for text in TEXTS if text]
    states = extract(language_model, texts, sites="final_norm")["final_norm"]
    logits = logits_from_final_norm(language_model, states).float().numpy()
    for row, text in enumerate(texts):
        ids = [language_model.prefix, *language_model.tokenizer(text)["input_ids"]]
        truth = language_model.model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        error = np.abs(logits[row] - truth.float().numpy()).max()
        assert error <= tolerance * truth.abs().max(), text


@pytest.mark.parametrize(
    "build", [llama4, modernbert, opt_350m, gemma3n, recurrent_gemma, hyperclovax]
)
def test_the_last_state_makes_the_logits(build) -> None:
    assert_logits_are_rebuilt(build())


@torch.inference_mode()
def test_llama_4_is_read_where_its_own_hidden_states_are() -> None:
    language_model = llama4()
    states = extract(language_model, ["the cat sat"], sites="all", positions="all")
    ids = torch.tensor([[0, *language_model.tokenizer("the cat sat")["input_ids"]]])
    hidden = language_model.model(ids, output_hidden_states=True).hidden_states
    for site, own in zip(("embedding", "resid.1", "resid.2", "final_norm"), hidden, strict=True):
        np.testing.assert_allclose(states[site], own[0, 1:], rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_opt_350m_is_read_before_it_narrows_the_state() -> None:
    language_model = opt_350m()
    states = extract(language_model, TEXTS, sites="all")
    assert {states[site].shape for site in language_model.sites} == {(len(TEXTS), 16)}
    np.testing.assert_array_equal(states["final_norm"], states["resid.3"])  # it has no final norm
    rows = unembedding_rows(language_model, [3, 7])
    logits = logits_from_final_norm(language_model, states["final_norm"])[:, [3, 7]]
    np.testing.assert_allclose(states["final_norm"] @ rows.T, logits, rtol=1e-4, atol=1e-4)
    project_in = language_model.model.model.decoder.project_in
    cat = language_model.tokenizer.convert_tokens_to_ids("cat")
    expected = project_in(language_model.model.get_input_embeddings()(torch.tensor(cat)))
    bag = extract(language_model, ["cat"], sites="embedding.sum")["embedding.sum"][0]
    np.testing.assert_allclose(bag, expected, rtol=1e-5)


def test_several_residual_streams_have_a_last_state_and_no_state_after_a_block() -> None:
    language_model = gemma3n()
    check_layers(language_model)
    assert language_model.n_blocks == 3
    assert language_model.sites == ("final_norm", "embedding.sum", "embedding.mean")
    assert spread_sites(language_model) == ("final_norm",)
    with pytest.raises(InputError, match=r"'resid\.2'.*final_norm.* no block of it holds one"):
        resolve_sites(language_model, "resid.2")


def test_a_block_that_runs_twice_has_no_one_state() -> None:
    model = small_model("llama")
    first, second, _ = model.model.layers
    model.model.layers = nn.ModuleList([first, second, first])
    language_model = wrap_language_model(model, word_tokenizer())
    assert "resid.2" not in language_model.sites
    assert_logits_are_rebuilt(language_model)


def test_another_number_of_blocks_than_in_the_config_is_found() -> None:
    """A BART without its encoder says in its config how many blocks that had."""
    options = {"vocab_size": N_VOCABULARY, "d_model": 16, "decoder_layers": 3, "encoder_layers": 2}
    options |= {"decoder_ffn_dim": 32, "decoder_attention_heads": 4, "is_decoder": True}
    options |= {"is_encoder_decoder": False, "max_position_embeddings": 32}
    language_model = wrapped("BartForCausalLM", "BartConfig", options)
    assert language_model.n_blocks == 3
    assert_logits_are_rebuilt(language_model)


def test_a_gemma_that_sees_both_ways_is_refused() -> None:
    options = GATED | {"use_bidirectional_attention": True}
    with pytest.raises(LanguageModelError, match=r"states of earlier ones at resid\.1.*not causal"):
        wrapped("Gemma3ForCausalLM", "Gemma3TextConfig", options)
    wrapped("Gemma3ForCausalLM", "Gemma3TextConfig", GATED)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_faintest_look_ahead_is_refused(dtype: torch.dtype) -> None:
    model = small_model("llama").to(dtype)
    share = 1e-3 if dtype == torch.float32 else 0.1

    def leak(_module: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        return output + share * output.roll(-1, dims=1)

    wrap_language_model(model, word_tokenizer())
    model.model.layers[1].register_forward_hook(leak)
    with pytest.raises(LanguageModelError, match=r"resid\.2.*not causal"):
        wrap_language_model(model, word_tokenizer())


def test_what_a_model_itself_raises_names_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model("llama")

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("two\nlines about shapes")

    monkeypatch.setattr(model.model.layers[1], "forward", broken)
    with pytest.raises(
        LanguageModelError, match=r"^mine: .*forward pass.*RuntimeError: two lines about shapes\)"
    ):
        wrap_language_model(model, word_tokenizer(), name="mine")


def test_an_electra_whose_last_state_is_narrower_than_its_blocks_is_refused_by_name() -> None:
    options = SMALL | {"embedding_size": 8, "intermediate_size": 32, "is_decoder": True}
    with pytest.raises(LanguageModelError, match=r"final_norm yields \(2, 5, 8\)"):
        wrapped("ElectraForCausalLM", "ElectraConfig", options)


@pytest.mark.parametrize(
    ("build", "expected"),
    [(recurrent_gemma, LogitMap(1.0, 0.5)), (hyperclovax, LogitMap(0.3)), (llama4, LogitMap())],
)
def test_scale_and_cap_are_measured(build, expected: LogitMap) -> None:
    assert build().logit_map == expected


@pytest.mark.parametrize(
    "made_of",
    [
        lambda logits: logits.clamp(-1e3, 1e3),
        lambda logits: logits + 1e-4,
        lambda logits: torch.where(logits.abs() < 1e-4, 0.0, logits),
        lambda logits: 1e3 * torch.atan(logits / 1e3),
        lambda logits: logits.clamp_min(-1e4),
    ],
    ids=["clamped", "shifted", "small ones lost", "another curve", "one side clamped"],
)
def test_a_map_that_differs_where_no_logit_of_the_check_lies_is_refused(
    monkeypatch: pytest.MonkeyPatch, made_of
) -> None:
    model = small_model("llama")
    forward = model.forward

    def bent(*args: Any, **options: Any) -> Any:
        output = forward(*args, **options)
        output.logits = made_of(output.logits)
        return output

    monkeypatch.setattr(model, "forward", bent)
    with pytest.raises(LanguageModelError, match="is not the model's logits"):
        wrap_language_model(model, word_tokenizer())


@pytest.mark.parametrize("family", ["Mamba2", "FalconMamba"])
def test_states_wider_than_the_unembedding_are_cast(family: str) -> None:
    options = dict(MAMBA)
    if family == "Mamba2":
        options |= {"num_heads": 4, "head_dim": 8, "n_groups": 2}
    language_model = wrapped(
        f"{family}ForCausalLM", f"{family}Config", options, dtype=torch.bfloat16
    )
    assert language_model.dtype == torch.bfloat16
    assert logits_from_final_norm(language_model, torch.zeros(16)).dtype == torch.bfloat16
    assert_logits_are_rebuilt(language_model, tolerance=1e-2)
