"""At which layer do the states carry the contrasts: fit and invertibility along the layers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy.typing as npt
import pandas as pd

from concept_ppl.analyses.designs.arrays import check_level
from concept_ppl.analyses.designs.decomposition import States, as_decomposed
from concept_ppl.analyses.designs.repeats import contrasts_beside
from concept_ppl.analyses.designs.shares import backward_share
from concept_ppl.analyses.results.figures import BLUE, GREEN, PURPLE, Panel
from concept_ppl.analyses.results.multiplicity import benjamini_hochberg
from concept_ppl.analyses.results.protocol import Result
from concept_ppl.analyses.results.rows import Estimate, Row, result_frame, square_in_words
from concept_ppl.errors import InputError

from .canonical import correlate

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class LayerFit:
    """What one layer's states say about the contrasts; p-values one-sided, not adjusted.

    Attributes
    ----------
    layer
        Its name.
    smallest, mean
        Smallest and mean held-out squared canonical correlation, signed.
    backward
        Held-out R²(Z|F), all contrasts together.
    """

    layer: str
    smallest: Estimate
    mean: Estimate
    backward: Estimate


@dataclass(frozen=True, slots=True)
class LayerCurve(Result):
    """The fit of each layer, in the order in which the caller gave them.

    Attributes
    ----------
    fits
        One a layer.
    target
        Label that the caller gave.
    """

    fits: tuple[LayerFit, ...]
    target: str

    @property
    def title(self) -> str:
        """Say what was asked."""
        return f"Held-out fit of the {self.target} by layer"

    def rows(self) -> Iterator[Row]:
        """Three rows a layer; p-values not adjusted."""
        for fit in self.fits:
            yield Row("layer_curve", "rho2_smallest", self.target, fit.smallest, fit.layer)
            yield Row("layer_curve", "rho2_mean", self.target, fit.mean, fit.layer)
            yield Row("layer_curve", "r2_backward", self.target, fit.backward, fit.layer)

    def lines(self) -> list[str]:
        """Smallest and mean ρ² and backward R², a line a layer, p-values not adjusted."""
        return [
            f"  {fit.layer}: smallest ρ² {square_in_words(fit.smallest)}; "
            f"mean ρ² {square_in_words(fit.mean)}; R² {fit.backward}"
            for fit in self.fits
        ]

    def panel(self) -> Panel:
        """Curves over the layers with their intervals."""
        return Panel(1.6 + 0.55 * max(8, len(self.fits)), 3.6, self._draw)

    def tidy(self) -> pd.DataFrame:
        """Return the rows with p-values adjusted across layers (Benjamini–Hochberg)."""
        return benjamini_hochberg(result_frame(self.rows()))

    def _draw(self, axes: "Axes") -> None:
        curves = (
            ("smallest ρ²", PURPLE, [fit.smallest for fit in self.fits]),
            ("mean ρ²", BLUE, [fit.mean for fit in self.fits]),
            ("R²(Z|F)", GREEN, [fit.backward for fit in self.fits]),
        )
        for shift, (label, colour, values) in zip((-0.12, 0.0, 0.12), curves, strict=True):
            at = [i + shift for i in range(len(values))]
            axes.vlines(at, [v.ci_low for v in values], [v.ci_high for v in values], color=colour)
            axes.plot(at, [v.estimate for v in values], "o-", color=colour, ms=4, label=label)
        axes.set_xticks(range(len(self.fits)), [fit.layer for fit in self.fits], rotation=45)
        axes.set_ylabel(f"held out, {self.target}")
        axes.axhline(0.0, color="0.7", lw=0.8, zorder=0)
        axes.legend(frameon=False)


def layer_curve(
    states: Mapping[str, States],
    Z: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
    target: str = "log_odds",
    n_folds: int = 5,
    seed: int = 0,
    level: float = 0.95,
) -> LayerCurve:
    """Smallest and mean ρ² and backward R² of every layer, on the same folds.

    The curve is a scan: its intervals hold for each layer alone, and its p-values are adjusted
    across layers by Benjamini–Hochberg in `LayerCurve.tidy`. See `canonical_correlations` and
    `goodness_of_fit` for the estimands.

    Parameters
    ----------
    states
        States (n, d_layer) of each layer, or results of `decompose_states`.
    Z
        (n, q) contrasts.
    weights, clusters
        (n,) weights and labels of independent units; equal, and each row its own, by default.
    names
        Of the q contrasts, for messages only.
    target
        Label for the tidy table.
    n_folds, seed
        Folds, cluster-disjoint, drawn from the seed; the same for every layer.
    level
        Confidence level.

    Raises
    ------
    InputError
        If there is no layer, or an array is refused; the message names the layer.
    """
    check_level(level)
    if not states:
        raise InputError("There is no layer in states; give at least one.")
    fits = []
    for layer, F in states.items():
        try:
            decomposed = as_decomposed(F, weights, clusters, n_folds, seed)
            contrasts, _ = contrasts_beside(decomposed, Z, names)
            canonical = correlate(decomposed, contrasts, target, layer, level)
        except InputError as error:
            raise InputError(f"Layer {layer}: {error}") from error
        backward = backward_share(decomposed, contrasts, level)
        fits.append(LayerFit(layer, canonical.smallest, canonical.mean, backward))
    return LayerCurve(tuple(fits), target)
