"""Vectors are those of Certificate Transparency's reference implementation for RFC 6962."""

from __future__ import annotations

import hashlib

import pytest

from economy.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    extends,
    includes,
    inclusion_proof,
    leaf_hash,
    node_hash,
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


def test_published_inclusion_proof():
    path = [step.hex() for step in inclusion_proof(HASHES, 5)]
    assert path == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


def test_published_consistency_proof():
    path = [step.hex() for step in consistency_proof(HASHES, 6)]
    assert path == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


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
