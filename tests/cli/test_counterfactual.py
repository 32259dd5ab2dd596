"""``counterfactual`` on tiny models: every number with its controls, whatever the pairs."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from .command_line import concept_ppl, refused, succeeds, tree
from .conftest import save_language_model

RELATIONS = ("form - s", "form - ed", "s - ed", "cat - dog")
OPTIONS = "--blocks 1 --splits 3 --flips 999 --seed 2"
N = 8

pytestmark = pytest.mark.slow


def lists():
    """Stems with two endings, and pairs of other words, each a single token of the tiny models."""
    stems = [f"stem{i}" for i in range(N)]
    forms = {ending: [stem + ending for stem in stems] for ending in ("", "s", "ed")}
    others = [(f"cat{i}", f"dog{i}") for i in range(N)]
    return {
        RELATIONS[0]: list(zip(forms[""], forms["s"], strict=True)),
        RELATIONS[1]: list(zip(forms[""], forms["ed"], strict=True)),
        RELATIONS[2]: list(zip(forms["s"], forms["ed"], strict=True)),
        RELATIONS[3]: others,
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with two models, a folder of pairs, and the reports of one model and of both."""
    folder = tmp_path_factory.mktemp("counterfactual")
    words = sorted({word for own in lists().values() for pair in own for word in pair})
    save_language_model(folder / "one", words)
    save_language_model(folder / "two", words[::-1])
    (folder / "pairs").mkdir()
    for name, own in lists().items():
        text = "".join(f"{first}\t{second}\r\n" for first, second in own)
        (folder / "pairs" / f"[{name}].txt").write_bytes(text.encode())
    with (folder / "pairs" / "[cat - dog].txt").open("ab") as file:
        file.write(b"cat0 dog0\tstem1/stem2\r\ncat0\tdog0\r\nonly\r\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        out = succeeds(f"counterfactual one pairs {OPTIONS} -o deep/report")
        assert out == "deep/report/index.html\n"
        succeeds(f"counterfactual one two pairs {OPTIONS} -o both")
    return folder


def results(folder):
    return pd.read_csv(folder / "results.csv", keep_default_na=False, na_values=[""])


def test_every_entry_has_its_interval_and_every_claim_its_p_value(world):
    table = results(world / "deep" / "report")
    own = table[(table["analysis"] == "counterfactual_whitened") & table["control"].isna()]
    diagonal = own[own["quantity"] == "cosine_diagonal"]
    assert sorted(diagonal["term"]) == sorted(RELATIONS)
    assert diagonal["p_value"].between(0, 1).all()
    off = own[own["quantity"] == "cosine_off_diagonal"]
    assert len(off) == 12
    assert (off["ci_low"] <= off["estimate"]).all()


def test_every_control_and_every_estimator_stands_beside_the_model(world):
    table = results(world / "deep" / "report")
    means = table[table["quantity"] == "mean_diagonal"]
    controls = {"input embedding", "sum of input embeddings", "random weights", "token count"}
    for estimator in ("mean_difference", "whitened", "lda", "logistic"):
        own = means[means["analysis"] == f"counterfactual_{estimator}"]
        assert set(own["control"].dropna()) == controls
    difference = table[(table["analysis"] == "difference") & (table["quantity"] == "mean_diagonal")]
    assert set(difference["control"]) == controls
    layers = table[table["analysis"] == "counterfactual_layers"]
    assert set(layers["layer"]) == {"embedding", "resid.2", "final_norm"}


def test_the_published_number_is_near_one_with_its_nulls(world):
    table = results(world / "deep" / "report")
    own = table[(table["analysis"] == "published_procedure")]
    means = own[own["quantity"] == "diagonal_mean"]
    assert len(means) == 4
    assert means["estimate"].min() > 0.9


def test_the_page_reads_out_cells_and_needs_nothing_from_elsewhere(world):
    report = world / "deep" / "report"
    page = (report / "index.html").read_text()
    assert page.count("<title>weights ") == 16
    assert "95% interval" in page
    assert "cat → dog" in page
    assert "stem1/stem2" in page or "spaces or slashes" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert (report / "figures" / "matrix.svg").is_file()


def test_skipped_lines_are_counted_and_listed(world):
    page = (world / "deep" / "report" / "index.html").read_text()
    assert "2 lines were left out" in page
    assert "a repeat of an earlier pair" in page
    assert "not two words with a tab between them" in page


def test_the_manifest_knows_the_pairs_by_digest(world):
    manifest = json.loads((world / "deep" / "report" / "manifest.json").read_text())
    assert manifest["inputs"]["pairs"]["files"] == 4
    assert manifest["arguments"]["n_flips"] == 999
    assert manifest["language_model"]["weights_kind"] == "trained"


def test_two_models_are_compared_on_the_same_pairs(world):
    table = results(world / "both")
    difference = table[(table["analysis"] == "difference") & (table["control"] == "two")]
    assert set(difference["quantity"]) == {"mean_diagonal", "mean_order", "cosine_diagonal"}
    alone = results(world / "deep" / "report")
    both = [
        frame[(frame["quantity"] == "mean_diagonal") & (frame["analysis"] == name)]
        for frame, name in (
            (alone, "counterfactual_whitened"),
            (table, "one: counterfactual_whitened"),
        )
    ]
    np.testing.assert_allclose(*(frame["estimate"] for frame in both))
    assert {"r2", "rho2"} <= set(table[table["analysis"] == "cross_model"]["quantity"])
    manifest = json.loads((world / "both" / "manifest.json").read_text())
    assert set(manifest["language_model"]) == {"one", "two"}
    assert (world / "both" / "figures" / "matrix-2.svg").is_file()
    assert (world / "both" / "figures" / "two_depths.svg").is_file()
    page = (world / "both" / "index.html").read_text()
    assert page.count(", for one: at final_norm") == page.count(", for two: at final_norm") == 1


def test_a_table_of_the_same_pairs_and_the_same_seed_give_the_same_bytes(world, here):
    rows = [(name, *pair) for name, own in lists().items() for pair in own]
    rows.append(("cat - dog", "cat0 dog0", "stem1/stem2"))
    frame = pd.DataFrame(rows, columns=["concept", "first", "second"])
    frame["order"] = [f"[{name}].txt" for name in frame["concept"]]
    frame.sort_values("order", kind="stable").to_csv("pairs.csv", index=False)
    succeeds(f"counterfactual '{world / 'one'}' pairs.csv {OPTIONS} -o report")
    first, again = tree(world / "deep" / "report"), tree(here / "report")
    for other in ("manifest.json", "index.html"):  # they say when, and what was read
        del first[other], again[other]
    assert first == again


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("'{one}' absent", "does not exist"),
        ("'{one}'", "one or two language models"),
        ("'{one}' '{one}' '{pairs}'", "named twice"),
        ("'{one}' '{two}' '{one}' '{pairs}'", "one or two language models"),
        ("'{one}' '{pairs}' --level 1.5", "level"),
        ("'{one}' nothing", "holds no .txt file"),
    ],
)
def test_bad_input_ends_with_one_sentence_and_leaves_nothing(world, here, words, message):
    (here / "nothing").mkdir()
    places = {name: world / name for name in ("one", "two", "pairs")}
    line = refused(f"counterfactual {words.format(**places)} -o report")
    assert message in line
    assert not (here / "report").exists()


def test_an_existing_report_is_replaced_only_with_force(world, here):
    (here / "report").mkdir()
    (here / "report" / "mine.txt").write_text("work")
    command = f"counterfactual '{world / 'one'}' '{world / 'pairs'}' {OPTIONS} -o report"
    assert concept_ppl(command).status == 2
    assert "without index.html" in refused(f"{command} --force")


@pytest.mark.smollm2
def test_the_study_runs_on_the_real_model_and_our_lists(here):
    (here / "pairs").mkdir()
    for name in ("country - capital", "verb - Ving", "pronoun - possessive"):
        source = Path(__file__).parents[2] / "data" / "counterfactual_pairs" / f"[{name}].txt"
        (here / "pairs" / source.name).write_bytes(source.read_bytes())
    succeeds(f"counterfactual smollm2 pairs {OPTIONS} -o report")
    table = results(here / "report")
    means = table[(table["quantity"] == "mean_diagonal") & (table["control"].isna())]
    last = means[means["layer"] == "resid.30"]["estimate"].iloc[0]
    assert last > 0.2
    assert "sinks" in (here / "report" / "index.html").read_text()
