"""Is the map affine, is it invertible, is it of the log-posterior: tests of the claim itself."""

from .diversity import Diversity, diversity_condition
from .equivalence_claims import Equivalence, equivalence
from .invertible_maps import Invertibility, invertibility
from .linearity_tests import Linearity, linearity
from .posterior_forms import PosteriorForm, posterior_form
from .robust_rank import RankTests, rank_tests
from .wilks_bartlett import CanonicalTests, canonical_tests

__all__ = [
    "CanonicalTests",
    "Diversity",
    "Equivalence",
    "Invertibility",
    "Linearity",
    "PosteriorForm",
    "RankTests",
    "canonical_tests",
    "diversity_condition",
    "equivalence",
    "invertibility",
    "linearity",
    "posterior_form",
    "rank_tests",
]
