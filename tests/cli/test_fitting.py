"""``fit``, ``posterior`` of a fit, ``compare``: from simulated tokens to a model again."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from concept_ppl.fitting.fits.fit_files import read_fit

from .command_line import concept_ppl, refused, succeeds, tree

PROGRAM = '''
"""Topics whose words are learned."""
import pyro, pyro.distributions as dist, torch
from pyro.ops.indexing import Vindex

WORDS = torch.tensor([[0.8, 0.1, 0.1, 0.0], [0.0, 0.1, 0.1, 0.8], [0.1, 0.4, 0.5, 0.0]])

def build(topics=3, concentration=1.0):
    def model(n_tokens):
        share = pyro.sample("share", dist.Dirichlet(concentration * torch.ones(topics)))
        words = pyro.sample(
            "words", dist.Dirichlet(concentration * torch.ones(topics, 4)).to_event(1)
        )
        topic = pyro.sample("topic", dist.Categorical(share))
        with pyro.plate("position", n_tokens):
            pyro.sample("x", dist.Categorical(Vindex(words)[topic]))
    return model

def truth(n_tokens):
    topic = pyro.sample("topic", dist.Categorical(torch.tensor([0.3, 0.5, 0.2])))
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Categorical(Vindex(WORDS)[topic]))
'''

ONE = """
import pyro, pyro.distributions as dist, torch

def model(n_tokens):
    words = pyro.sample("words", dist.Dirichlet(torch.ones(4)))
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Categorical(words))
"""


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Tokens of three topics, and fits of two, three and four."""
    folder = tmp_path_factory.mktemp("fits")
    (folder / "m.py").write_text(PROGRAM)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        succeeds("simulate m.py:truth -n 200 --lengths 6 --seed 1 -o t.parquet")
        succeeds("simulate m.py:truth -n 200 --lengths 6 --seed 2 -o new.parquet")
        nuts = "--method nuts --chains 2 --warmup 60 --draws 60"
        for k in (2, 3, 4):
            succeeds(f"fit m.py t.parquet -p topics={k} --restarts 3 -o em{k}.nc")
            if k < 4:
                succeeds(f"fit m.py t.parquet -p topics={k} {nuts} -o nuts{k}.nc")
    return folder


@pytest.fixture
def there(fitted, monkeypatch):
    monkeypatch.chdir(fitted)
    return fitted


def point(path):
    return tuple(draws[0, 0] for draws in read_fit(path).fit.matched.values())


def test_a_fit_finds_the_tables_and_says_so(there):
    share, words = point("em3.nc")
    order = np.argmax(words[:, [0, 3, 2]], axis=0)
    np.testing.assert_allclose(share[order], [0.3, 0.5, 0.2], atol=0.1)
    truth = [[0.8, 0.1, 0.1, 0.0], [0.0, 0.1, 0.1, 0.8], [0.1, 0.4, 0.5, 0.0]]
    np.testing.assert_allclose(words[order], truth, atol=0.07)
    assert read_fit("em3.nc").fit.build == {"topics": 3}
    out = succeeds("fit m.py t.parquet --seed 3 -o again.nc")
    assert "em fit of m.py: 200 contexts, 1,200 tokens, 11 free parameters." in out
    Path("again.nc").unlink()


def test_the_fitted_file_answers_as_a_model(there, here):
    succeeds(f"posterior {there}/nuts3.nc {there}/new.parquet -o mean.parquet")
    succeeds(f"posterior {there}/nuts3.nc {there}/new.parquet --draws 50 -o averaged.parquet")
    mean, averaged = pd.read_parquet("mean.parquet"), pd.read_parquet("averaged.parquet")
    assert list(mean) == list(averaged)
    table = np.exp(averaged.iloc[:, :3].to_numpy())
    np.testing.assert_allclose(table.sum(1), 1, atol=1e-12)
    assert 0 < np.abs(table - np.exp(mean.iloc[:, :3].to_numpy())).max() < 0.3
    drawn = pd.read_parquet(there / "new.parquet")["topic"]
    assert adjusted_rand_score(drawn, table.argmax(1)) > 0.8


