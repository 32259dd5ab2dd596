"""What each zoo model promises."""

import math
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from concept_ppl import compile_model, load_model, posterior, predictive, simulate
from concept_ppl.errors import ModelError
from concept_ppl.zoo import zoo

SMALL = {
    "ambiguous_languages": {"top": 2000, "lengths": (3, 5)},
    "concept_tree": {"concepts": 6},
    "switching_languages": {"top": 30},
    "word_languages": {"top": 30},
}


@pytest.mark.parametrize("name", zoo())
def test_a_zoo_model_simulates_and_its_posterior_is_calibrated(name):
    model = load_model(name, **SMALL.get(name, {}))
    contexts = simulate(model, 4000, seed=1)
    answer = posterior(model, contexts)
    for concept in answer.concepts:
        p = answer.log_marginals[concept.name].exp().numpy()
        np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)
        drawn = contexts[concept.name].map(lambda v: v[-1] if isinstance(v, list) else v)
        if isinstance(contexts[concept.name].iloc[0], np.ndarray):
            drawn = contexts[concept.name].map(lambda v: v[-1])
        hit = np.array(concept.labels)[None, :] == drawn.to_numpy(str)[:, None]
        spread = np.sqrt((p * (1 - p)).sum(0))
        # 4.3 standard errors: fails by chance in 2 of 100,000 looks.
        assert (np.abs((hit - p).sum(0)) < 4.3 * spread + 1e-6).all()


def test_the_knobs_of_the_topic_mixture_do_what_they_say():
    def entropy(x):
        model = load_model("topic_mixture", x_informativeness=x)
        return float(posterior(model, simulate(model, 500, lengths=4)).entropy.mean())

    values = [entropy(x) for x in (0.0, 0.3, 0.6, 1.0)]
    assert math.isclose(values[0], math.log(4), rel_tol=1e-9)
    assert values == sorted(values, reverse=True)
    copy = load_model("topic_mixture", y_determinism=1.0)
    contexts = simulate(copy, 200)
    assert (contexts["y"].astype(str) == contexts["topic"].astype(str)).all()
    same = posterior(copy, contexts).log_marginals["topic"]
    torch.testing.assert_close(predictive(copy, contexts), same, rtol=0, atol=1e-10)


def test_a_tree_of_sixty_concepts_is_answered_by_elimination():
    model = load_model("concept_tree")
    contexts = simulate(model, 5)
    graph = compile_model(model, 60)
    answer = posterior(graph, contexts)
    assert graph.n_joint == 2**60
    total = sum(p.exp().sum(1) for p in answer.log_marginals.values())
    torch.testing.assert_close(total, torch.full((5,), 60.0, dtype=torch.float64))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("topic_mixture", {"topics": 1}),
        ("topic_mixture", {"y_determinism": 2}),
        ("concept_tree", {"concepts": 99}),
        ("switching_languages", {"switch": -1}),
        ("word_languages", {"languages": ("en",)}),
    ],
)
def test_parameters_out_of_range_are_refused(name, parameters):
    with pytest.raises(ModelError):
        load_model(name, **parameters)


def test_tables_beside_the_models_are_packed_into_the_wheel():
    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["concept_ppl.models"]
    packed = {path for pattern in patterns for path in (root / "models").glob(pattern)}
    tables = {path for path in (root / "models").iterdir() if path.suffix not in {".py", ""}}
    assert tables
    assert tables == packed
