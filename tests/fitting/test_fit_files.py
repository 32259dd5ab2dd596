"""A fit on the disk is what it was, is read by ArviZ, and is a model again."""

import json
import warnings
from dataclasses import fields
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from concept_ppl import load_model, posterior
from concept_ppl.arviz_import import arviz, inference_data
from concept_ppl.errors import InputError, ModelError
from concept_ppl.fitting.fits.fit_files import program_digest, read_fit, write_fit
from concept_ppl.fitting.fits.kept_fits import read_kept
from concept_ppl.fitting.fits.replicates import replicate

from .made_fits import PROGRAM, made_fit, made_tokens, write_program


@pytest.fixture
def stored(tmp_path):
    """Program, tokens, fit, observations, and the file that holds them."""
    program = write_program(tmp_path)
    tokens = made_tokens(program)
    fit, observed = made_fit(program, tokens)
    path = tmp_path / "fit.nc"
    drawn = replicate(load_model(program), fit, observed, 5, seed=1)
    write_fit(fit, observed, path, replicates=drawn, program=Path(program))
    return program, tokens, fit, observed, path


def test_every_field_survives_the_disk(stored):
    _, _, fit, observed, path = stored
    file = read_fit(path)
    for field in fields(fit):
        expected, found = getattr(fit, field.name), getattr(file.fit, field.name)
        if isinstance(expected, dict):
            assert list(expected) == list(found), field.name
            for name in expected:
                np.testing.assert_array_equal(expected[name], found[name], err_msg=field.name)
        elif isinstance(expected, tuple | np.ndarray):
            assert len(expected) == len(found)
            for one, other in zip(expected, found, strict=True):
                np.testing.assert_array_equal(one, other)
        else:
            assert expected == found, field.name
    assert file.observed.digest == observed.digest == file.attributes["observed_digest"]


@pytest.mark.parametrize("failing", ["to_inference_data", "to_netcdf"])
def test_a_fit_whose_writer_fails_is_kept(stored, tmp_path, monkeypatch, failing):
    _, _, fit, observed, path = stored

    def fails(*_, **__):
        raise TypeError("this version does not take it")

    if failing == "to_inference_data":
        monkeypatch.setattr("concept_ppl.fitting.fits.fit_files.to_inference_data", fails)
    else:
        monkeypatch.setattr(arviz().InferenceData, "to_netcdf", fails)
    target = tmp_path / "lost.nc"
    with pytest.raises(InputError, match=r"does not take it.*lost\.nc\.kept\.npz"):
        write_fit(fit, observed, target)
    assert not target.exists()
    with pytest.raises(InputError, match=r"kept in .*lost\.nc\.1\.kept\.npz"):
        write_fit(fit, observed, target)  # a second one leaves the first alone
    monkeypatch.undo()
    write_fit(*read_kept(tmp_path / "lost.nc.kept.npz"), target)
    again, first = read_fit(target), read_fit(path)
    assert again.attributes["observed_digest"] == first.attributes["observed_digest"]
    assert set(again.groups) == set(first.groups) - {"posterior_predictive"}
    for name, group in again.groups.items():
        assert group.identical(first.groups[name]), name


def test_a_fit_whose_place_is_taken_is_kept(stored, tmp_path):
    _, _, fit, observed, path = stored
    before = path.read_bytes()
    with pytest.raises(InputError, match="already exists"):
        write_fit(fit, observed, path)
    assert path.read_bytes() == before
    kept, seen = read_kept(f"{path}.kept.npz")
    np.testing.assert_array_equal(kept.draws["share"], fit.draws["share"])
    assert seen.digest == observed.digest
    with pytest.raises(InputError, match="no fit that was kept"):
        read_kept(path)


def test_the_draws_as_drawn_are_kept_beside_the_matched_ones(stored):
    *_, path = stored
    fit = read_fit(path).fit
    assert fit.switched == {"topic": 0.5}
    assert not np.array_equal(fit.draws["share"][1], fit.matched["share"][1])
    np.testing.assert_array_equal(
        np.take_along_axis(fit.draws["share"], fit.matches["topic"], -1), fit.matched["share"]
    )


