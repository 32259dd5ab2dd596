"""What can be read off a predictor: the same names and meanings as of a pretrained model."""

import numpy as np
import pytest
import torch

from concept_ppl.errors import InputError
from concept_ppl.predictors import ARCHITECTURES, PredictorConfig, exact_examples, untrained

CAUSAL = [name for name in ARCHITECTURES if name != "mlp"]


@pytest.fixture(params=ARCHITECTURES)
def architecture(request) -> str:
    return str(request.param)


def small(architecture: str, representation: int | None = None) -> PredictorConfig:
    return PredictorConfig(architecture, width=16, depth=2, representation=representation)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("representation", [None, 2])
def test_states_at_the_final_norm_times_the_unembedding_are_the_log_predictive(
    world, architecture, representation
):
    predictor = untrained(small(architecture, representation), exact_examples(world), seed=3)
    f, g = predictor.states(world.contexts), predictor.unembedding
    assert f.shape == (39, representation or 16)
    assert g.shape == (3, representation or 16)
    log_q = predictor.log_predictive(world.contexts)
    np.testing.assert_allclose(log_q, log_softmax(f @ g.T), atol=1e-5)
    assert np.ptp(log_q, axis=0).min() > 0.01


def test_a_context_has_its_state_whatever_stands_beside_it(world, architecture):
    predictor = untrained(small(architecture), exact_examples(world), seed=1)
    for site in predictor.sites:
        together = predictor.states([[0], [2, 1, 0], [2, 1]], site)
        alone = np.vstack([predictor.states([row], site) for row in ([0], [2, 1, 0], [2, 1])])
        np.testing.assert_allclose(together, alone, atol=1e-5, err_msg=site)


def test_the_order_of_tokens_matters_but_not_to_bags(world, architecture):
    predictor = untrained(small(architecture), exact_examples(world), seed=1)
    there, back = [[0, 1, 2]], [[1, 0, 2]]
    assert np.abs(predictor.states(there) - predictor.states(back)).max() > 1e-3
    embeddings = predictor.network.body.token_embedding.weight.detach().double().numpy()
    total = predictor.states(there, "embedding.sum")
    np.testing.assert_allclose(total, predictor.states(back, "embedding.sum"), atol=1e-6)
    np.testing.assert_allclose(total[0], embeddings[:3].sum(0), atol=1e-6)
    mean = predictor.states([[2, 2], [1]], "embedding.mean")
    np.testing.assert_allclose(mean, embeddings[[2, 1]], atol=1e-6)


def test_a_seed_is_a_network_and_torchs_own_state_is_left_alone(world, architecture):
    examples, before = exact_examples(world), torch.get_rng_state()
    first, again, other = (
        untrained(small(architecture), examples, seed=seed).states(world.contexts)
        for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert np.abs(first - other).max() > 0.01
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("architecture", CAUSAL)
def test_the_state_before_the_norm_is_another_than_that_after_it(world, architecture):
    predictor = untrained(small(architecture), exact_examples(world), seed=1)
    last, normed = (predictor.states(world.contexts, site) for site in ("resid.2", "final_norm"))
    assert last.shape == normed.shape
    np.testing.assert_allclose(np.square(normed).mean(axis=1), 1.0, atol=0.1)
    assert np.abs(np.square(last).mean(axis=1) - 1.0).max() > 0.1


def test_an_empty_context_has_a_state(world, architecture):
    predictor = untrained(small(architecture), exact_examples(world), seed=1)
    assert np.isfinite(predictor.states([[]])).all()
    assert (predictor.states([[]], "embedding.mean") == 0).all()


def test_what_cannot_be_read_is_refused(world):
    predictor = untrained(small("mlp"), exact_examples(world), seed=0)
    for contexts, message in (
        ([[0], [0, 1, 2, 0]], r"row 1 has 4 tokens; .* at most 3"),
        ([[3]], r"token 3 .* tokens 0 to 2"),
        ([[-1]], r"token -1 .* all observed"),
        ([], "no context"),
    ):
        with pytest.raises(InputError, match=message):
            predictor.states(contexts)
    with pytest.raises(InputError, match=r"Unknown site 'resid\.3'"):
        predictor.states([[0]], "resid.3")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"architecture": "bert"}, "'bert' is unknown; choose one of mlp, gpt_neox"),
        ({"width": 0}, "must be at least 1"),
        ({"representation": 0}, "must be at least 1"),
        ({"architecture": "llama", "width": 20}, "multiple of 16"),
    ],
)
def test_what_cannot_be_built_is_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        PredictorConfig(**wrong)
