"""Paths through a large tree: from a few leaves and the roots of complete subtrees that are kept.

A step of a proof is joined from complete subtrees. One below the lowest height that is kept is computed from its
leaves, any other from at most 256 roots of the height below; a root that is not kept is computed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from economy.merkle import Node, Span, complete_root, joined, nodes_of
from economy.proof_store import SUBTREE_HEIGHTS, Window

_KNOWN_MAX = 50_000


class Tree(Protocol):
    """Where leaves and kept roots come from."""

    def leaves(self, after: int, limit: int) -> list[bytes]:
        """Hashes of the leaves from `after` (counted from 0) on."""

    def subtrees(self, windows: Sequence[Window]) -> dict[tuple[int, int], bytes]:
        """Kept roots by height and place; what is not kept is left out."""


class Known:
    """Roots of complete subtrees that were found before: those of one tree never change.

    The right edge of a tree is part of every path in it, and its upper nodes part of most.
    """

    def __init__(self) -> None:
        self._roots: dict[Node, bytes] = {}

    def get(self, nodes: Iterable[Node]) -> dict[Node, bytes]:
        """Those of some nodes that are known."""
        roots = self._roots
        return {node: roots[node] for node in nodes if node in roots}

    def add(self, found: dict[Node, bytes]) -> None:
        """Remember more, and forget all when they are too many."""
        if len(self._roots) > _KNOWN_MAX:
            self._roots = {}
        self._roots.update(found)


def path(tree: Tree, spans: Iterable[Span], known: Known | None = None) -> list[bytes]:
    """The hash over each span. `known` is of this very tree."""
    known = known or Known()
    steps = [nodes_of(span) for span in spans]
    nodes = [node for step in steps for node in step]
    roots = known.get(nodes)
    if missing := [node for node in nodes if node not in roots]:
        found = roots_of(tree, missing)
        known.add(found)
        roots |= found
    return [joined([roots[node] for node in step]) for step in steps]


def roots_of(tree: Tree, nodes: Sequence[Node]) -> dict[Node, bytes]:
    """Roots of complete subtrees, in one reading of the kept ones and one of each stretch of leaves."""
    low = [node for node in nodes if node.height < SUBTREE_HEIGHTS[0]]
    high = [node for node in nodes if node.height >= SUBTREE_HEIGHTS[0]]
    kept = tree.subtrees(_merged(_window(node) for node in high))
    return {**_from_leaves(tree, low), **{node: _from_kept(tree, node, kept) for node in high}}


def _window(node: Node) -> Window:
    """The kept subtrees that make up a node."""
    base = max(height for height in SUBTREE_HEIGHTS if height <= node.height)
    first = node.place << (node.height - base)
    return Window(base, first, first + (1 << (node.height - base)))


def _merged(windows: Iterable[Window]) -> list[Window]:
    """The same without repetitions: neighbours are read as one."""
    merged: list[Window] = []
    for window in sorted(windows):
        last = merged[-1] if merged else None
        if last is not None and last.height == window.height and window.first <= last.end:
            merged[-1] = last._replace(end=max(last.end, window.end))
        else:
            merged.append(window)
    return merged


def _from_leaves(tree: Tree, nodes: Sequence[Node]) -> dict[Node, bytes]:
    blocks: dict[int, list[Node]] = {}
    for node in nodes:
        blocks.setdefault((node.place << node.height) >> SUBTREE_HEIGHTS[0], []).append(node)
    found: dict[Node, bytes] = {}
    for block in blocks.values():
        start = min(node.place << node.height for node in block)
        end = max((node.place + 1) << node.height for node in block)
        leaves = tree.leaves(start, end - start)
        for node in block:
            first = (node.place << node.height) - start
            found[node] = complete_root(leaves[first : first + (1 << node.height)])
    return found


def _from_kept(tree: Tree, node: Node, kept: dict[tuple[int, int], bytes]) -> bytes:
    base, first, end = _window(node)
    return complete_root([kept.get((base, place)) or _again(tree, Node(base, place)) for place in range(first, end)])


def _again(tree: Tree, node: Node) -> bytes:
    """A root that should be kept and is not: from the height below."""
    below = max((height for height in (0, *SUBTREE_HEIGHTS) if height < node.height), default=0)
    count = 1 << (node.height - below)
    if below == 0:
        return complete_root(tree.leaves(node.place << node.height, count))
    first = node.place * count
    kept = tree.subtrees([Window(below, first, first + count)])
    parts = (Node(below, place) for place in range(first, first + count))
    return complete_root([kept.get(part) or _again(tree, part) for part in parts])