@pytest.mark.filterwarnings("ignore::matplotlib.MatplotlibDeprecationWarning")  # ArviZ's own
def test_arviz_summarises_compares_and_draws_the_file(stored):
    program, _, fit, _, path = stored
    az = arviz()
    data = az.from_netcdf(path)
    summary = az.summary(data, round_to="none")
    assert summary.loc["share[0]", "mean"] == pytest.approx(fit.values["share"][0])
    assert {"r_hat", "ess_bulk"} <= set(summary)
    loo = az.loo(data)
    assert loo.n_data_points == 60
    assert loo.elpd_loo == pytest.approx(fit.log_evidence.mean(), abs=15)
    with mpl.rc_context({"backend": "agg"}):
        axes = az.plot_trace(data, compact=True)
        assert axes.shape == (2, 2)
        mpl.pyplot.close("all")
    assert data.posterior_predictive["x"].sizes["token"] == data.observed_data["x"].sizes["token"]
    assert json.loads(data.attrs["model"]) == program


def test_of_arviz_one_a_data_tree_comes_that_reads_back(stored, tmp_path, monkeypatch):
    class Next:
        """What ArviZ 1.3 answers: it warns, and means its DataTree."""

        __version__ = "1.3.0"
        InferenceData = xr.DataTree

    *_, fit, observed, path = stored
    monkeypatch.setattr("concept_ppl.arviz_import.arviz", Next)
    assert isinstance(inference_data({}), xr.DataTree)
    write_fit(fit, observed, tmp_path / "next.nc")
    ours = read_fit(tmp_path / "next.nc")
    np.testing.assert_array_equal(ours.fit.log_likelihood, read_fit(path).fit.log_likelihood)
    np.testing.assert_array_equal(ours.fit.matched["share"], fit.matched["share"])


def test_a_fitted_file_is_the_program_at_its_posterior_mean(stored):
    program, tokens, fit, _, path = stored
    expected = posterior(load_model(program), tokens, values=fit.values)
    found = posterior(load_model(path), tokens)
    np.testing.assert_array_equal(found.log_evidence, expected.log_evidence)
    with pytest.raises(ModelError, match="has no parameter 'topics'; it has: share, words"):
        load_model(path, topics=3)
    other = posterior(load_model(path, share=[0.5, 0.5]), tokens)
    assert not np.allclose(other.log_evidence, found.log_evidence)


def test_a_program_that_means_something_else_is_refused_and_a_comment_is_not(stored):
    program, *_, path = stored
    before = program_digest(Path(program))
    Path(program).write_text(
        PROGRAM.replace("A topic,", "One topic,").replace("import torch", "import torch  # !")
    )
    assert program_digest(Path(program)) == before
    load_model(path)
    Path(program).write_text(PROGRAM.replace("0.6 + 0.2", "0.8 + 0.1"))
    with pytest.raises(ModelError, match="another version of the program"):
        load_model(path)
    Path(program).unlink()
    with pytest.raises(ModelError, match=r"topics\.py, which does not exist"):
        load_model(path)


def test_the_program_may_lie_beside_the_fit(stored, tmp_path):
    program, *_, path = stored
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    path.rename(moved / "fit.nc")
    Path(program).rename(moved / "topics.py")
    assert load_model(moved / "fit.nc").__name__ == "topics"


def test_an_existing_fit_is_replaced_by_force_alone(stored):
    _, _, fit, observed, path = stored
    before = path.read_bytes()
    with pytest.raises(InputError, match="--force"):
        write_fit(fit, observed, path)
    assert path.read_bytes() == before
    write_fit(fit, observed, path, force=True)
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".fit")] == []


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n" + bytes(64), b"PAR1"])
def test_what_is_no_fit_is_refused(tmp_path, content):
    path = tmp_path / "fit.nc"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"fit\.nc is no readable fit"):
        read_fit(path)
    with pytest.raises(InputError, match="does not exist"):
        read_fit(tmp_path / "none.nc")


def test_netcdf_of_another_kind_is_no_fit(tmp_path):
    import xarray as xr

    xr.Dataset({"a": ("i", np.arange(3))}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(InputError, match="is no fit; name a file"):
        read_fit(tmp_path / "other.nc")


def test_the_digest_knows_every_number(stored):
    program, tokens, *_ = stored
    digests = {made_fit(program, tokens, n_draws=1)[1].digest}
    changed = [
        tokens.assign(y=1 - tokens["y"]),
        tokens.drop(columns="y"),
        tokens.iloc[::-1],
        tokens.assign(weight=2.0),
        made_tokens(program, seed=1),
    ]
    for table in changed:
        digests.add(made_fit(program, table, n_draws=1)[1].digest)
    assert len(digests) == 6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert made_fit(program, tokens, n_draws=1)[1].digest in digests
