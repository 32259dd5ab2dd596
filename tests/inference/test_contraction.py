"""Products of named tables: any order of sums is numpy's einsum, in log-space."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from concept_ppl.inference.exact.contraction import (
    Leaf,
    align,
    contract,
    contraction_tree,
    downward,
    traceback,
    upward,
)

from ..support.comparison import assert_log_close

SIZES = {"a": 2, "b": 3, "c": 1, "d": 4, "e": 2}


@st.composite
def products(draw):
    """Leaves over random scopes that together hold every variable; some hold contexts."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    scopes = draw(
        st.lists(st.lists(st.sampled_from(sorted(SIZES)), unique=True, max_size=3), max_size=5)
    )
    scopes += [[name] for name in SIZES]
    n, leaves = 3, []
    for scope in scopes:
        batched = draw(st.booleans())
        shape = ([n] if batched else []) + [SIZES[name] for name in scope]
        values = rng.random(shape) * (rng.random(shape) > 0.15)
        leaves.append(Leaf(tuple(scope), torch.as_tensor(values).log(), batched))
    return leaves, n


def einsum(leaves, output, n):
    terms = []
    for leaf in leaves:
        table = leaf.table.exp().numpy()
        terms += [table, ([9] if leaf.batched else []) + ["abcde".index(x) for x in leaf.scope]]
    terms += [np.ones(n), [9]]
    with np.errstate(divide="ignore"):
        return np.log(np.einsum(*terms, [9, *("abcde".index(name) for name in output)]))


@settings(max_examples=60)
@given(product=products(), output=st.lists(st.sampled_from("abcde"), unique=True, max_size=3))
def test_any_marginal_of_a_product_is_numpys_einsum(product, output):
    leaves, n = product
    table = contract(leaves, SIZES, tuple(output), n)
    expected = einsum(leaves, output, n)
    assert_log_close(table.expand(expected.shape), expected)


@settings(max_examples=40)
@given(product=products())
def test_a_leaf_and_what_lies_outside_of_it_is_its_marginal(product):
    leaves, n = product
    flags = [leaf.batched for leaf in leaves]
    tree = contraction_tree([leaf.scope for leaf in leaves], SIZES, (), flags, n)
    outside = downward(tree, upward(tree, leaves))
    for leaf, rest in zip(leaves, outside[: len(leaves)], strict=True):
        inside = align(leaf.scope, leaf.table, leaf.scope, leaf.batched)
        expected = einsum(leaves, leaf.scope, n)
        assert_log_close((inside + rest.table).expand(expected.shape), expected)


@settings(max_examples=40)
@given(product=products())
def test_tables_of_maxima_lead_to_the_joint_maximum(product):
    leaves, n = product
    joint = einsum(leaves, "abcde", n).reshape(n, -1)
    flags = [leaf.batched for leaf in leaves]
    tree = contraction_tree([leaf.scope for leaf in leaves], SIZES, (), flags, n)
    maxima = upward(tree, leaves, lambda table, axes: table.amax(axes))
    best = traceback(tree, maxima, lambda logits: logits.argmax(1), n)
    assert set(best) == set(SIZES)
    place = np.ravel_multi_index([best[name].numpy() for name in SIZES], list(SIZES.values()))
    found = joint[np.arange(n), place]
    np.testing.assert_allclose(found, joint.max(1), atol=1e-12)


def test_alignment_puts_each_axis_under_its_name():
    table = torch.arange(6.0).reshape(2, 3)
    aligned = align(("a", "b"), table, ("b", "c", "a"), batched=False)
    assert aligned.shape == (1, 3, 1, 2)
    torch.testing.assert_close(aligned[0, :, 0, :], table.T)
