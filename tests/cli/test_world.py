"""``study world`` on a world that a user wrote, with a tiny language model that reads its words."""

import json

import numpy as np
import pandas as pd
import pytest

from .command_line import refused, succeeds
from .conftest import save_language_model

WORDS = ("up", "down", "flip", "so")
WORLD = '''
"""A lamp that is switched by some words and not by others."""

import pyro
import pyro.distributions as dist
import torch
from pyro.ops.indexing import Vindex

WORDS = ("up", "down", "flip", "so")


def build(noise=0.2, shortest=4, longest=8, text=True, values=2):
    said = torch.tensor([[1 - noise, noise, 0.3, 0.2], [noise, 1 - noise, 0.3, 0.2]]).log()
    move = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).log()

    def model(n_tokens):
        lamp = None
        for t in pyro.markov(range(n_tokens)):
            logits = torch.zeros(2) if lamp is None else Vindex(move)[lamp]
            lamp = pyro.sample(f"lamp_{t}", dist.Categorical(logits=logits[..., :values]))
            pyro.sample(f"x_{t}", dist.Categorical(logits=Vindex(said)[lamp]))
        if lamp is not None:
            pyro.sample("y", dist.Categorical(logits=Vindex(said)[lamp]))

    model.labels = {"lamp": ("on", "off")[:values]} | ({"x": WORDS, "y": WORDS} if text else {})
    model.lengths = (shortest, longest)
    return model
'''
QUICK = "-n 150 --blocks 2 --planted 2 --seed 1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the world and two language models of its words."""
    path = tmp_path_factory.mktemp("world")
    (path / "lamp.py").write_text(WORLD)
    save_language_model(path / "tiny", WORDS)
    save_language_model(path / "other", WORDS[::-1])
    return path


@pytest.fixture(scope="module", params=["last", "all --first 3", "flip"])
def report(request, folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        name = request.param.split()[0]
        command = f"study world lamp.py tiny {QUICK} --read {request.param} -o {name}"
        assert succeeds(command) == f"{name}/index.html\n"
    return folder / name


def test_the_page_has_every_section(report):
    page = (report / "index.html").read_text()
    for heading in (
        *("Model, controls and ceiling", "The form of model, controls and ceiling"),
        *("What this world can tell", "Whose posterior", "Is the vocabulary diverse"),
        *(
            "Along the layers",
            "Is anything lost",
            "Is the map affine",
            "Log-posterior or posterior",
        ),
        *("What a classifier can say", "The world", "Which claim", "Methods"),
    ):
        assert f">{heading}<" in page, heading
    assert "of lamp" in page
    figures = {path.stem for path in (report / "figures").iterdir()}
    assert {"rivals-1", "forms-1", "layer_curve"} <= figures


def test_results_hold_world_ceiling_and_model(report):
    results = pd.read_csv(report / "results.csv")
    assert {"world_power", "goodness_of_fit", "posterior_form"} <= set(results["analysis"])
    ceiling = results[(results["control"] == "ceiling") & (results["quantity"] == "r2_backward")]
    assert ceiling["estimate"].max() > 0.9  # one next word of four tells the lamp's odds
    planted = results[results["quantity"] == "rate_form"]
    assert set(planted["control"]) == {"log-posterior", "posterior", "additive sum"}


def test_rows_of_one_context_are_one_cluster(report):
    results = pd.read_csv(report / "results.csv")
    fit = results[results["analysis"] == "goodness_of_fit"].iloc[0]
    if report.name == "last":
        assert fit["n"] == 150
    else:
        assert fit["n"] > fit["n_clusters"]
    assert fit["n_clusters"] <= 150


def test_states_at_every_word_are_those_of_the_text_up_to_there(folder):
    """What the study reads with ``all`` is what a language model has read by then."""
    from concept_ppl import load_model
    from concept_ppl.analyses.studies.world import WorldStudy
    from concept_ppl.analyses.studies.world.texts import draw_texts
    from concept_ppl.bridge import extract, load_language_model

    path = str(folder / "lamp.py")
    study = WorldStudy(path, n_contexts=20, read="all")
    texts = draw_texts(study, load_model(path), lambda *_: None)
    model = load_language_model(str(folder / "tiny"))
    where = {"positions": texts.where.positions, "marks": texts.where.marks}
    together = extract(model, texts.texts, sites="final_norm", **where)["final_norm"]
    prefixes = [
        " ".join(text.split()[: end + 1])
        for text in texts.texts
        for end in range(len(text.split()))
    ]
    apart = extract(model, prefixes, sites="final_norm")["final_norm"]
    np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-5)
    # The posterior there is that of the prefix, too, and so is Bayes's next word.
    from concept_ppl import posterior, predictive

    tokens = [[WORDS.index(word) for word in prefix.split()] for prefix in prefixes]
    exact = posterior(load_model(path), tokens)
    np.testing.assert_allclose(texts.log_p[0], exact.log_marginals["lamp"], atol=1e-12)
    np.testing.assert_allclose(texts.log_next, predictive(load_model(path), tokens), atol=1e-12)


def test_several_models_and_a_further_control(folder, monkeypatch):
    monkeypatch.chdir(folder)
    np.save("mine.npy", np.random.default_rng(0).normal(size=(150, 3)))
    succeeds(f"study world lamp.py tiny other {QUICK} --control mine=mine.npy -o two")
    results = pd.read_csv(folder / "two" / "results.csv")
    assert {"tiny: compare_controls", "other: compare_controls", "model_difference"} <= set(
        results["analysis"]
    )
    assert "mine" in set(results["control"])
    manifest = json.loads((folder / "two" / "manifest.json").read_text())
    assert "mine" in manifest["inputs"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("lamp.py tiny -p text=False", ["have no text", "labels", "'x'"]),
        ("lamp.py tiny -p values=1", ["'lamp'", "one value alone"]),
        ("lamp.py tiny --read blink", ["no token 'blink'", "up, down, flip, so"]),
        ("lamp.py tiny --read all --first 9", ["0 tokens are read", "at least 50"]),
        ("lamp.py tiny -p shortest=40 -p longest=41", ["positions for 32"]),
        ("lamp.py absent", ["absent"]),
        ("lamp.py tiny tiny", ["named twice"]),
        ("lamp.py tiny --control mine", ["name=path"]),
        ("lamp.py tiny --control mine=gone.npy", ["gone.npy does not exist"]),
        ("nowhere.py tiny", ["nowhere.py does not exist"]),
    ],
)
def test_bad_input_ends_in_one_sentence_and_leaves_nothing(folder, monkeypatch, options, said):
    monkeypatch.chdir(folder)
    line = refused(f"study world {options} {QUICK} -o bad")
    for words in said:
        assert words in line, line
    assert not (folder / "bad").exists()


def test_a_control_of_another_length_is_named(folder, monkeypatch):
    monkeypatch.chdir(folder)
    np.save("short.npy", np.ones((10, 2)))
    line = refused(f"study world lamp.py tiny {QUICK} --control mine=short.npy -o bad")
    assert "control mine has 10 rows, 150 states are read" in line
