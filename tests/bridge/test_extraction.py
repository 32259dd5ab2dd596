"""A state is read at the place that its site names, whatever else stands in the batch."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from concept_ppl.bridge import LanguageModel, extract, logits_from_final_norm, wrap_language_model
from concept_ppl.errors import InputError, LanguageModelError

from .conftest import TEXTS, names_of_hidden_states, small_model, word_tokenizer

BlockCalls = Callable[[LanguageModel], list[int]]


def token_ids(language_model: LanguageModel, text: str) -> torch.Tensor:
    ids = language_model.tokenizer(text, add_special_tokens=False)["input_ids"]
    return torch.tensor([[language_model.prefix, *ids]])


def relative_error(states: np.ndarray, reference: np.ndarray) -> float:
    return float(np.abs(states - reference).max() / np.abs(reference).max())


def test_batched_states_are_the_states_one_by_one(language_model: LanguageModel) -> None:
    together = extract(language_model, TEXTS, sites="all")
    for row, text in enumerate(TEXTS):
        alone = extract(language_model, [text], sites="all")
        for site in language_model.sites:
            if np.abs(alone[site]).max() > 0:
                assert relative_error(together[site][row], alone[site][0]) <= 1e-5, (site, text)


@torch.inference_mode()
def test_sites_are_transformers_own_hidden_states(language_model: LanguageModel) -> None:
    states = extract(language_model, TEXTS, sites="all")
    for row, text in enumerate(TEXTS):
        output = language_model.model(
            token_ids(language_model, text), output_hidden_states=True, use_cache=False
        )
        hidden = [layer[0, -1].numpy() for layer in output.hidden_states]
        for site, reference in zip(names_of_hidden_states(language_model), hidden, strict=True):
            assert relative_error(states[site][row], reference) <= 1e-5, (site, text)


@torch.inference_mode()
def test_the_last_block_leaves_its_state_before_the_final_norm(
    language_model: LanguageModel,
) -> None:
    states = extract(language_model, TEXTS, sites="resid.3,final_norm")
    norms = [
        module
        for name, module in language_model.model.get_decoder().named_children()
        if name in {"norm", "ln_f", "final_layer_norm", "norm_f"}
    ]
    normed = norms[0](torch.from_numpy(states["resid.3"])).numpy()
    assert relative_error(normed, states["final_norm"]) <= 1e-5
    assert relative_error(states["resid.3"], states["final_norm"]) > 0.01


@torch.inference_mode()
def test_the_unembedding_of_the_final_norm_is_the_models_logits(
    language_model: LanguageModel,
) -> None:
    states = torch.from_numpy(extract(language_model, TEXTS, sites="final_norm")["final_norm"])
    logits = logits_from_final_norm(language_model, states)
    for row, text in enumerate(TEXTS):
        truth = language_model.model(token_ids(language_model, text)).logits[0, -1]
        assert_allclose(logits[row], truth, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch_tokens", [1, 7, 16, 10_000])
def test_order_and_batch_size_do_not_matter(llama: LanguageModel, batch_tokens: int) -> None:
    reference = extract(llama, TEXTS, sites="all")
    reversed_ = extract(llama, TEXTS[::-1], sites="all", batch_tokens=batch_tokens)
    for site in llama.sites:
        assert_allclose(reversed_[site][::-1], reference[site], rtol=1e-4, atol=1e-6)
    assert_array_equal(reversed_.n_tokens[::-1], reference.n_tokens)
    assert reference.n_tokens.tolist() == [len(text.split()) for text in TEXTS]


def test_the_tokenizers_padding_does_not_matter(llama: LanguageModel) -> None:
    padded = word_tokenizer(pad_token="cat", padding_side="left")
    other = wrap_language_model(llama.model, padded, name="padded left with a real word")
    reference, states = (extract(model, TEXTS, sites="resid.2") for model in (llama, other))
    assert_array_equal(states["resid.2"], reference["resid.2"])


@pytest.mark.parametrize(
    ("sites", "last"), [("embedding", 0), ("resid.1", 1), ("embedding,resid.2", 2)]
)
def test_blocks_after_the_last_site_do_not_run(
    language_model: LanguageModel, block_calls: BlockCalls, sites: str, last: int
) -> None:
    full = extract(language_model, TEXTS, sites="all")
    calls = block_calls(language_model)
    short = extract(language_model, TEXTS, sites=sites, batch_tokens=10_000)
    assert calls == list(range(1, last + 1))
    for site in short.sites:
        assert_array_equal(short[site], full[site])


def test_the_model_works_on_after_an_extraction_that_stopped_early(llama: LanguageModel) -> None:
    ids = token_ids(llama, "the cat")
    with torch.inference_mode():
        before = llama.model(ids).logits
        extract(llama, TEXTS, sites="resid.1")
        assert torch.equal(llama.model(ids).logits, before)
    assert not any(block._forward_hooks for block in llama.anatomy.blocks)


def test_identical_contexts_run_once(llama: LanguageModel, block_calls: BlockCalls) -> None:
    calls = block_calls(llama)
    progress: list[tuple[int, int]] = []
    states = extract(
        llama,
        ["the cat", "sat", "the cat"],
        sites="resid.1",
        batch_tokens=1,
        progress=lambda done, total: progress.append((done, total)),
    )
    assert calls == [1, 1]
    assert progress == [(1, 2), (2, 2)]
    assert_array_equal(states["resid.1"][0], states["resid.1"][2])


@pytest.mark.parametrize("bos", [True, False])
def test_pooled_sites_are_bags_of_the_contexts_own_tokens(
    language_model: LanguageModel, bos: bool
) -> None:
    texts = [text for text in TEXTS if text or bos] + ["<s> cat </s> sat"]
    states = extract(language_model, texts, sites="embedding.sum,embedding.mean", bos=bos)
    embed = language_model.model.get_input_embeddings()
    for row, text in enumerate(texts):
        own = [word for word in text.split() if word not in {"<s>", "</s>"}]
        ids = language_model.tokenizer.convert_tokens_to_ids(own)
        vectors = embed(torch.tensor(ids, dtype=torch.long)).detach().double().numpy()
        total = vectors.sum(axis=0)
        assert_allclose(states["embedding.sum"][row], total, rtol=1e-4, atol=1e-5)
        mean = total / max(len(own), 1)
        assert_allclose(states["embedding.mean"][row], mean, rtol=1e-4, atol=1e-5)


def test_a_prefix_that_also_means_unknown_stays_out_of_the_bag() -> None:
    tokenizer = word_tokenizer(bos_token="<|im_start|>", unk_token="<|endoftext|>")
    language_model = wrap_language_model(small_model("llama"), tokenizer)
    assert language_model.prefix == tokenizer.unk_token_id
    bag = extract(language_model, ["", "cat"], sites="embedding.sum")["embedding.sum"]
    vectors = language_model.model.get_input_embeddings().weight.detach().numpy()
    assert not bag[0].any()
    assert_array_equal(bag[1], vectors[tokenizer.convert_tokens_to_ids("cat")])


def test_a_bag_of_tokens_knows_no_order(language_model: LanguageModel) -> None:
    states = extract(language_model, ["the cat sat", "sat the cat"], sites="all")
    assert_allclose(*states["embedding.sum"], rtol=1e-5, atol=1e-6)
    assert relative_error(*states["final_norm"]) > 1e-3


def test_at_most_one_bos(llama: LanguageModel) -> None:
    once, twice = extract(llama, ["the cat", "<s> the cat"], sites="final_norm")["final_norm"]
    assert_array_equal(once, twice)
    without = extract(llama, ["the cat"], sites="final_norm", bos=False)
    assert relative_error(without["final_norm"][0], once) > 1e-3


def test_no_context_is_no_error(llama: LanguageModel, tmp_path) -> None:
    states = extract(llama, [], sites="all")
    assert states["resid.1"].shape == (0, 16)
    states.save(tmp_path / "states")


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        (["the", ""], {"bos": False}, r"Row 1 .* no tokens"),
        (["the", 3], {}, r"Row 1 .* is int"),
        ("the cat", {}, "one string"),
        (["the", " ".join(["cat"] * 40)], {}, r"Row 1 .* has 41 tokens, and llama .* 32"),
        (["the"], {"batch_tokens": 0}, "batch_tokens = 0"),
        (["the"], {"sites": "resid.4"}, r"Unknown site 'resid.4'.*resid.1 to resid.3"),
    ],
)
def test_bad_input_is_named(llama: LanguageModel, texts, options, message: str) -> None:
    with pytest.raises(InputError, match=message):
        extract(llama, texts, **({"sites": "all"} | options))


def test_a_state_that_is_not_finite_is_named() -> None:
    language_model = wrap_language_model(small_model("llama"), word_tokenizer(), name="broken")
    hund = language_model.tokenizer.convert_tokens_to_ids("hund")
    with torch.no_grad():
        language_model.model.get_input_embeddings().weight[hund, 3] = float("inf")
    with pytest.raises(LanguageModelError, match=r"broken: .* site embedding is NaN .* row 1 "):
        extract(language_model, ["the cat sat", "der hund", "hund"], sites="embedding,resid.2")
