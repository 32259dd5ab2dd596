"""``study language`` on tiny models: both worlds, the same numbers as the chain of commands."""

import json

import numpy as np
import pandas as pd
import pytest

from concept_ppl import load_model
from concept_ppl.analyses.studies.stages import model_states

from .command_line import refused, succeeds, tree
from .conftest import WORLD, save_language_model

STUDY = "--languages en,fr --top 12 -n 120 --blocks 2 --planted 2 --seed 3"
KEY = ["analysis", "quantity", "term", "layer", "control"]


@pytest.fixture(scope="module", params=["fixed", "switching"])
def study(request, tmp_path_factory, language_model):
    """The world and the folder that holds its report."""
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        command = f"study language --world {request.param} --model '{language_model}' {STUDY}"
        assert succeeds(f"{command} -o deep/report") == "deep/report/index.html\n"
    return request.param, folder / "deep" / "report"


def test_the_manifest_tells_the_study_and_the_model(study, language_model):
    world, report = study
    manifest = json.loads((report / "manifest.json").read_text())
    told = manifest["arguments"]
    name = {"fixed": "word_languages", "switching": "switching_languages"}[world]
    assert (told["world"], told["n_contexts"]) == (name, 120)
    assert told["parameters"] == {"languages": ["en", "fr"], "top": 12}
    assert set(manifest["seeds"].values()) == {3}
    assert manifest["language_model"]["weights_kind"] == "trained"
    assert len(manifest["language_model"]["digest"]) == 64


def test_every_control_stands_beside_the_headline(study):
    _, report = study
    results = pd.read_csv(report / "results.csv")
    own = results[(results["analysis"] == "compare_controls") & results["control"].notna()]
    readers = ("sum", "mean", "last tokens", "decayed sum", "bank of decays", "neighbours")
    readers += ("weighted by position", "look-up")
    kinds = ("input embeddings", "token identities", "word identities", "token evidence")
    assert set(own["control"]) == {
        *(f"{kind}: {reader}" for kind in kinds for reader in readers),
        *(f"pair evidence: {reader}" for reader in ("sum", "decayed sum", "bank of decays")),
        *("random weights", "shuffled", "best", "ceiling"),
    }
    assert set(own["layer"]) == {"final_norm"}
    assert "No:" in (report / "index.html").read_text()


def test_a_probe_of_the_language_stands_beside_bayes(study):
    """What the exact posterior gets wrong is nobody's fault: no reader's log-loss is below it."""
    _, report = study
    results = pd.read_csv(report / "results.csv", keep_default_na=False)
    rows = results[(results["analysis"] == "probe") & (results["term"] == "language")]
    values = rows.set_index(["quantity", "control"])["estimate"].astype(float)
    assert values["log_loss", "bayes"] < values["log_loss", ""]
    assert values["accuracy", "bayes"] > 0.5
    assert "What a classifier can say" in (report / "index.html").read_text()


def test_the_last_word_is_a_control_and_a_closing_comma_none(study):
    """Where every context ends alike, the last token that tells something is the one before."""
    world, report = study
    results = pd.read_csv(report / "results.csv")
    last = results["control"] == "token identities: last tokens"
    own = results[last & (results["quantity"] == "r2_backward")]
    layers = set(results.loc[results["analysis"] == "layer_curve", "layer"])
    assert ("embedding" in layers) == (world == "fixed")
    assert own["estimate"].item() > 0.05


def test_the_commands_one_by_one_find_the_same_numbers(study, language_model, here):
    world, report = study
    model = {"fixed": "word_languages", "switching": "switching_languages"}[world]
    succeeds(f"simulate {model} -n 120 --seed 3 {WORLD} -o tokens.parquet")
    succeeds(f"posterior {model} tokens.parquet {WORLD} -o p.parquet")
    succeeds(f"extract '{language_model}' tokens.parquet -o states")
    succeeds("analyse states p.parquet --seed 3 -o report")
    whole, parts = (pd.read_csv(path / "results.csv") for path in (report, here / "report"))
    both = whole.merge(parts, on=KEY, suffixes=("_whole", "_parts"))
    both = both[both["control"] != "best"]  # other controls stand in each of the two choices
    assert len(both) > 30
    # The commands do not know which value was drawn nor the world, so that they cannot ask these.
    of_world = {"probe", "world_power", "predictor_gap", "implied_posterior", "beliefs"}
    assert set(both["analysis"]) == set(whole["analysis"]) - of_world
    for number in ("estimate", "ci_low", "ci_high", "p_value", "n_clusters"):
        # Another set of sites makes other batches, whose kernels round differently.
        pd.testing.assert_series_equal(
            both[f"{number}_whole"], both[f"{number}_parts"], check_names=False, rtol=1e-3
        )


