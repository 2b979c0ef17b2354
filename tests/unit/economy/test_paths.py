from __future__ import annotations

import pytest

from economy.merkle import (
    Frontier,
    Node,
    Span,
    consistency_proof,
    consistency_spans,
    inclusion_proof,
    inclusion_spans,
    leaf_hash,
    root,
)
from economy.paths import Known, path, roots_of
from economy.proof_store import SUBTREE_HEIGHTS


class Kept:
    """A tree whose leaves are counted as they are read."""

    def __init__(self, size, forget=lambda node: False):
        self.hashes = [leaf_hash(number.to_bytes(4, "big")) for number in range(size)]
        frontier = Frontier(keep=SUBTREE_HEIGHTS).extend(self.hashes)
        self.roots = {tuple(node): found for node, found in frontier.completed if not forget(node)}
        self.reads, self.read = 0, 0

    def leaves(self, after, limit):
        self.reads, self.read = self.reads + 1, self.read + limit
        return self.hashes[after : after + limit]

    def subtrees(self, windows):
        self.reads += bool(windows)
        places = ((height, place) for height, first, end in windows for place in range(first, end))
        return {place: self.roots[place] for place in places if place in self.roots}


@pytest.fixture(scope="module")
def tree():
    return Kept(70_003)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 65_536, 65_537, 70_003])
def test_paths_are_those_of_all_leaves(tree, size):
    for index in {0, 1, size // 3, size // 2, size - 2, size - 1} & set(range(size)):
        assert path(tree, inclusion_spans(index, size)) == inclusion_proof(tree.hashes[:size], index)
        spans = consistency_spans(index + 1, size)
        assert path(tree, spans) == consistency_proof(tree.hashes[:size], index + 1)


def test_a_path_reads_two_blocks_of_leaves_at_most_and_the_kept_roots_once(tree):
    for index in (0, 40_000, 69_999, 70_002):
        tree.reads = tree.read = 0
        path(tree, inclusion_spans(index, 70_003))
        assert tree.reads <= 3
        assert tree.read <= 511


@pytest.mark.parametrize(
    "forget",
    [
        lambda node: True,
        lambda node: node.height == 16,
        lambda node: node.height == 8 and node.place % 3 == 0,
    ],
)
def test_roots_that_are_not_kept_are_computed_again(forget):
    tree = Kept(66_000, forget)
    for index in (0, 65_000, 65_999):
        assert path(tree, inclusion_spans(index, 66_000)) == inclusion_proof(tree.hashes, index)


def test_a_whole_span_is_its_root(tree):
    assert path(tree, [Span(0, 70_003), Span(256, 300)]) == [root(tree.hashes), root(tree.hashes[256:300])]
    assert roots_of(tree, [Node(9, 1)])[Node(9, 1)] == root(tree.hashes[512:1024])


def test_what_was_found_before_is_not_read_again(tree):
    known, spans = Known(), inclusion_spans(41_000, 70_003)
    expected = path(tree, spans, known)
    tree.reads = 0
    assert path(tree, spans, known) == expected
    assert tree.reads == 0
    path(tree, inclusion_spans(41_000 ^ 1, 70_003), known)
    assert tree.reads == 1


def test_what_is_known_is_bounded():
    known = Known()
    known.add({Node(0, place): b"x" for place in range(60_000)})
    known.add({Node(1, 0): b"y"})
    assert known.get([Node(0, 5), Node(1, 0)]) == {Node(1, 0): b"y"}
