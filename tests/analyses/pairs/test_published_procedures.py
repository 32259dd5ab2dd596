"""The published diagonal is near one whatever it is made from, and so shows nothing."""

import numpy as np
import pytest

from concept_ppl.analyses.pairs.counterfactual_matrices import counterfactual_matrix
from concept_ppl.analyses.pairs.published_procedures import (
    AS_PUBLISHED,
    NOISE,
    SWAPPED,
    published_procedure,
)
from concept_ppl.errors import InputError

from .planted_pairs import noise_words, planted_words

WIDE = 200


def test_noise_has_a_published_diagonal_of_one_and_an_honest_one_of_zero():
    words = noise_words(0, n=40, width=WIDE)
    design = words.design()
    products = published_procedure(words.F, design).products
    assert min(product.mean for product in products.values()) > 0.99
    honest = counterfactual_matrix(words.F, design, n_flips=999).mean_diagonal
    assert abs(honest.estimate) < 0.05


def test_swapped_labels_have_as_large_a_diagonal_as_real_ones():
    words = planted_words(0, width=WIDE)
    products = published_procedure(words.F, words.design()).products
    assert products[SWAPPED].mean > products[AS_PUBLISHED].mean - 0.02
    assert products[NOISE].mean > 0.99


def test_a_weak_penalty_breaks_the_tautology():
    words = planted_words(0, strength=0.3, width=WIDE)
    strong = published_procedure(words.F, words.design(), inverse_penalty=1e-4).products
    weak = published_procedure(words.F, words.design(), inverse_penalty=100.0).products
    assert weak[SWAPPED].mean < strong[SWAPPED].mean - 0.05


def test_other_states_stand_beside_and_the_table_names_every_null():
    words = planted_words(0)
    found = published_procedure(
        words.F, words.design(), others={"random weights": noise_words(0).F}, layer="final_norm"
    )
    table = found.tidy()
    assert set(table["control"]) == {"", SWAPPED, NOISE, "random weights"}
    assert table["p_value"].isna().all()
    assert "random weights" in found.summary()
    assert found.plot().axes
    assert r"\begin{" in found.to_latex()
    again = published_procedure(words.F, words.design(), layer="final_norm")
    assert again.products[SWAPPED] == found.products[SWAPPED]


def test_a_penalty_must_be_positive():
    words = planted_words(0)
    with pytest.raises(InputError, match="positive"):
        published_procedure(words.F, words.design(), inverse_penalty=0.0)
    with pytest.raises(InputError, match="noisy"):
        published_procedure(words.F, words.design(), others={"noisy": np.full((3, 2), np.nan)})
