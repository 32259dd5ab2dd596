"""Contrasts of posterior tables hold no normaliser; a posterior file is checked when read."""

import numpy as np
import pandas as pd
import pytest

from concept_ppl.contexts.posterior_tables import (
    concept_columns,
    log_odds,
    probabilities,
    read_posterior,
    value_of,
)
from concept_ppl.errors import InputError


def table():
    rng = np.random.default_rng(0)
    a, z = rng.dirichlet([1, 1], 4), rng.dirichlet([1, 1, 1], 4)
    columns = {f"log_p.a.{k}": np.log(a[:, k]) for k in range(2)}
    columns |= {f"log_p.z.0.{k}": np.log(z[:, k]) for k in range(3)}
    return pd.DataFrame({"text": list("abcd"), **columns, "log_evidence": -1.0})


def test_columns_belong_to_their_concept_also_in_plates():
    columns = concept_columns(table())
    assert columns == {
        "a": ["log_p.a.0", "log_p.a.1"],
        "z.0": ["log_p.z.0.0", "log_p.z.0.1", "log_p.z.0.2"],
    }
    assert value_of("log_p.z.0.2") == "2"


def test_log_odds_do_not_see_a_shift_and_probabilities_leave_the_first_out():
    posterior = table()
    shifted = posterior.copy()
    shifted[[c for c in posterior if c.startswith("log_p.a")]] += 3.0
    odds = log_odds(posterior)
    assert list(odds.columns) == ["a.1:0", "z.0.1:0", "z.0.2:0"]
    pd.testing.assert_frame_equal(odds, log_odds(shifted))
    np.testing.assert_allclose(odds["z.0.2:0"], posterior["log_p.z.0.2"] - posterior["log_p.z.0.0"])
    np.testing.assert_allclose(probabilities(posterior)["a.1:0"], np.exp(posterior["log_p.a.1"]))
    with pytest.raises(InputError, match="no concept with two values"):
        log_odds(posterior[["text", "log_p.a.0"]])


def test_a_posterior_file_is_checked(tmp_path):
    path = tmp_path / "p.parquet"
    table().to_parquet(path)
    pd.testing.assert_frame_equal(read_posterior(path), table())
    wrong = table()
    wrong.loc[2, "log_p.a.1"] = 0.0
    wrong.to_parquet(path)
    with pytest.raises(InputError, match=r"row 2: p\(a\) sums to 1\.\d+, not 1; give natural log"):
        read_posterior(path)
    wrong.loc[2, "log_p.a.1"] = np.nan
    wrong.to_parquet(path)
    with pytest.raises(InputError, match="row 2"):
        read_posterior(path)
    for values in (list("abcd"), [True] * 4, [None] * 4):
        table().assign(**{"log_p.a.1": values}).to_parquet(path)
        with pytest.raises(
            InputError, match=r"p\.parquet: column log_p\.a\.1 holds .* not numbers"
        ):
            read_posterior(path)
    table()[["text"]].to_parquet(path)
    with pytest.raises(InputError, match=r"has no columns log_p"):
        read_posterior(path)
    with pytest.raises(InputError, match="does not exist"):
        read_posterior(tmp_path / "none.parquet")
