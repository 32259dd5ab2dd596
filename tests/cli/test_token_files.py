"""`simulate` and `posterior` on files that are read some rows at a time, and on many at once."""

import pandas as pd
import pyarrow.parquet as pq
import pytest

from concept_ppl.contexts import token_files

from .command_line import refused, succeeds


@pytest.fixture
def tokens(tmp_path):
    """Two files of a folder, and all their contexts."""
    folder = tmp_path / "tokens"
    for name, seed in (("a", 1), ("b", 2)):
        path = folder / f"{name}.parquet"
        succeeds(f"simulate latent_classes -n 40 --seed {seed} -o {path}")
    return folder


def test_a_file_read_in_parts_has_the_posterior_of_the_whole(tokens, tmp_path, monkeypatch):
    source, one, other = tokens / "a.parquet", tmp_path / "one.parquet", tmp_path / "other.parquet"
    succeeds(f"posterior latent_classes {source} -o {one}")
    monkeypatch.setattr(token_files, "ROWS_AT_ONCE", 7)
    succeeds(f"posterior latent_classes {source} -o {other}")
    pd.testing.assert_frame_equal(pd.read_parquet(one), pd.read_parquet(other), rtol=1e-12)
    assert "index" not in str(pq.read_schema(one).names)


@pytest.mark.parametrize("pattern", ["", "*.parquet"])
def test_many_files_are_answered_file_by_file(tokens, tmp_path, pattern):
    out, one = tmp_path / "out", tmp_path / "b.parquet"
    succeeds(f"posterior latent_classes '{tokens / pattern}' -o {out}")
    assert sorted(path.name for path in out.iterdir()) == ["a.parquet", "b.parquet"]
    succeeds(f"posterior latent_classes {tokens / 'b.parquet'} -o {one}")
    assert (out / "b.parquet").read_bytes() == one.read_bytes()


def test_a_bad_file_among_many_leaves_nothing(tokens, tmp_path):
    pd.DataFrame({"x": [[0], [10**6]]}).to_parquet(tokens / "c.parquet")
    message = refused(f"posterior latent_classes {tokens} -o {tmp_path / 'out'}")
    assert "c.parquet: row 1: token 1000000" in message
    assert not (tmp_path / "out").exists()
