"""Sum concepts out of a product of log-tables, in any order, and pull marginals out of the sum.

A contraction path (from opt_einsum) is a binary tree: each node is the product of two tables with
the variables summed out that occur nowhere else. Going up gives log Z. Going down gives, for each
node, the log of everything outside of it, which is the logarithm of the gradient of Z with respect
to the node; a leaf plus its outside is the leaf's log-marginal. All of it stays in log-space, so
that a probability of exp(−2000) is −2000 and not −inf.

Tables carry named dimensions; a batched table has the contexts first, shape (n, *sizes of scope).
Source: the inside–outside view of variable elimination, Darwiche (2003), "A differential approach
to inference in Bayesian networks", https://doi.org/10.1145/765568.765570.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import opt_einsum
import torch
from torch import Tensor

from concept_ppl.logspace import logsumexp

Scope = tuple[str, ...]
Reduction = Callable[[Tensor, tuple[int, ...]], Tensor]


@dataclass(frozen=True)
class Leaf:
    """A log-table and its dimensions; ``batched`` if contexts are its first dimension."""

    scope: Scope
    table: Tensor
    batched: bool = False


@dataclass(frozen=True)
class Node:
    """One pairwise product: children's indices (leaves first, then nodes) and what is kept."""

    left: int
    right: int
    scope: Scope


@dataclass(frozen=True)
class ContractionTree:
    """Which tables to multiply in which order.

    Attributes
    ----------
    leaves : tuple of tuple of str
        The scope of each leaf.
    nodes : tuple of Node
        In order of evaluation; the last is the root.
    sizes : mapping of str to int
        Number of values of each variable.
    """

    leaves: tuple[Scope, ...]
    nodes: tuple[Node, ...]
    sizes: Mapping[str, int]

    def scope(self, index: int) -> Scope:
        """Return the scope of a leaf or node by its index."""
        count = len(self.leaves)
        return self.leaves[index] if index < count else self.nodes[index - count].scope

    def joint_scope(self, node: Node) -> Scope:
        """Return the variables of both children of a node."""
        left, right = self.scope(node.left), self.scope(node.right)
        return left + tuple(name for name in right if name not in left)

    @property
    def operations(self) -> int:
        """Additions a context needs on the way up."""
        return sum(self._cells(self.joint_scope(node)) for node in self.nodes)

    @property
    def cells(self) -> int:
        """Table cells a context needs for all nodes and the largest product, both ways."""
        kept = sum(self._cells(node.scope) for node in self.nodes)
        outside = sum(self._cells(scope) for scope in self.leaves) + kept
        widest = max((self._cells(self.joint_scope(node)) for node in self.nodes), default=1)
        return kept + outside + 3 * widest

    @property
    def width(self) -> int:
        """Largest number of variables in one product."""
        return max((len(self.joint_scope(node)) for node in self.nodes), default=0)

    def _cells(self, scope: Scope) -> int:
        return math.prod(self.sizes[name] for name in scope)


def contraction_tree(
    leaves: Sequence[Scope],
    sizes: Mapping[str, int],
    output: Scope = (),
    batched: Sequence[bool] = (),
    n_contexts: int = 1,
) -> ContractionTree:
    """Let opt_einsum choose the order of products for the given leaves and output."""
    if len(leaves) == 1:
        leaves, batched = [*leaves, ()], [*batched, False] if batched else ()
    symbol = {name: opt_einsum.get_symbol(i + 1) for i, name in enumerate(sizes)}
    n = opt_einsum.get_symbol(0)
    flags = batched or [False] * len(leaves)
    terms = [
        (n if flag else "") + "".join(symbol[name] for name in scope)
        for scope, flag in zip(leaves, flags, strict=True)
    ]
    out = (n if any(flags) else "") + "".join(symbol[name] for name in output)
    shapes = [
        ((n_contexts,) if flag else ()) + tuple(sizes[name] for name in scope)
        for scope, flag in zip(leaves, flags, strict=True)
    ]
    path, _ = opt_einsum.contract_path(
        ",".join(terms) + "->" + out, *shapes, shapes=True, optimize="auto"
    )
    return _tree_of_path(leaves, sizes, output, path)


def _tree_of_path(
    leaves: Sequence[Scope],
    sizes: Mapping[str, int],
    output: Scope,
    path: Sequence[tuple[int, ...]],
) -> ContractionTree:
    remaining = list(enumerate(leaves))
    uses = {name: sum(name in scope for scope in leaves) for name in sizes}
    nodes: list[Node] = []
    for step in path:
        group = [remaining.pop(i) for i in sorted(step, reverse=True)]
        while len(group) > 1:
            (left, a), (right, b) = group.pop(), group.pop()
            joint = a + tuple(name for name in b if name not in a)
            for name in joint:
                uses[name] -= (name in a) + (name in b)
            kept = tuple(name for name in joint if uses[name] > 0 or name in output)
            for name in kept:
                uses[name] += 1
            nodes.append(Node(left, right, kept))
            group.append((len(leaves) + len(nodes) - 1, kept))
        remaining += group
    return ContractionTree(tuple(leaves), tuple(nodes), dict(sizes))


