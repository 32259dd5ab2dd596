"""Commands on a cluster: the same files as here, to the last byte."""

import pandas as pd
import pyarrow.parquet as pq
import pytest

from concept_ppl.cli.application import HERE, _with_ray_address

from .command_line import refused, succeeds, tree
from .conftest import WORLD


@pytest.mark.parametrize(
    ("words", "read"),
    [
        ("posterior --ray m t -o p", f"posterior --ray {HERE} m t -o p"),
        ("study theory -o r --ray", f"study theory -o r --ray {HERE}"),
        ("posterior --ray my.py:model t", f"posterior --ray {HERE} my.py:model t"),
        ("extract m t --ray auto", "extract m t --ray auto"),
        ("extract --ray 10.0.0.1:6379 m t", "extract --ray 10.0.0.1:6379 m t"),
        ("extract --ray ray://head:10001 m t", "extract --ray ray://head:10001 m t"),
    ],
)
def test_only_an_address_is_the_value_of_ray(words, read):
    assert _with_ray_address(words.split()) == read.split()
    assert _with_ray_address(read.split()) == read.split()


def test_a_cluster_that_is_not_there_is_refused_in_one_sentence(here, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr("ray.init", _unreachable)
    succeeds(f"simulate switching_languages -n 20 {WORLD} -o t.parquet")
    said = refused(f"posterior switching_languages t.parquet {WORLD} --ray auto -o p.parquet")
    assert said.startswith("Ray cannot be reached at auto (nobody answers); start it with ray")
    assert [path.name for path in here.iterdir()] == ["t.parquet"]


def _unreachable(**options):
    raise ConnectionError("nobody answers.")


@pytest.mark.slow
def test_states_are_the_same_bytes_whoever_reads_them(cluster, chain, language_model, here):
    cluster.add_node(**cluster.node)
    tokens, at = chain / "tokens.parquet", f"--ray {cluster.address}"
    succeeds(f"extract '{language_model}' '{tokens}' --batch-tokens 64 -o here")
    succeeds(f"extract '{language_model}' '{tokens}' --batch-tokens 64 -o there {at}")
    assert tree(here / "there") == tree(here / "here")


@pytest.mark.slow
def test_row_groups_are_answered_on_a_cluster_that_is_started_for_the_command(chain, here):
    pytest.importorskip("ray")
    table = pq.read_table(chain / "tokens.parquet")
    pq.write_table(table, here / "t.parquet", row_group_size=50)
    question = f"posterior switching_languages t.parquet --joint {WORLD}"
    succeeds(f"{question} --ray --workers 1 -o there.parquet")
    there, whole = pd.read_parquet("there.parquet"), pd.read_parquet(chain / "p.parquet")
    pd.testing.assert_frame_equal(there, whole, rtol=1e-12)
    assert pq.ParquetFile("there.parquet").num_row_groups == 3
    assert sorted(path.name for path in here.iterdir()) == ["t.parquet", "there.parquet"]
