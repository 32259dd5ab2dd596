"""Concept component analysis: latents that stand for log-posteriors, unmixed without labels.

Liu et al. (https://arxiv.org/abs/2601.20420): if f(x) ≈ A [log p(c | x)] + b, the log-posteriors
are found by a linear unmixing whose latents are normalised, as log-probabilities are, and sparse
once they are exponentiated, because most concepts are absent from most contexts. Twelve variants
take one of three normalisations and one of four sparsity functions:

====================  ============================================================
normalisation         what plays the part of the log-normaliser
====================  ============================================================
``layer norm``        mean 0 and spread 1 over the latents of a context
``group norm``        the same within groups of latents
``none``              nothing but the bias
====================  ============================================================

====================  ============================================================
sparsity              penalty on a latent z, a stand-in for p = exp z
====================  ============================================================
``exp``               exp z itself
``softplus``          log(1 + exp z), which grows linearly where exp would overflow
``elu``               z + 1 above 0, exp z below
``selu``              the same with the constants of Klambauer et al. (2017), above −λα
====================  ============================================================

The names are those of this package; the paper's abstract names their number, and its authors' code
was not at hand. ``group softmax`` is the variant that theory asks for: a group is a concept, its
latents its values, normalised by their own log-sum-exp, and sparse where a context is sure of it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from concept_ppl.errors import InputError

from .dictionary import Array, Dictionary, activate

Normalisation = Literal["layer norm", "group norm", "none", "group softmax"]
Sparsity = Literal["exp", "softplus", "elu", "selu"]
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772

_PENALTIES: Mapping[Sparsity, Callable[[Tensor], Tensor]] = {
    "exp": torch.exp,
    "softplus": nn.functional.softplus,
    "elu": lambda z: nn.functional.elu(z) + 1.0,
    "selu": lambda z: nn.functional.selu(z) + SELU_SCALE * SELU_ALPHA,
}


@dataclass(frozen=True, slots=True)
class ConcaSettings:
    """Which ConCA.

    Attributes
    ----------
    n_features
        Latents, m.
    normalisation, sparsity
        See the module.
    group_size
        Latents of a group, where there are groups; the last may be smaller.
    penalty
        Weight of the sparsity beside the reconstruction's mean squared error, both per coordinate.
    """

    n_features: int
    normalisation: Normalisation = "layer norm"
    sparsity: Sparsity = "softplus"
    group_size: int = 2
    penalty: float = 1e-2

    def __post_init__(self) -> None:
        """Refuse what is none of the variants."""
        for name, value, choices in (
            ("normalisation", self.normalisation, get_args(Normalisation)),
            ("sparsity", self.sparsity, get_args(Sparsity)),
        ):
            if value not in choices:
                raise InputError(f"{name} '{value}' is unknown; choose {', '.join(choices)}.")
        if self.n_features < 2 or not 1 < self.group_size <= self.n_features:
            raise InputError(
                f"n_features is {self.n_features} and group_size {self.group_size}; give at least "
                "2 of each, and groups no larger than all features."
            )
        if not (math.isfinite(self.penalty) and self.penalty >= 0):
            raise InputError(f"penalty is {self.penalty}; give 0 or more.")

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """(m,) group of each latent; None where the normalisation has none."""
        if not self.normalisation.startswith("group"):
            return None
        return np.arange(self.n_features) // self.group_size


class Conca(nn.Module):
    """The two linear maps and the normalisation, on states of mean 0 and spread 1 a coordinate."""

    def __init__(self, settings: ConcaSettings, width: int, seed: int) -> None:
        super().__init__()
        self.settings = settings
        generator = torch.Generator().manual_seed(seed)
        W = torch.randn(width, settings.n_features, generator=generator) / math.sqrt(width)
        self.encoder = nn.Parameter(W)
        self.encoder_bias = nn.Parameter(torch.zeros(settings.n_features))
        self.decoder = nn.Parameter(W.T.clone() * math.sqrt(width / settings.n_features))
        self.decoder_bias = nn.Parameter(torch.zeros(width))
        self.gain = nn.Parameter(torch.ones(settings.n_features))
        self.offset = nn.Parameter(torch.zeros(settings.n_features))
        groups = settings.groups
        self.groups = None if groups is None else torch.from_numpy(groups)

    def latents(self, x: Tensor) -> Tensor:
        """Return the normalised latents (n, m)."""
        pre = x @ self.encoder + self.encoder_bias
        kind = self.settings.normalisation
        if kind == "none":
            return pre
        groups = None if self.groups is None else self.groups.to(x.device)
        return activate(pre, kind, 0, {"gain": self.gain, "offset": self.offset}, groups)

    def forward(self, x: Tensor) -> Tensor:
        """Return the loss of a batch: mean squared error and the penalty."""
        z = self.latents(x)
        left = x - z @ self.decoder - self.decoder_bias
        return left.square().mean() + self.settings.penalty * self._sparsity(z)

    def _sparsity(self, z: Tensor) -> Tensor:
        """Mean penalty over latents; of softmax groups their mean entropy, 0 where all are sure."""
        if self.settings.normalisation == "group softmax":
            return -(z.exp() * z).sum(dim=1).mean() / self.settings.n_features
        return _PENALTIES[self.settings.sparsity](z).mean()

    def dictionary(self, shift: Array, scale: float, said: Mapping[str, object]) -> Dictionary:
        """Return what was learned; states are centred by ``shift`` and divided by ``scale``."""
        settings = self.settings
        kind = settings.normalisation
        extra = {}
        if kind in {"layer norm", "group norm"}:
            extra = {"gain": _array(self.gain), "offset": _array(self.offset)}
        return Dictionary(
            _array(self.encoder),
            _array(self.encoder_bias),
            _array(self.decoder),
            _array(self.decoder_bias) + shift / np.float32(scale),
            shift,
            scale,
            activation="identity" if kind == "none" else kind,
            extra=extra,
            groups=settings.groups,
            said={"kind": f"ConCA, {kind}, {settings.sparsity}", **said},
        )


def _array(tensor: Tensor) -> Array:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), np.float32)
