"""One kind of extractor: an affine encoder, an activation, an affine decoder.

PCA, ICA, sparse autoencoders of every usual kind and ConCA differ in how their weights came about
and in one function between the two maps; what they are once they are fitted is the same.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from concept_ppl.errors import InputError

ActivationKind = Literal[
    "identity", "relu", "topk", "jumprelu", "gated", "layer norm", "group norm", "group softmax"
]
ROWS_AT_ONCE = 4096
LAYER_NORM_ROUNDING = 1e-5

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Dictionary:
    """An extractor that has been fitted, or that somebody else has.

    Attributes
    ----------
    encoder, encoder_bias
        (d, m) and (m,): what is activated is (F − shift) / scale · encoder + bias.
    decoder, decoder_bias
        (m, d) and (d,): F̂ = (features · decoder + bias) · scale.
    shift, scale
        (d,) subtracted from a state first, and one number it is then divided by.
    activation
        Between the two maps: ``identity``; ``relu``; ``topk`` keeps the k largest, where positive;
        ``jumprelu`` keeps what exceeds its threshold; ``gated`` opens by one map what a second,
        scaled one measures; ``layer norm`` and ``group norm`` give each context's latents (of each
        group) mean 0 and spread 1; ``group softmax`` gives log-probabilities within each group.
    k
        Of ``topk``.
    extra
        Arrays of the activation: ``threshold`` (m,); ``scale`` and ``bias`` (m,) of ``gated``;
        ``gain`` and ``offset`` (m,) of the norms.
    groups
        (m,) the group of each feature, where there are groups.
    said
        What was fitted, to what, and how: for reports and for the file.
    """

    encoder: Array
    encoder_bias: Array
    decoder: Array
    decoder_bias: Array
    shift: Array
    scale: float = 1.0
    activation: ActivationKind = "identity"
    k: int = 0
    extra: Mapping[str, Array] = field(default_factory=dict)
    groups: NDArray[np.int64] | None = None
    said: Mapping[str, Any] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Of the states, d."""
        return len(self.encoder)

    @property
    def n_features(self) -> int:
        """How many features it has, m."""
        return int(self.encoder.shape[1])

    @property
    def kind(self) -> str:
        """What it is called."""
        return str(self.said.get("kind", self.activation))

    def encode(self, states: NDArray[np.floating], *, device: str = "cpu") -> Array:
        """Return the features (n, m) of states (n, d).

        Raises
        ------
        InputError
            If the states have another width.
        """
        self._require_width(states)
        return self._by_rows(states, device, self._activated)

    def decode(self, features: NDArray[np.floating], *, device: str = "cpu") -> Array:
        """Return the states (n, d) that features (n, m) stand for."""
        if features.shape[1] != self.n_features:
            raise InputError(
                f"{self.kind} has {self.n_features} features, the array has {features.shape[1]}."
            )
        return self._by_rows(features, device, self._decoded)

    def reconstruct(self, states: NDArray[np.floating], *, device: str = "cpu") -> Array:
        """Return what decoding makes of encoded states, (n, d)."""
        self._require_width(states)
        return self._by_rows(states, device, lambda F: self._decoded(self._activated(F)))

    def _require_width(self, states: NDArray[np.floating]) -> None:
        if states.ndim != 2 or states.shape[1] != self.width:
            raise InputError(
                f"{self.kind} was made for states of width {self.width}; these have shape "
                f"{states.shape}."
            )

    def _by_rows(self, values: NDArray[np.floating], device: str, apply: Any) -> Array:
        pieces = []
        with torch.inference_mode():
            for start in range(0, len(values), ROWS_AT_ONCE):
                part = np.asarray(values[start : start + ROWS_AT_ONCE], np.float32)
                pieces.append(apply(torch.from_numpy(part).to(device)).cpu().numpy())
        return np.concatenate(pieces) if pieces else np.empty((0, 0), np.float32)

    def _activated(self, F: Tensor) -> Tensor:
        on = F.device
        x = (F - _tensor(self.shift, on)) / self.scale
        encoder = _tensor(self.encoder, on)
        pre = x @ encoder + _tensor(self.encoder_bias, on)
        extra = {name: _tensor(array, on) for name, array in self.extra.items()}
        if self.activation == "gated":
            magnitude = x @ (encoder * extra["scale"]) + extra["bias"]
            return torch.where(pre > 0, magnitude.relu(), 0.0)
        groups = None if self.groups is None else torch.from_numpy(self.groups).to(on)
        return activate(pre, self.activation, self.k, extra, groups)

    def _decoded(self, X: Tensor) -> Tensor:
        out = X @ _tensor(self.decoder, X.device) + _tensor(self.decoder_bias, X.device)
        return out * self.scale


def activate(
    pre: Tensor,
    kind: ActivationKind,
    k: int,
    extra: Mapping[str, Tensor],
    groups: Tensor | None,
) -> Tensor:
    """Apply an activation to (n, m) pre-activations; see `Dictionary`."""
    if kind == "relu":
        return pre.relu()
    if kind == "topk":
        values, places = pre.topk(k, dim=1, sorted=False)
        return torch.zeros_like(pre).scatter_(1, places, values.relu())
    if kind == "jumprelu":
        return torch.where(pre > extra["threshold"], pre.relu(), 0.0)
    if kind in {"layer norm", "group norm"}:
        normed = _normed(pre, groups if kind == "group norm" else None)
        return normed * extra["gain"] + extra["offset"]
    if kind == "group softmax" and groups is not None:
        return log_softmax_in(pre, groups)
    return pre


def _normed(pre: Tensor, groups: Tensor | None) -> Tensor:
    if groups is None:
        return torch.nn.functional.layer_norm(pre, pre.shape[1:], eps=LAYER_NORM_ROUNDING)
    sizes = torch.bincount(groups).to(pre.dtype)
    mean = _summed(pre, groups, len(sizes)) / sizes
    left = pre - mean[:, groups]
    spread = (_summed(left.square(), groups, len(sizes)) / sizes + LAYER_NORM_ROUNDING).sqrt()
    return left / spread[:, groups]


def log_softmax_in(pre: Tensor, groups: Tensor) -> Tensor:
    """Return log-probabilities (n, m) that sum to one within each group."""
    n_groups = int(groups.max()) + 1
    top = torch.full((len(pre), n_groups), -torch.inf, dtype=pre.dtype, device=pre.device)
    top = top.scatter_reduce(1, groups.expand_as(pre), pre, "amax").detach()
    left = pre - top[:, groups]
    return left - _summed(left.exp(), groups, n_groups).log()[:, groups]


def _summed(values: Tensor, groups: Tensor, n_groups: int) -> Tensor:
    total = torch.zeros((len(values), n_groups), dtype=values.dtype, device=values.device)
    return total.index_add(1, groups, values)


def _tensor(array: Array, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def blocks_of(states: NDArray[np.floating], rows: int = ROWS_AT_ONCE) -> Iterator[Array]:
    """Yield states (n, d), a block of rows at a time, as float32."""
    for start in range(0, len(states), rows):
        yield np.asarray(states[start : start + rows], np.float32)
