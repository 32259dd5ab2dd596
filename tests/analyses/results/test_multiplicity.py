"""Adjusted p-values are those of the papers, family by family."""

import numpy as np
import pandas as pd
import pytest

from concept_ppl.analyses import benjamini_hochberg, holm
from concept_ppl.errors import InputError

P = [0.01, 0.04, 0.03, 0.5]


def table(p_values, quantity="rho2"):
    return pd.DataFrame({"analysis": "a", "quantity": quantity, "p_value": p_values})


def test_adjusted_values_by_hand():
    np.testing.assert_allclose(
        benjamini_hochberg(table(P))["p_value"], [0.04, 0.16 / 3, 0.16 / 3, 0.5]
    )
    np.testing.assert_allclose(holm(table(P))["p_value"], [0.04, 0.09, 0.09, 0.5])


def test_families_are_adjusted_apart_and_rows_without_a_test_stay():
    both = pd.concat([table([*P, np.nan]), table([0.02], "r2")], ignore_index=True)
    adjusted = holm(both)["p_value"]
    np.testing.assert_allclose(adjusted, [0.04, 0.09, 0.09, 0.5, np.nan, 0.02])
    assert both["p_value"][1] == 0.04  # the table that was given is not touched


def test_tables_without_p_values_are_refused():
    with pytest.raises(InputError, match="no column 'p_value'"):
        holm(table(P).drop(columns="p_value"))
    with pytest.raises(InputError, match=r"p_value is 1.5 in row 1"):
        benjamini_hochberg(table([0.1, 1.5]))
