"""A tiny language model on the disk, and the files of one run of the whole chain."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from concept_ppl import load_model

from .command_line import succeeds

WORLD = "-p languages=en,fr -p top=12"


def save_language_model(folder: Path, words: Sequence[str]) -> None:
    """Save a random two-block model whose weights are large enough for every block to matter."""
    vocabulary = {word: index for index, word in enumerate(["<s>", "</s>", "<unk>", *words])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    roles = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        bos_token_id=0,
        eos_token_id=1,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(0)
        model = LlamaForCausalLM(config)
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=backend, **roles).save_pretrained(folder)
    logging.enable_progress_bar()


@pytest.fixture(scope="session")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that knows every word of both worlds with the options `WORLD`."""
    world = load_model("switching_languages", languages=("en", "fr"), top=12)
    folder = tmp_path_factory.mktemp("language model") / "tiny"
    save_language_model(folder, world.labels["x"])
    return folder


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory, language_model: Path) -> Path:
    """A folder with the output of simulate, posterior, extract and analyse, one after the other."""
    folder = tmp_path_factory.mktemp("chain")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        succeeds(f"simulate switching_languages -n 120 --seed 3 {WORLD} -o tokens.parquet")
        succeeds(f"posterior switching_languages tokens.parquet --joint {WORLD} -o p.parquet")
        succeeds(f"extract '{language_model}' tokens.parquet -o states")
        assert succeeds("analyse states p.parquet --seed 3 -o report") == "report/index.html\n"
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
