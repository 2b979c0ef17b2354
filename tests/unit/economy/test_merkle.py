"""Vectors are those of Certificate Transparency's reference implementation for RFC 6962."""

from __future__ import annotations

import hashlib

import pytest

from economy.merkle import (
    EMPTY_ROOT,
    Frontier,
    Span,
    complete_root,
    consistency_proof,
    extends,
    includes,
    inclusion_proof,
    joined,
    leaf_hash,
    node_hash,
    nodes_of,
    root,
)

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
HASHES = [leaf_hash(leaf) for leaf in LEAVES]
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def reference_root(hashes):
    """The recursion of section 2.1, word for word."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    cut = 1
    while cut * 2 < len(hashes):
        cut *= 2
    return node_hash(reference_root(hashes[:cut]), reference_root(hashes[cut:]))


@pytest.mark.parametrize("size", range(1, 9))
def test_roots(size):
    assert root(HASHES[:size]).hex() == ROOTS[size - 1]


def test_the_empty_tree():
    assert root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert root([]) == EMPTY_ROOT


STEPS = {
    "a": "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "b": "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "c": "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    "d": "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    "e": "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    "f": "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "g": "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "h": "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "i": "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
}


@pytest.mark.parametrize(
    ("place", "size", "steps"), [(1, 1, ""), (1, 8, "abc"), (6, 8, "def"), (3, 3, "g"), (2, 5, "hbd")]
)
def test_published_inclusion_proofs(place, size, steps):
    path = inclusion_proof(HASHES[:size], place - 1)
    assert [step.hex() for step in path] == [STEPS[step] for step in steps]
    assert includes(HASHES[place - 1], place - 1, size, path, bytes.fromhex(ROOTS[size - 1]))


@pytest.mark.parametrize(("old", "new", "steps"), [(1, 1, ""), (1, 8, "abc"), (6, 8, "ief"), (2, 5, "bd")])
def test_published_consistency_proofs(old, new, steps):
    path = consistency_proof(HASHES[:new], old)
    assert [step.hex() for step in path] == [STEPS[step] for step in steps]
    assert extends(bytes.fromhex(ROOTS[old - 1]), old, bytes.fromhex(ROOTS[new - 1]), new, path)


def reference_path(index, hashes):
    """PATH(m, D[n]) of section 2.1.1, word for word."""
    if len(hashes) == 1:
        return []
    cut = 1
    while cut * 2 < len(hashes):
        cut *= 2
    if index < cut:
        return [*reference_path(index, hashes[:cut]), reference_root(hashes[cut:])]
    return [*reference_path(index - cut, hashes[cut:]), reference_root(hashes[:cut])]


def reference_subproof(size, hashes, whole):
    """SUBPROOF(m, D[n], b) of section 2.1.2, word for word."""
    if size == len(hashes):
        return [] if whole else [reference_root(hashes)]
    cut = 1
    while cut * 2 < len(hashes):
        cut *= 2
    if size <= cut:
        return [*reference_subproof(size, hashes[:cut], whole), reference_root(hashes[cut:])]
    return [*reference_subproof(size - cut, hashes[cut:], False), reference_root(hashes[:cut])]


def test_paths_are_the_recursions_of_the_rfc():
    hashes = [leaf_hash(bytes([number])) for number in range(40)]
    for size in range(1, 41):
        for index in range(size):
            assert inclusion_proof(hashes[:size], index) == reference_path(index, hashes[:size])
            assert consistency_proof(hashes[:size], index + 1) == reference_subproof(index + 1, hashes[:size], True)


def test_every_proof_of_small_trees_and_no_altered_one():
    hashes = [leaf_hash(bytes([number])) for number in range(33)]
    for size in range(1, 34):
        whole = root(hashes[:size])
        assert whole == reference_root(hashes[:size])
        for index in range(size):
            proof = inclusion_proof(hashes[:size], index)
            assert includes(hashes[index], index, size, proof, whole)
            assert not includes(hashes[index], (index + 1) % size, size, proof, whole) or size == 1
            assert not includes(hashes[index] + b"x", index, size, proof, whole)
            assert not includes(hashes[index], index, size, [*proof, b"x" * 32], whole)
            if proof:
                assert not includes(hashes[index], index, size, proof[:-1], whole)
        for old in range(1, size + 1):
            proof = consistency_proof(hashes[:size], old)
            before = root(hashes[:old])
            assert extends(before, old, whole, size, proof)
            assert not extends(leaf_hash(b"other"), old, whole, size, proof)
            assert not extends(before, old, whole, size, [*proof, b"x" * 32])
            if proof:
                assert not extends(before, old, whole, size, [*proof[:-1], b"x" * 32])


def test_a_frontier_goes_on_where_it_was_left():
    first = Frontier().extend(HASHES[:5])
    again = Frontier.from_text(5, first.to_text()).extend(HASHES[5:])
    assert again.root().hex() == ROOTS[7]
    assert again.size == 8


@pytest.mark.parametrize("start", [0, 1, 255, 256, 700])
def test_many_leaves_at_once_are_the_leaves_one_by_one(start):
    hashes = [leaf_hash(number.to_bytes(2, "big")) for number in range(1500)]
    slow = Frontier(keep=(2, 8))
    for leaf in hashes:
        slow.append(leaf)
    fast = Frontier(keep=(2, 8)).extend(hashes[:start]).extend(iter(hashes[start:]))
    assert (fast.size, fast.roots, fast.root()) == (slow.size, slow.roots, reference_root(hashes))
    assert [item for item in fast.completed if item[0].height == 8] == [
        item for item in slow.completed if item[0].height == 8
    ]
    for node, found in slow.completed:
        assert found == reference_root(hashes[node.place << node.height : (node.place + 1) << node.height])


def test_a_span_is_its_complete_subtrees():
    hashes = [leaf_hash(number.to_bytes(2, "big")) for number in range(300)]
    for span in (Span(0, 1), Span(0, 300), Span(256, 300), Span(128, 192), Span(296, 299)):
        nodes = nodes_of(span)
        assert [
            leaf for node in nodes for leaf in range(node.place << node.height, (node.place + 1) << node.height)
        ] == (list(range(*span)))
        parts = [complete_root(hashes[node.place << node.height : (node.place + 1) << node.height]) for node in nodes]
        assert joined(parts) == reference_root(hashes[span.start : span.end])
    assert joined([]) == EMPTY_ROOT
