"""Merkle trees as in RFC 6962 section 2.1: SHA-256, leaves prefixed 0x00 and inner nodes 0x01.

The tree of the first n leaves never changes as the log grows, so that a signed root binds everything before it, and an
entry's place or a log's growth is proven with a few hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Self

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(content: bytes) -> bytes:
    """Hash of a leaf (2.1)."""
    return hashlib.sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node (2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """A growing tree, remembered by the roots of its complete subtrees alone: O(log n) of memory.

    Parameters
    ----------
    size
        How many leaves there are.
    roots
        One root for each bit set in `size`, largest subtree first.
    """

    def __init__(self, size: int = 0, roots: Sequence[bytes] = ()) -> None:
        assert len(roots) == size.bit_count(), "one root a complete subtree"
        self.size, self.roots = size, list(roots)

    def append(self, leaf: bytes) -> None:
        """Add the hash of one more leaf."""
        node, size = leaf, self.size
        while size & 1:
            node = node_hash(self.roots.pop(), node)
            size >>= 1
        self.roots.append(node)
        self.size += 1

    def extend(self, leaves: Iterable[bytes]) -> Self:
        """Add the hashes of many leaves."""
        for leaf in leaves:
            self.append(leaf)
        return self

    def root(self) -> bytes:
        """Merkle tree hash of all leaves."""
        if not self.roots:
            return EMPTY_ROOT
        root = self.roots[-1]
        for left in reversed(self.roots[:-1]):
            root = node_hash(left, root)
        return root

    def to_text(self) -> str:
        """The roots in hexadecimal, joined by commas."""
        return ",".join(root.hex() for root in self.roots)

    @classmethod
    def from_text(cls, size: int, text: str) -> Self:
        """Read what `to_text` wrote."""
        return cls(size, [bytes.fromhex(part) for part in text.split(",") if part])


def root(leaves: Iterable[bytes]) -> bytes:
    """Merkle tree hash of leaf hashes."""
    return Frontier().extend(leaves).root()


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The audit path of one leaf (2.1.1), lowest first. `leaves` are leaf hashes."""
    assert 0 <= index < len(leaves), "only what is there is proven"
    if len(leaves) == 1:
        return []
    cut = _cut(len(leaves))
    if index < cut:
        return [*inclusion_proof(leaves[:cut], index), root(leaves[cut:])]
    return [*inclusion_proof(leaves[cut:], index - cut), root(leaves[:cut])]


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


def consistency_proof(leaves: Sequence[bytes], size: int) -> list[bytes]:
    """Proof that the tree of the first `size` leaves is a prefix of the whole (2.1.2)."""
    assert 0 < size <= len(leaves), "a tree grows from at least one leaf"
    return _subproof(leaves, size, whole=True)


def _subproof(leaves: Sequence[bytes], size: int, *, whole: bool) -> list[bytes]:
    if size == len(leaves):
        return [] if whole else [root(leaves)]
    cut = _cut(len(leaves))
    if size <= cut:
        return [*_subproof(leaves[:cut], size, whole=whole), root(leaves[cut:])]
    return [*_subproof(leaves[cut:], size - cut, whole=False), root(leaves[:cut])]


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