def test_comparison_prefers_the_three_topics_by_every_criterion(there, here):
    em, nuts = (
        " ".join(f"{there}/{name}" for name in names)
        for names in (("em2.nc", "em3.nc", "em4.nc"), ("nuts2.nc", "nuts3.nc"))
    )
    for command in (
        f"compare {em}",
        f"compare {em} --by aic",
        f"compare {nuts}",
        f"compare {nuts} --by waic",
        f"compare {em} {nuts} --held-out {there}/new.parquet",
    ):
        out = succeeds(f"{command} -o table.csv --force")
        assert "3.nc" in out.splitlines()[2], out
        table = pd.read_csv("table.csv")
        differences = table[table["quantity"] == "elpd_difference"]
        two = differences[differences["term"].str.contains(r"2\.nc")]
        assert (two["ci_high"] < 0).all()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("fit m.py none.parquet -o o.nc", ["none.parquet", "does not exist"]),
        ("fit m.py t.parquet -o em3.nc", ["em3.nc", "--force"]),
        ("fit m.py:truth t.parquet -o o.nc", ["nothing to learn", "Dirichlet"]),
        ("fit m.py t.parquet -o o.nc --known mood", ["t.parquet", "'mood'", "topic"]),
        ("fit m.py strange.parquet -o o.nc --known topic", ["row 1", "'b'", "0, 1, 2"]),
        ("fit m.py nan.parquet -o o.nc", ["nan.parquet", "row 2", "weight"]),
        ("fit m.py seven.parquet -o o.nc", ["seven.parquet", "row 1", "7"]),
        ("fit m.py same.parquet -o o.nc", ["same.parquet", "2"]),
        ("fit m.py t.parquet -o o.nc -p topics=a", ["'topics'", "a number"]),
        ("fit m.py t.parquet -o o.nc --method em --batch-size 9", ["batch_size", "map"]),
        ("posterior em2.nc t.parquet -o o.parquet -p topics=3", ["'topics'", "share, words"]),
        ("posterior m.py t.parquet -o o.parquet --draws 3", ["--draws", "fit.nc"]),
        ("posterior t.nc t.parquet -o o.parquet", ["t.nc", "does not exist"]),
        ("compare em3.nc", ["two or more"]),
        ("compare em3.nc t.parquet", ["t.parquet", "no readable fit"]),
        ("compare em3.nc nuts2.nc", ["nuts2.nc is draws", "--held-out"]),
        ("compare nuts3.nc nuts2.nc --by bic", ["nuts3.nc is draws", "bic"]),
        ("compare em3.nc em2.nc --by held-out", ["--held-out FILE"]),
        ("compare em3.nc em2.nc --held-out t.parquet", ["t.parquet", "was fitted to"]),
        ("compare em3.nc other.nc", ["em3.nc and other.nc", "different observations"]),
        ("check m.py -o r", ["m.py", "no readable fit"]),
        ("check em2.nc -o m.py", ["m.py is a file"]),
    ],
)
def test_bad_input_is_one_sentence(there, command, words):
    if not Path("other.nc").exists():
        succeeds("fit m.py new.parquet -p topics=2 --restarts 1 -o other.nc")
        table = pd.read_parquet("t.parquet")
        table.head(2).assign(topic=["0", "b"]).to_parquet("strange.parquet")
        table.head(3).assign(weight=[1, 1, np.nan]).to_parquet("nan.parquet")
        pd.DataFrame({"x": [[0, 1], [7]]}).to_parquet("seven.parquet")
        pd.DataFrame({"x": [[2, 2], [2]]}).to_parquet("same.parquet")
    before = tree(there)
    line = refused(command)
    assert all(word in line for word in words), line
    assert tree(there) == before


def test_a_program_without_concepts_is_a_rival_too(there, here):
    Path("one.py").write_text(ONE)
    succeeds(f"fit one.py {there}/t.parquet --restarts 1 -o em1.nc")
    counts = np.bincount(np.concatenate(pd.read_parquet(there / "t.parquet")["x"].to_list()))
    np.testing.assert_allclose(point("em1.nc")[0], counts / counts.sum(), atol=1e-9)
    lines = succeeds(f"compare em1.nc {there}/em3.nc").splitlines()
    assert "em3.nc" in lines[2]
    line = refused(f"posterior em1.nc {there}/t.parquet -o p.parquet")
    assert "one has no concept, so there is no posterior" in line


def test_known_values_name_the_topics(there, here):
    table = pd.read_parquet(there / "t.parquet")
    table["topic"] = table["topic"].where(np.arange(200) < 40)
    table.to_parquet("half.parquet")
    succeeds(f"fit {there}/m.py half.parquet --known topic --restarts 2 -o fit.nc")
    file = read_fit("fit.nc")
    _, words = point("fit.nc")
    assert words.argmax(1).tolist()[:2] == [0, 3]
    assert (file.observed.given["topic"] >= 0).sum() == 40
    line = concept_ppl(f"compare fit.nc {there}/em2.nc").err
    assert "different observations" in line


def test_a_checkpoint_goes_on_to_the_same_numbers(there, here):
    command = f"fit {there}/m.py {there}/t.parquet --restarts 2 --checkpoint state"
    succeeds(f"{command} -o one.nc")
    succeeds(f"{command} -o two.nc")
    np.testing.assert_array_equal(point("one.nc")[1], point("two.nc")[1])


def test_replicates_are_kept_on_demand(there, here):
    succeeds(f"fit {there}/m.py {there}/t.parquet --restarts 1 --replicates 25 -o fit.nc")
    file = read_fit("fit.nc")
    assert file.groups["posterior_predictive"]["x"].shape == (1, 25, 1200)
    assert "posterior_predictive" not in read_fit(there / "em3.nc").groups


def test_the_report_of_a_check_finds_what_two_topics_leave_out(there, here):
    for k, tone in ((2, "Not in everything: its model does not reproduce"), (3, "Nothing speaks")):
        out = succeeds(f"check {there}/em{k}.nc --replicates 60 -o report{k}")
        assert out == f"report{k}/index.html\n"
        assert tone in Path(f"report{k}/index.html").read_text(), k
    results = pd.read_csv("report2/results.csv")
    pairs = results[(results["quantity"] == "contexts with a pair of tokens")]
    assert pairs.loc[pairs["term"] == "all", "p_value"].item() < 0.05
    assert {"elpd_aic", "elpd_bic", "share", "words"} <= set(results["quantity"])
    drawings = {path.stem for path in Path("report3/figures").iterdir()}
    assert drawings == {"frequencies", "pairs", "different", "history"}


@pytest.mark.slow
def test_chains_and_effective_draws_stand_in_the_report_of_a_posterior(there, here):
    succeeds(f"check {there}/nuts3.nc --replicates 20 -o report")
    page = Path("report/index.html").read_text()
    assert "Highest R-hat" in page
    assert "leave-one-out" in page
    assert "Labels of &#39;topic&#39; differed" in page


@pytest.mark.slow
def test_draws_of_a_guide_are_not_said_to_have_converged(there, here):
    options = "--method svi --iterations 200 --draws 120"
    succeeds(f"fit {there}/m.py {there}/t.parquet {options} -o svi.nc")
    succeeds("check svi.nc --replicates 20 -o report")
    page = Path("report/index.html").read_text()
    assert "Highest R-hat" not in page
    assert "not how close it is to the posterior" in page
