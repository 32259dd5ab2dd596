"""A file that is read in parts at each pass has the fit of its contexts in memory."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex

from concept_ppl import fit
from concept_ppl.contexts import token_files
from concept_ppl.errors import InputError
from concept_ppl.fitting.likelihoods.likelihood import likelihood_of_file, make_likelihood

from .test_chain_evidence import hidden_markov

ROWS = [[0, 1, 2, 3], [1, None, 1], [2, 2], [0, 0, 1], [3, 1], [0, 1, 2, 3], [3, 3, 2]]


def mixture(n_tokens):
    share = pyro.sample("share", dist.Dirichlet(torch.ones(2)))
    emit = pyro.sample("emit", dist.Dirichlet(torch.ones(2, 4)).to_event(1))
    kind = pyro.sample("kind", dist.Categorical(share))
    with pyro.plate("position", n_tokens):
        pyro.sample("x", dist.Categorical(Vindex(emit)[kind]))


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(token_files, "ROWS_AT_ONCE", 2)
    path = tmp_path / "tokens.parquet"
    pq.write_table(pa.table({"x": ROWS}), path, row_group_size=3)
    return path


@pytest.mark.parametrize("model", [mixture, hidden_markov])
def test_counts_of_parts_add_up_to_those_of_the_whole(model, path):
    whole, parts = make_likelihood(model, ROWS), likelihood_of_file(model, path)
    values = whole.program.random_values(torch.Generator().manual_seed(0))
    total, _, counts = whole.expected_counts(values)
    found, _, own = parts.expected_counts(values)
    assert found == pytest.approx(total, rel=1e-13)
    for one, other in zip(counts[0], own[0], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(parts.each(values), whole.each(values), rtol=1e-13)


@pytest.mark.parametrize("method", ["em", "map"])
def test_a_fit_of_a_file_is_that_of_its_contexts(method, path):
    options = {"restarts": 1, "standard_errors": False, "iterations": 20, "seed": 0}
    options["start"] = {"share": [0.4, 0.6], "emit": [[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]]}
    whole, parts = fit(mixture, ROWS, method, **options), fit(mixture, path, method, **options)
    for name, draws in whole.draws.items():
        np.testing.assert_allclose(draws, parts.draws[name], rtol=1e-8, atol=1e-12)
    assert parts.n_contexts == len(ROWS)
    np.testing.assert_allclose(parts.log_likelihood, whole.log_likelihood, rtol=1e-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "nuts", "standard_errors": False}, "method 'em', or 'map'"),
        ({"method": "map", "batch_size": 2, "standard_errors": False}, "without batch_size"),
        ({"method": "em"}, "standard_errors=False"),
        ({"standard_errors": False, "weights": [1.0] * 7}, "weights: a file"),
    ],
)
def test_what_needs_the_contexts_themselves_is_refused(options, message, path):
    with pytest.raises(InputError, match=message):
        fit(mixture, path, **options)


def test_a_token_outside_of_the_vocabulary_is_named_by_its_row(path):
    pq.write_table(pa.table({"x": [[0], [1], [2], [9]]}), path)
    with pytest.raises(InputError, match="row 3: token 9"):
        likelihood_of_file(mixture, path)
