"""simulate, posterior, extract, analyse: what each command writes, the next one reads."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest

from concept_ppl.reports import RESULT_COLUMNS

from .command_line import read_shards, succeeds, tree
from .conftest import WORLD

BAGS = ("embedding.sum", "embedding.mean")
N = 120


def test_simulated_tokens_hold_contexts_words_and_concepts(chain):
    table = pd.read_parquet(chain / "tokens.parquet")
    assert list(table.columns) == ["x", "y", "text", "language"]
    assert len(table) == N
    assert table["x"].map(len).between(4, 9).all()
    assert (table["text"].str.split().map(len) == table["x"].map(len)).all()
    assert table["text"].str.endswith(" ,").all()
    assert set(np.concatenate(list(table["language"]))) == {"en", "fr"}


def test_the_posterior_has_a_row_for_each_context_and_sums_to_one(chain):
    table = pd.read_parquet(chain / "p.parquet")
    values = ["log_p.language.en", "log_p.language.fr"]
    assert list(table.columns) == [*values, "log_evidence", "entropy", "log_joint"]
    p = np.exp(table[values].to_numpy())
    assert len(p) == N
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(table["entropy"], -(p * np.log(p)).sum(1), atol=1e-12)
    np.testing.assert_allclose(np.vstack(list(table["log_joint"])), table[values], atol=1e-12)
    assert (table["log_evidence"] < 0).all()


def test_states_are_named_matrices_with_their_provenance(chain, language_model):
    sites = ["embedding", "resid.1", "resid.2", "final_norm", "embedding.sum", "embedding.mean"]
    arrays = read_shards(chain / "states")
    assert set(arrays) == {*sites, "n_tokens"}
    assert all(arrays[site].shape == (N, 16) for site in sites)
    assert all(arrays[site].dtype == np.float32 for site in sites)
    tokens = pd.read_parquet(chain / "tokens.parquet")["x"]
    np.testing.assert_array_equal(arrays["n_tokens"], tokens.map(len))
    manifest = json.loads((chain / "states" / "manifest.json").read_text())
    assert manifest["sites"] == sites
    assert manifest["provenance"]["weights_kind"] == "trained"
    assert len(manifest["provenance"]["digest"]) == 64
    shards = {f"{site}.safetensors" for site in sites}
    assert set(tree(chain / "states")) == {*shards, "contexts.safetensors", "manifest.json"}


def test_at_a_closing_comma_the_embedding_is_the_same_for_every_context(chain):
    embedding = read_shards(chain / "states")["embedding"]
    assert (embedding == embedding[0]).all()


def test_the_report_folder_holds_the_page_the_numbers_and_the_drawings(chain):
    report = chain / "report"
    files = tree(report)
    drawings = {"canonical_bars", "control_forest", "decoded_scatter", "layer_curve"}
    drawings.add("power_profile")
    assert set(files) == {
        *("index.html", "manifest.json", "results.csv", "results.json", "figures"),
        *(f"figures/{name}.svg" for name in drawings),
    }
    results = pd.read_csv(report / "results.csv")
    assert tuple(results.columns) == RESULT_COLUMNS
    assert (results["n"] == N).all()
    n_distinct = pd.read_parquet(chain / "tokens.parquet")["text"].nunique()
    assert (results["n_clusters"] == n_distinct).all()
    assert results[["analysis", "quantity", "term", "ci_level"]].notna().all(axis=None)
    # States that tell nothing have no valid test of added terms, and so no statistic.
    assert set(results.loc[results["estimate"].isna(), "quantity"]) <= {"added_terms"}
    bounded = results.dropna(subset=["ci_low", "ci_high"])  # a one-sided bound has one end
    assert (bounded["ci_low"] <= bounded["ci_high"]).all()
    again = pd.DataFrame(json.loads((report / "results.json").read_text()))
    pd.testing.assert_frame_equal(results, again, check_dtype=False)
    controls = {"bag of tokens, sum", "bag of tokens, mean", "last token", "shuffled", "best"}
    assert set(results["control"].dropna()) == {*controls, "MAP one-hot"}


def test_the_page_needs_nothing_from_elsewhere(chain):
    page = (chain / "report" / "index.html").read_text()
    assert 'src="http' not in page
    assert "url(http" not in page
    assert "<link" not in page


def test_the_manifest_says_how_to_make_the_report_again(chain):
    manifest = json.loads((chain / "report" / "manifest.json").read_text())
    assert manifest["command"] == "concept-ppl analyse states p.parquet --seed 3 -o report"
    assert manifest["seeds"] == {"folds": 3}
    assert manifest["arguments"]["site"] == "final_norm"
    assert manifest["inputs"]["posterior"] == {
        "name": "p.parquet",
        "bytes": (chain / "p.parquet").stat().st_size,
        "sha256": hashlib.sha256((chain / "p.parquet").read_bytes()).hexdigest(),
    }
    assert manifest["inputs"]["states"]["files"] == 8
    assert {"concept-ppl", "torch", "transformers", "python"} <= set(manifest["versions"])


def test_the_same_seed_writes_the_same_bytes(chain, language_model, here):
    succeeds(f"simulate switching_languages -n 120 --seed 3 {WORLD} -o tokens.parquet")
    succeeds(f"posterior switching_languages tokens.parquet --joint {WORLD} -o p.parquet")
    succeeds(f"extract '{language_model}' tokens.parquet -o states")
    succeeds("analyse states p.parquet --seed 3 -o report")
    first, again = tree(chain), tree(here)
    for volatile in ("report/manifest.json", "report/index.html"):  # they say when
        del first[volatile], again[volatile]
    assert first == again


def test_another_seed_draws_other_contexts_and_other_folds(chain, here):
    succeeds(f"simulate switching_languages -n 120 --seed 4 {WORLD} -o tokens.parquet")
    first, other = (pd.read_parquet(path / "tokens.parquet") for path in (chain, here))
    assert not first["text"].equals(other["text"])
    succeeds(f"analyse {chain}/states {chain}/p.parquet --seed 4 -o report")
    results = pd.read_csv(here / "report" / "results.csv")
    before = pd.read_csv(chain / "report" / "results.csv")
    assert not np.allclose(results["estimate"], before["estimate"])


def test_random_weights_are_drawn_by_the_seed(chain, language_model, here):
    command = f"extract '{language_model}' {chain}/tokens.parquet --random-weights --layers resid.2"
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        succeeds(f"{command} --seed {seed} -o {name}")
    a, b, c = (read_shards(here / name)["resid.2"] for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0.01
    assert json.loads((here / "a" / "manifest.json").read_text())["provenance"]["seed"] == 1


def test_layers_and_the_first_token_are_as_asked(chain, language_model, here):
    command = f"extract '{language_model}' {chain}/tokens.parquet --layers final_norm,resid.1"
    succeeds(f"{command} -o with")
    succeeds(f"{command} --no-bos -o without")
    arrays = read_shards(here / "with")
    assert set(arrays) == {"final_norm", "resid.1", *BAGS, "n_tokens"}
    whole = read_shards(chain / "states")
    np.testing.assert_allclose(arrays["resid.1"], whole["resid.1"], rtol=1e-5, atol=1e-5)
    without = read_shards(here / "without")
    assert np.abs(arrays["resid.1"] - without["resid.1"]).max() > 0.01


def test_states_of_another_folder_are_one_more_control(chain, language_model, here):
    source = f"'{language_model}' {chain}/tokens.parquet"
    succeeds(f"extract {source} --random-weights -o untrained")
    succeeds(
        f"analyse {chain}/states {chain}/p.parquet --control untrained=untrained "
        f"--site resid.1 --level 0.9 -o report"
    )
    results = pd.read_csv(here / "report" / "results.csv")
    beside = results["analysis"] == "compare_controls"
    own = results[(results["control"] == "untrained") & beside]
    assert set(own["quantity"]) == {"r2_backward", "r2_difference"}
    assert set(own["layer"]) == {"resid.1"}
    assert set(results["ci_level"]) == {0.9}
    manifest = json.loads((here / "report" / "manifest.json").read_text())
    assert set(manifest["inputs"]) == {"states", "posterior", "untrained"}


@pytest.mark.parametrize(
    ("command", "output"),
    [
        (f"simulate word_languages -n 9 --seed 1 {WORLD}", "out.parquet"),
        (f"posterior switching_languages tokens.parquet {WORLD}", "out.parquet"),
        ("analyse states p.parquet", "out"),
        ("extract model tokens.parquet --layers resid.1", "out"),
    ],
)
def test_force_replaces_an_earlier_output_and_leaves_nothing_else(
    command, output, chain, language_model, here
):
    for name in ("tokens.parquet", "p.parquet", "states"):
        (here / name).symlink_to(chain / name)
    (here / "model").symlink_to(language_model)
    succeeds(f"{command} -o {output}")
    first = {path.name for path in here.iterdir()}
    succeeds(f"{command} -o {output} --force")
    assert {path.name for path in here.iterdir()} == first
