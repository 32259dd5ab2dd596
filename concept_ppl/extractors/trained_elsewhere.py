"""Sparse autoencoders that others trained: folders of SAELens and of EleutherAI's sparsify.

Both keep a ``cfg.json`` beside safetensors. They are read here without their libraries; what their
configuration says and this does not know how to do is refused by name.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from concept_ppl.errors import InputError

from .dictionary import Array, Dictionary

CONFIG = "cfg.json"
SAE_LENS_WEIGHTS, SPARSIFY_WEIGHTS = "sae_weights.safetensors", "sae.safetensors"
PICKLES = (".pt", ".pth", ".bin", ".pkl", ".ckpt")
_ACTIVATIONS = {
    "standard": "relu",
    "topk": "topk",
    "jumprelu": "jumprelu",
    "gated": "gated",
}


def read_trained(folder: str | Path) -> Dictionary:
    """Read a trained sparse autoencoder from a folder of SAELens or sparsify.

    Its site, model and prefix convention stand in ``said`` where the configuration names them.

    Raises
    ------
    InputError
        If the folder holds none, its weights are pickled, or its architecture is not known.
    """
    place = Path(folder)
    if not place.is_dir():
        raise InputError(f"{place} is no folder of a sparse autoencoder.")
    if (place / SAE_LENS_WEIGHTS).is_file():
        return _of_sae_lens(place, _config(place), _weights(place / SAE_LENS_WEIGHTS))
    if (place / SPARSIFY_WEIGHTS).is_file():
        return _of_sparsify(place, _config(place), _weights(place / SPARSIFY_WEIGHTS))
    pickled = [path.name for path in sorted(place.iterdir()) if path.suffix in PICKLES]
    if pickled:
        raise InputError(
            f"{place / pickled[0]} is a pickle, which runs code when it is opened; write its "
            "tensors with safetensors.torch.save_file, as sae_weights.safetensors beside cfg.json."
        )
    raise InputError(
        f"{place} holds neither {SAE_LENS_WEIGHTS} (SAELens) nor {SPARSIFY_WEIGHTS} (sparsify)."
    )


def _config(place: Path) -> dict[str, Any]:
    try:
        found = json.loads((place / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{place / CONFIG} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{place / CONFIG} holds no configuration.")
    return found


def _weights(path: Path) -> dict[str, Array]:
    """Tensors by name as float32; bfloat16 comes through torch."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name).float().numpy() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _of_sae_lens(place: Path, config: Mapping[str, Any], weights: dict[str, Array]) -> Dictionary:
    kind = str(config.get("architecture", "standard"))
    if kind not in _ACTIVATIONS:
        raise InputError(
            f"{place / CONFIG} names the architecture {kind!r}; known are "
            f"{', '.join(_ACTIVATIONS)}."
        )
    normalised = config.get("normalize_activations", "none")
    if normalised not in {"none", "expected_average_only_in"}:
        raise InputError(
            f"{place / CONFIG} normalises activations by {normalised!r}, which is not known here."
        )
    if config.get("reshape_activations", "none") != "none":
        raise InputError(f"{place / CONFIG} reshapes attention heads, which is not known here.")
    W, V, b_dec = (_need(weights, name, place) for name in ("W_enc", "W_dec", "b_dec"))
    shift = b_dec if config.get("apply_b_dec_to_input", True) else np.zeros_like(b_dec)
    extra: dict[str, Array] = {}
    if kind == "gated":
        bias = _need(weights, "b_gate", place)
        extra = {
            "scale": np.exp(_need(weights, "r_mag", place)),
            "bias": _need(weights, "b_mag", place),
        }
    else:
        bias = _need(weights, "b_enc", place)
    if kind == "jumprelu":
        extra = {"threshold": _need(weights, "threshold", place)}
    if config.get("rescale_acts_by_decoder_norm", False):
        norms = np.linalg.norm(V, axis=1)
        W, bias, V = W * norms, bias * norms, V / norms[:, None]
    said = {"kind": f"SAELens {kind}", "folder": place.name, **_told(config.get("metadata", {}))}
    return _checked(place, W, bias, V, b_dec, shift, _ACTIVATIONS[kind], config, extra, said)


def _of_sparsify(place: Path, config: Mapping[str, Any], weights: dict[str, Array]) -> Dictionary:
    for name in ("transcode", "skip_connection"):
        if config.get(name):
            raise InputError(f"{place / CONFIG} has {name}: it reconstructs something else.")
    activation = config.get("activation", "topk")
    if activation != "topk":
        raise InputError(f"{place / CONFIG} has the activation {activation!r}; known is topk.")
    W, bias = _need(weights, "encoder.weight", place), _need(weights, "encoder.bias", place)
    V, b_dec = _need(weights, "W_dec", place), _need(weights, "b_dec", place)
    said = {"kind": "sparsify topk", "folder": place.name}
    return _checked(place, W.T, bias, V, b_dec, b_dec, "topk", config, {}, said)


def _need(weights: Mapping[str, Array], name: str, place: Path) -> Array:
    if name not in weights:
        raise InputError(f"{place} lacks the tensor {name}.")
    return weights[name]


def _checked(
    place: Path,
    W: Array,
    bias: Array,
    V: Array,
    b_dec: Array,
    shift: Array,
    activation: Any,
    config: Mapping[str, Any],
    extra: Mapping[str, Array],
    said: Mapping[str, Any],
) -> Dictionary:
    d, m = W.shape
    if V.shape != (m, d) or b_dec.shape != (d,) or bias.shape != (m,):
        raise InputError(
            f"{place} has tensors that do not belong together: encoder {W.shape}, decoder "
            f"{V.shape}, biases {bias.shape} and {b_dec.shape}."
        )
    k = int(config.get("k", 0)) if activation == "topk" else 0
    if activation == "topk" and not 1 <= k <= m:
        raise InputError(f"{place / CONFIG} has k = {k} for {m} features.")
    return Dictionary(
        np.ascontiguousarray(W),
        bias,
        np.ascontiguousarray(V),
        b_dec,
        shift,
        activation=activation,
        k=k,
        extra=extra,
        said=said,
    )


def _told(metadata: Any) -> dict[str, Any]:
    """Which model, site and prefix the configuration names, as far as it does."""
    if not isinstance(metadata, Mapping):
        return {}
    names = ("model_name", "hook_name", "prepend_bos")
    return {name: metadata[name] for name in names if metadata.get(name) is not None}
