"""``study labelled`` on a tiny model, and the options of ``extract`` that need no real one."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from concept_ppl import load_model

from .command_line import read_shards, refused, succeeds, tree


def write_texts(path: Path, n: int = 160) -> None:
    """Texts of two languages' words, labelled with the language, by a random hand."""
    words = load_model("word_languages", languages=("en", "fr"), top=12).labels["x"]
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(len(words), 0.5), size=2)
    label = rng.integers(0, 2, n)
    texts = [" ".join(rng.choice(words, 6, p=p[one])) for one in label]
    table = pd.DataFrame({"text": texts, "language": np.array(["en", "fr"])[label]})
    table.to_csv(path, index=False)


@pytest.fixture(scope="module")
def report(tmp_path_factory, language_model) -> Path:
    folder = tmp_path_factory.mktemp("labelled")
    write_texts(folder / "texts.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        out = succeeds(f"study labelled '{language_model}' texts.csv -o r --blocks 1 --seed 3")
    assert out == "r/index.html\n"
    return folder / "r"


def test_the_other_half_is_analysed_beside_every_control(report: Path) -> None:
    results = pd.read_csv(report / "results.csv")
    assert results["n"].max() == pytest.approx(80, abs=4)
    own = results[(results["analysis"] == "compare_controls") & results["control"].notna()]
    readers = ("sum", "mean", "last tokens", "decayed sum", "bank of decays", "neighbours")
    readers += ("weighted by position", "look-up")
    kinds = ("input embeddings", "token identities")
    assert set(own["control"]) == {
        *(f"{kind}: {reader}" for kind in kinds for reader in readers),
        *("random weights", "shuffled", "best"),
    }
    page = (report / "index.html").read_text()
    assert "The fitted model" in page
    assert "The words that tell most" in page
    manifest = json.loads((report / "manifest.json").read_text())
    assert manifest["inputs"]["texts"]["name"] == "texts.csv"
    assert manifest["seeds"] == {"halves": 3, "folds": 3, "random weights": 3}


def test_the_same_seed_writes_the_same_bytes(report: Path, language_model, here: Path) -> None:
    write_texts(here / "texts.csv")
    succeeds(f"study labelled '{language_model}' texts.csv -o r --blocks 1 --seed 3")
    first, again = tree(report), tree(here / "r")
    for volatile in ("manifest.json", "index.html"):  # they say when
        del first[volatile], again[volatile]
    assert first == again


def test_a_bad_table_ends_before_the_model_is_loaded(here: Path) -> None:
    Path("texts.csv").write_text("words,label\nsun,a\n")
    before = tree(here)
    assert "no column text" in refused("study labelled ./nowhere texts.csv -o r")
    assert "does not exist" in refused("study labelled ./nowhere other.csv -o r")
    assert tree(here) == before


def test_states_at_words_and_at_every_token(language_model, here: Path) -> None:
    words = load_model("word_languages", languages=("en", "fr"), top=12).labels["x"][:3]
    texts = [" ".join(words), " ".join(words[:2])]
    pd.DataFrame({"text": texts, "focus": [words[0], words[1]]}).to_parquet("t.parquet")
    source = f"extract '{language_model}' t.parquet"
    out = succeeds(f"{source} --positions all --store bfloat16 --dtype bfloat16 -o every")
    assert out == "every: 5 states of 16 bfloat16 at 4 sites, 1.2 kB\n"
    every = read_shards_as_read(here / "every")
    assert len(every["resid.1"]) == 5
    succeeds(f"{source} --positions word --word-column focus --dtype bfloat16 -o words")
    found = read_shards(here / "words")
    for row, place in ((0, 0), (1, 4)):
        np.testing.assert_allclose(
            found["resid.1"][row], every["resid.1"][place], rtol=0.05, atol=0.05
        )
    assert "no column other" in refused(f"{source} --positions word --word-column other -o w")
    assert "words go with" in refused(f"{source} --positions word -o w")


def read_shards_as_read(folder: Path) -> dict[str, np.ndarray]:
    from concept_ppl.bridge import load_states

    states = load_states(folder)
    return {site: states[site] for site in states.sites}