def test_the_same_seed_writes_the_same_bytes(study, language_model, here):
    world, report = study
    command = f"study language --world {world} --model '{language_model}' {STUDY}"
    succeeds(f"{command} -o report")
    first, again = tree(report), tree(here / "report")
    for volatile in ("manifest.json", "index.html"):  # they say when
        del first[volatile], again[volatile]
    assert first == again


@pytest.mark.slow
@pytest.mark.smollm2
def test_the_study_runs_on_the_real_model(here):
    out = succeeds("study language -n 60 --blocks 1 --planted 2 -o report")
    assert out == "report/index.html\n"
    results = pd.read_csv(here / "report" / "results.csv")
    layers = set(results.loc[results["analysis"] == "layer_curve", "layer"])
    assert layers == {"resid.30", "final_norm"}
    of_states = results[results["analysis"] == "goodness_of_fit"]
    assert (of_states["n"] == 60).all()


@pytest.fixture(scope="module")
def pair(tmp_path_factory, language_model):
    """The folder of a report on two models, which know the same words by other numbers."""
    folder = tmp_path_factory.mktemp("pair")
    words = load_model("switching_languages", languages=("en", "fr"), top=12).labels["x"]
    save_language_model(folder / "other", words[::-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        models = f"--model '{language_model}' --model other"
        assert (
            succeeds(f"study language --world switching {models} {STUDY} -o both")
            == "both/index.html\n"
        )
    return folder


def of_the_world(results):
    """Rows on the world and on the best predictor of it, which belong to no model."""
    of_ceiling = (results["control"] == "ceiling") & (results["analysis"] != "compare_controls")
    return (results["analysis"] == "world_power") | of_ceiling


def test_two_models_stand_side_by_side_with_their_own_numbers(pair, language_model, here):
    both = pd.read_csv(pair / "both" / "results.csv")
    succeeds(f"study language --world switching --model '{language_model}' {STUDY} -o alone")
    alone = pd.read_csv(here / "alone" / "results.csv")
    alone = alone[~of_the_world(alone)].reset_index(drop=True)
    own = both[both["analysis"].str.startswith("tiny: ")]
    own = own.assign(analysis=own["analysis"].str.removeprefix("tiny: "))
    pd.testing.assert_frame_equal(own.reset_index(drop=True), alone)
    others = both[both["analysis"].str.startswith("other: ")]
    assert len(others) == len(own)
    assert not np.allclose(others["estimate"], own["estimate"])


def test_the_difference_is_that_of_their_headlines(pair):
    both = pd.read_csv(pair / "both" / "results.csv")
    rows = both[both["analysis"] == "model_difference"].set_index(["quantity", "term"])["estimate"]
    headline = {
        name: both.loc[
            (both["analysis"] == f"{name}: goodness_of_fit")
            & (both["quantity"] == "r2_backward")
            & (both["term"] == "log_odds")
            & both["control"].isna(),
            "estimate",
        ].item()
        for name in ("tiny", "other")
    }
    difference = headline["tiny"] - headline["other"]
    assert rows["r2_difference", "tiny: log_odds"] == pytest.approx(difference)
    assert {"cross_model", "decoded_cross_model"} <= set(both["analysis"])


def test_the_page_of_two_names_both_and_draws_each_figure_of_each(pair):
    report = pair / "both"
    page = (report / "index.html").read_text()
    assert "Two models side by side" in page
    assert "No, for other: " in page
    drawings = {path.stem for path in (report / "figures").iterdir()}
    assert {"two_models", "two_depths", "layer_curve-1", "layer_curve-2"} <= drawings
    manifest = json.loads((report / "manifest.json").read_text())
    assert "other" in manifest["language_model"]
    assert len(manifest["arguments"]["language_models"]) == 2


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ("--model other --model other", "other is named twice"),
    ],
)
def test_models_that_cannot_be_compared_are_refused_before_any_work(here, models, message):
    assert message in refused(f"study language --world switching {models} {STUDY} -o both")
    assert not (here / "both").exists()


def test_a_second_model_that_is_not_there_is_refused_before_the_first_is_read(
    here, language_model, monkeypatch
):
    def refuse(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(model_states, "load_language_model", refuse)
    models = f"--model '{language_model}' --model ./absent"
    line = refused(f"study language --world switching {models} {STUDY} -o both")
    assert "./absent does not exist" in line
    assert not (here / "both").exists()
