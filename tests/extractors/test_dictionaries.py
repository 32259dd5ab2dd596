"""Dictionaries encode and decode as they say, survive the disk, and read others' autoencoders."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from concept_ppl.errors import InputError
from concept_ppl.extractors import (
    ConcaSettings,
    Dictionary,
    TrainingRecipe,
    coordinates,
    fit_conca,
    independent_components,
    principal_components,
    random_dictionary,
    read_dictionary,
    read_trained,
    save_dictionary,
)

WIDTH, M = 6, 10


@pytest.fixture
def states():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(500, WIDTH)) @ rng.normal(size=(WIDTH, WIDTH)) + 5.0).astype(
        np.float32
    )


def dictionary(activation, **options):
    rng = np.random.default_rng(1)
    shapes = {"encoder": (WIDTH, M), "encoder_bias": M, "decoder": (M, WIDTH)}
    shapes |= {"decoder_bias": WIDTH, "shift": WIDTH}
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return Dictionary(**arrays, scale=2.0, activation=activation, **options)


def pre(d, F):
    return (F - d.shift) / d.scale @ d.encoder + d.encoder_bias


def test_each_activation_does_what_it_says(states):
    relu = dictionary("relu")
    np.testing.assert_allclose(relu.encode(states), np.maximum(pre(relu, states), 0), atol=1e-5)
    top = dictionary("topk", k=3)
    values, found = pre(top, states), top.encode(states)
    least = np.sort(values, axis=1)[:, -3]
    np.testing.assert_allclose(
        found, np.where(values >= least[:, None], np.maximum(values, 0), 0), atol=1e-5
    )
    threshold = np.full(M, 0.7, np.float32)
    jump = dictionary("jumprelu", extra={"threshold": threshold})
    values = pre(jump, states)
    np.testing.assert_allclose(jump.encode(states), np.where(values > 0.7, values, 0), atol=1e-5)
    groups = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 1])
    soft = dictionary("group softmax", groups=groups)
    found = np.exp(soft.encode(states))
    for g in range(3):
        np.testing.assert_allclose(found[:, groups == g].sum(axis=1), 1.0, atol=1e-5)
    norm = {"gain": np.ones(M, np.float32), "offset": np.zeros(M, np.float32)}
    grouped = dictionary("group norm", groups=groups, extra=norm).encode(states)
    np.testing.assert_allclose(grouped[:, groups == 1].mean(axis=1), 0.0, atol=1e-5)


def test_decoding_is_affine_and_reconstruction_is_both(states):
    d = dictionary("relu")
    X = d.encode(states)
    np.testing.assert_allclose(d.decode(X), (X @ d.decoder + d.decoder_bias) * 2.0, atol=1e-4)
    np.testing.assert_allclose(d.reconstruct(states), d.decode(X), atol=1e-4)


@pytest.mark.parametrize("activation", ["identity", "topk", "group norm"])
def test_what_is_written_is_what_is_read(tmp_path, states, activation):
    groups = np.arange(M) // 2 if activation == "group norm" else None
    extra = {"gain": np.ones(M, np.float32), "offset": np.ones(M, np.float32)}
    d = dictionary(activation, k=4, groups=groups, extra=extra, said={"kind": "mine", "steps": 3})
    again = read_dictionary(save_dictionary(d, tmp_path / "mine"))
    np.testing.assert_array_equal(again.encode(states), d.encode(states))
    np.testing.assert_array_equal(again.reconstruct(states), d.reconstruct(states))
    assert again.said == d.said
    with pytest.raises(InputError, match="already"):
        save_dictionary(d, tmp_path / "mine")


def test_components_span_what_they_should(states):
    everything = principal_components(states, WIDTH)
    np.testing.assert_allclose(everything.reconstruct(states), states, atol=1e-3)
    X = principal_components(states, 3).encode(states)
    covariance = np.cov(X.T)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-2)
    assert (np.diff(np.diag(covariance)) < 0).all()
    np.testing.assert_array_equal(coordinates(WIDTH).encode(states), states)
    with pytest.raises(InputError, match="1 to 6"):
        principal_components(states, 7)


def test_independent_components_are_found_and_principal_ones_are_not_they():
    rng = np.random.default_rng(2)
    S = rng.laplace(size=(4000, 4))
    F = (S @ rng.normal(size=(4, 8))).astype(np.float32)

    def best(d):
        return np.abs(np.corrcoef(d.encode(F).T, S.T)[:4, 4:]).max(axis=1).min()

    assert best(independent_components(F, 4)) > 0.98
    assert best(principal_components(F, 4)) < 0.95


def test_a_random_dictionary_keeps_as_many_as_it_is_told(states):
    d = random_dictionary(states, 20, k=3, seed=4)
    assert ((d.encode(states) != 0).sum(axis=1) <= 3).all()
    np.testing.assert_array_equal(random_dictionary(states, 20, k=3, seed=4).encoder, d.encoder)


def posteriors(n=6000, q=3):
    rng = np.random.default_rng(3)
    odds = rng.normal(scale=2.5, size=(n, q)) - 1.0
    log_p = np.stack([-np.logaddexp(0, odds), -np.logaddexp(0, -odds)], axis=2)
    A = rng.normal(size=(2 * q, 16))
    return log_p, (log_p.reshape(n, -1) @ A + rng.normal(size=16)).astype(np.float32)


def test_conca_with_softmax_groups_unmixes_log_posteriors_without_labels():
    from concept_ppl.analyses.features import match_features

    log_p, F = posteriors()
    d = fit_conca(
        F,
        ConcaSettings(6, "group softmax", penalty=1e-3),
        TrainingRecipe(steps=1500, batch=256, learning_rate=3e-2),
    )
    tables = {f"c{j}": log_p[:, j] for j in range(3)}
    found = match_features(d.encode(F), tables, groups=d.groups, n_shuffles=19)
    assert found.mean.estimate > 0.97
    pca = principal_components(F, 6).encode(F)
    assert match_features(pca, tables, n_shuffles=19).mean.estimate < 0.85


def test_a_killed_training_ends_in_the_same_numbers(tmp_path):
    _, F = posteriors(500)
    settings, recipe = ConcaSettings(6), TrainingRecipe(steps=30, batch=64)
    whole = fit_conca(F, settings, recipe)

    def stop(done, _):
        if done == 17:
            raise KeyboardInterrupt

    from concept_ppl.extractors import training

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "SAVE_SECONDS", -1.0)
        with pytest.raises(KeyboardInterrupt):
            fit_conca(F, settings, recipe, under_way=tmp_path / "mine", progress=stop)
    seen = []
    again = fit_conca(
        F, settings, recipe, under_way=tmp_path / "mine", progress=lambda done, _: seen.append(done)
    )
    assert 1 < min(seen) <= 18
    np.testing.assert_array_equal(again.encoder, whole.encoder)
    with pytest.raises(InputError, match="another training"):
        fit_conca(F, ConcaSettings(8), recipe, under_way=tmp_path / "mine")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalisation": "batch norm"}, "is unknown; choose layer norm"),
        ({"sparsity": "l0"}, "is unknown; choose exp"),
        ({"n_features": 1}, "at least 2"),
        ({"group_size": 9}, "no larger"),
        ({"penalty": float("nan")}, "penalty"),
    ],
)
def test_what_is_no_variant_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        ConcaSettings(**{"n_features": 6, **change})


def sae_lens_folder(folder, architecture, **config):
    rng = np.random.default_rng(5)
    W, V = rng.normal(size=(WIDTH, M)), rng.normal(size=(M, WIDTH))
    arrays = {"W_enc": W, "W_dec": V, "b_dec": rng.normal(size=WIDTH), "b_enc": rng.normal(size=M)}
    if architecture == "jumprelu":
        arrays["threshold"] = np.abs(rng.normal(size=M))
    folder.mkdir()
    save_file(
        {k: v.astype(np.float32) for k, v in arrays.items()}, folder / "sae_weights.safetensors"
    )
    settings = {"architecture": architecture, "d_in": WIDTH, "d_sae": M, **config}
    (folder / "cfg.json").write_text(json.dumps(settings))
    return folder


def test_a_folder_of_sae_lens_is_read_with_what_it_says_of_itself(tmp_path, states):
    metadata = {"model_name": "gpt2", "hook_name": "blocks.3.hook_resid_post", "prepend_bos": True}
    d = read_trained(sae_lens_folder(tmp_path / "a", "jumprelu", metadata=metadata))
    assert d.said["hook_name"] == "blocks.3.hook_resid_post"
    assert (d.width, d.n_features) == (WIDTH, M)
    no_shift = read_trained(sae_lens_folder(tmp_path / "b", "standard", apply_b_dec_to_input=False))
    assert not no_shift.shift.any()
    with pytest.raises(InputError, match="width 6"):
        d.encode(states[:, :5])


@pytest.mark.parametrize(
    ("architecture", "config", "message"),
    [
        ("temporal", {}, "architecture 'temporal'"),
        ("standard", {"normalize_activations": "layer_norm"}, "layer_norm"),
        ("topk", {}, "k = 0"),
        ("standard", {"reshape_activations": "hook_z"}, "attention heads"),
    ],
)
def test_what_is_not_known_of_a_configuration_is_refused(tmp_path, architecture, config, message):
    with pytest.raises(InputError, match=message):
        read_trained(sae_lens_folder(tmp_path / "a", architecture, **config))


def test_pickled_weights_are_refused_with_the_way_to_convert_them(tmp_path):
    (tmp_path / "ae.pt").write_bytes(b"\x80")
    with pytest.raises(InputError, match=r"pickle.*safetensors\.torch\.save_file"):
        read_trained(tmp_path)


@pytest.mark.parametrize("architecture", ["standard", "topk", "jumprelu", "gated"])
def test_encodings_are_those_of_sae_lens(tmp_path, states, architecture):
    sae_lens = pytest.importorskip("sae_lens")
    sae_class, config_class = sae_lens.registry.get_sae_class(architecture)
    options = {"k": 3} if architecture == "topk" else {}
    sae = sae_class(config_class(d_in=WIDTH, d_sae=M, **options))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    sae.save_model(tmp_path / "sae")
    d = read_trained(tmp_path / "sae")
    with torch.no_grad():
        expected = sae.encode(torch.from_numpy(states))
        made = sae.decode(expected)
    np.testing.assert_allclose(d.encode(states), expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(d.reconstruct(states), made.numpy(), atol=1e-4)


def test_encodings_are_those_of_sparsify(tmp_path, states):
    sparsify = pytest.importorskip("sparsify")
    sae = sparsify.SparseCoder(WIDTH, sparsify.SparseCoderConfig(num_latents=M, k=3))
    with torch.no_grad():
        sae.b_dec.normal_()
    sae.save_to_disk(tmp_path / "sae")
    d = read_trained(tmp_path / "sae")
    with torch.no_grad():
        found = sae.encode(torch.from_numpy(states))
        expected = torch.zeros(len(states), M).scatter_(1, found.top_indices, found.top_acts)
    np.testing.assert_allclose(d.encode(states), expected.numpy(), atol=1e-5)
