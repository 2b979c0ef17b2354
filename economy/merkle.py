"""Merkle trees as in RFC 6962 section 2.1: SHA-256, leaves prefixed 0x00 and inner nodes 0x01.

The tree of the first n leaves never changes as the log grows, so that a signed root binds everything before it, and an
entry's place or a log's growth is proven with a few hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import NamedTuple, Self

EMPTY_ROOT = hashlib.sha256(b"").digest()
_BLOCK_HEIGHT = 8
_BLOCK = 1 << _BLOCK_HEIGHT


def leaf_hash(content: bytes) -> bytes:
    """Hash of a leaf (2.1)."""
    return hashlib.sha256(b"\x00" + content).digest()


def leaf_hashes(contents: Iterable[bytes]) -> list[bytes]:
    """Hashes of many leaves."""
    digest = hashlib.sha256
    return [digest(b"\x00" + content).digest() for content in contents]


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node (2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Node(NamedTuple):
    """A complete subtree: of 2**height leaves, the `place`-th of its height from the left."""

    height: int
    place: int


class Span(NamedTuple):
    """The leaves from `start` up to but without `end`, counted from 0."""

    start: int
    end: int


class Frontier:
    """A growing tree, remembered by the roots of its complete subtrees alone: O(log n) of memory.

    Parameters
    ----------
    size
        How many leaves there are.
    roots
        One root for each bit set in `size`, largest subtree first.
    keep
        Heights of the subtrees that `completed` collects as the tree grows.
    """

    def __init__(self, size: int = 0, roots: Sequence[bytes] = (), keep: Collection[int] = ()) -> None:
        assert len(roots) == size.bit_count(), "one root a complete subtree"
        self.size, self.roots, self._keep = size, list(roots), frozenset(keep)
        self.completed: list[tuple[Node, bytes]] = []

    def append(self, leaf: bytes) -> None:
        """Add the hash of one more leaf."""
        self._push(leaf, 0)

    def extend(self, leaves: Iterable[bytes]) -> Self:
        """Add the hashes of many leaves."""
        rest = iter(leaves)
        for leaf in islice(rest, -self.size % _BLOCK):
            self._push(leaf, 0)
        while block := list(islice(rest, _BLOCK)):
            if len(block) == _BLOCK:
                self._push(complete_root(block), _BLOCK_HEIGHT)
            else:
                for leaf in block:
                    self._push(leaf, 0)
        return self

    def _push(self, node: bytes, height: int) -> None:
        place = self.size >> height
        self.size += 1 << height
        self._complete(node, height, place)
        while place & 1:
            node, place, height = node_hash(self.roots.pop(), node), place >> 1, height + 1
            self._complete(node, height, place)
        self.roots.append(node)

    def _complete(self, node: bytes, height: int, place: int) -> None:
        if height in self._keep:
            self.completed.append((Node(height, place), node))

    def root(self) -> bytes:
        """Merkle tree hash of all leaves."""
        return joined(self.roots)

    def to_text(self) -> str:
        """The roots in hexadecimal, joined by commas."""
        return ",".join(root.hex() for root in self.roots)

    @classmethod
    def from_text(cls, size: int, text: str, keep: Collection[int] = ()) -> Self:
        """Read what `to_text` wrote."""
        return cls(size, [bytes.fromhex(part) for part in text.split(",") if part], keep)


def complete_root(nodes: Sequence[bytes]) -> bytes:
    """Root over nodes of one height, a power of two of them."""
    digest = hashlib.sha256
    while len(nodes) > 1:
        pairs = zip(nodes[::2], nodes[1::2], strict=True)
        nodes = [digest(b"\x01" + left + right).digest() for left, right in pairs]
    return nodes[0]


def joined(roots: Sequence[bytes]) -> bytes:
    """Root over complete subtrees that lie side by side, largest first."""
    if not roots:
        return EMPTY_ROOT
    node = roots[-1]
    for left in reversed(roots[:-1]):
        node = node_hash(left, node)
    return node


def nodes_of(span: Span) -> list[Node]:
    """The complete subtrees that a step of a proof is joined from, largest first."""
    nodes, start = [], span.start
    while start < span.end:
        height = (span.end - start).bit_length() - 1
        if start:
            height = min(height, (start & -start).bit_length() - 1)
        nodes.append(Node(height, start >> height))
        start += 1 << height
    return nodes


def root(leaves: Iterable[bytes]) -> bytes:
    """Merkle tree hash of leaf hashes."""
    return Frontier().extend(leaves).root()


def inclusion_spans(index: int, size: int) -> list[Span]:
    """The leaves below each step of the audit path of one leaf (2.1.1), lowest first."""
    assert 0 <= index < size, "only what is there is proven"
    spans, start, end = [], 0, size
    while end - start > 1:
        cut = start + _cut(end - start)
        if index < cut:
            spans.append(Span(cut, end))
            end = cut
        else:
            spans.append(Span(start, cut))
            start = cut
    return spans[::-1]


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The audit path of one leaf (2.1.1), lowest first. `leaves` are leaf hashes."""
    return [root(leaves[span.start : span.end]) for span in inclusion_spans(index, len(leaves))]


def includes(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes) -> bool:
    """Whether an audit path shows `leaf` at `index` of the tree of `size` leaves with root `expected`."""
    if not 0 <= index < size:
        return False
    node, place, last = leaf, index, size - 1
    for step in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            node = node_hash(step, node)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            node = node_hash(node, step)
        place, last = place >> 1, last >> 1
    return last == 0 and node == expected


def consistency_spans(old: int, new: int) -> list[Span]:
    """The leaves below each step of the proof that a tree of `old` leaves begins one of `new` (2.1.2)."""
    assert 0 < old <= new, "a tree grows from at least one leaf"
    spans, start, end = [], 0, new
    while end != old:
        cut = start + _cut(end - start)
        if old <= cut:
            spans.append(Span(cut, end))
            end = cut
        else:
            spans.append(Span(start, cut))
            start = cut
    if start:
        spans.append(Span(start, end))
    return spans[::-1]


def consistency_proof(leaves: Sequence[bytes], size: int) -> list[bytes]:
    """Proof that the tree of the first `size` leaves is a prefix of the whole (2.1.2)."""
    return [root(leaves[span.start : span.end]) for span in consistency_spans(size, len(leaves))]


def extends(old: bytes, old_size: int, new: bytes, new_size: int, proof: Sequence[bytes]) -> bool:
    """Whether a consistency proof shows that the tree `new` begins with the whole tree `old`."""
    if not 0 < old_size <= new_size:
        return False
    if old_size == new_size:
        return old == new and not proof
    steps = list(proof) if old_size & (old_size - 1) else [old, *proof]
    if not steps:
        return False
    place, last = old_size - 1, new_size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old_node = new_node = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old_node, new_node = node_hash(step, old_node), node_hash(step, new_node)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            new_node = node_hash(new_node, step)
        place, last = place >> 1, last >> 1
    return last == 0 and old_node == old and new_node == new


def _cut(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1