def align(scope: Scope, table: Tensor, target: Scope, batched: bool) -> Tensor:
    """Return the table as (n or 1, *target), with size 1 where it does not vary."""
    offset = 1 if batched else 0
    order = sorted(range(len(scope)), key=lambda axis: target.index(scope[axis]))
    permuted = table.permute((*range(offset), *(axis + offset for axis in order)))
    sizes = iter(permuted.shape[offset:])
    shape = [next(sizes) if name in scope else 1 for name in target]
    return permuted.reshape([*(permuted.shape[:1] if batched else (1,)), *shape])


def combine(leaves: Sequence[Leaf], keep: Scope, reduce_with: Reduction = logsumexp) -> Leaf:
    """Multiply tables and sum out what is not kept; batched, shape (n or 1, *keep)."""
    names = dict.fromkeys(name for leaf in leaves for name in leaf.scope)
    joint = keep + tuple(name for name in names if name not in keep)
    tables = [align(leaf.scope, leaf.table, joint, leaf.batched) for leaf in leaves]
    product = reduce(torch.add, tables)
    axes = tuple(range(1 + len(keep), 1 + len(joint)))
    table = reduce_with(product, axes) if axes else product
    return Leaf(keep, table, batched=True)


def upward(
    tree: ContractionTree, leaves: Sequence[Leaf], reduce_with: Reduction = logsumexp
) -> list[Leaf]:
    """Evaluate every node; the last holds log Z over the tree's output, shape (n or 1, *output)."""
    filled = [*leaves, *[_one(leaves)] * (len(tree.leaves) - len(leaves))]
    for node in tree.nodes:
        filled.append(combine([filled[node.left], filled[node.right]], node.scope, reduce_with))
    return filled


def _one(leaves: Sequence[Leaf]) -> Leaf:
    return Leaf((), leaves[0].table.new_zeros(()))


def downward(
    tree: ContractionTree, filled: Sequence[Leaf], reduce_with: Reduction = logsumexp
) -> list[Leaf]:
    """Return, for each leaf and node, the log of everything outside of it, over its own scope."""
    root = filled[-1]
    outside: list[Leaf] = [_one(filled)] * len(filled)
    outside[-1] = Leaf(root.scope, torch.zeros_like(root.table), batched=True)
    for index in range(len(filled) - 1, len(tree.leaves) - 1, -1):
        node = tree.nodes[index - len(tree.leaves)]
        for child, sibling in ((node.left, node.right), (node.right, node.left)):
            scope = filled[child].scope
            factors = [outside[index], filled[sibling]]
            reachable = tuple(n for n in scope if any(n in f.scope for f in factors))
            message = combine(factors, reachable, reduce_with)
            table = align(reachable, message.table, scope, batched=True)
            outside[child] = Leaf(scope, table, batched=True)
    return outside


def contract(
    leaves: Sequence[Leaf], sizes: Mapping[str, int], output: Scope, n_contexts: int = 1
) -> Tensor:
    """Return log Σ Π leaves over ``output``, shape (n or 1, *sizes of output)."""
    used = {name: size for name, size in sizes.items() if any(name in x.scope for x in leaves)}
    flags = [leaf.batched for leaf in leaves]
    tree = contraction_tree([leaf.scope for leaf in leaves], used, output, flags, n_contexts)
    root = upward(tree, leaves)[-1]
    return align(root.scope, root.table, output, batched=True)


def traceback(
    tree: ContractionTree,
    filled: Sequence[Leaf],
    choose: Callable[[Tensor], Tensor],
    n_contexts: int,
) -> dict[str, Tensor]:
    """Choose a value for each variable, from the root down, given those chosen above.

    ``choose`` takes logits, shape (n, n_values), and returns indices, shape (n,). With arg-max and
    tables of maxima this is the MAP; with a categorical draw and tables of sums it is an exact
    sample of the posterior.
    """
    chosen: dict[str, Tensor] = {}
    for index in range(len(filled) - 1, len(tree.leaves) - 1, -1):
        node = tree.nodes[index - len(tree.leaves)]
        free = tuple(name for name in tree.joint_scope(node) if name not in chosen)
        if not free:
            continue
        children = [_given(filled[child], chosen, n_contexts) for child in (node.left, node.right)]
        product = combine(children, free).table
        product = product.expand(n_contexts, *product.shape[1:])
        index_of_joint = choose(product.reshape(n_contexts, -1))
        parts = torch.unravel_index(index_of_joint, product.shape[1:])
        chosen |= dict(zip(free, parts, strict=True))
    return chosen


def _given(leaf: Leaf, chosen: Mapping[str, Tensor], n_contexts: int) -> Leaf:
    """Fix the chosen variables of a table, context by context."""
    fixed = [name for name in leaf.scope if name in chosen]
    free = tuple(name for name in leaf.scope if name not in chosen)
    table = align(leaf.scope, leaf.table, (*fixed, *free), leaf.batched)
    table = table.expand(n_contexts, *table.shape[1:])
    rows = torch.arange(n_contexts, device=table.device)
    return Leaf(free, table[(rows, *(chosen[name] for name in fixed))], batched=True)
