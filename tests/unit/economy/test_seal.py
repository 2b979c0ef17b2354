from __future__ import annotations

import json

import pytest

from bithive.keys import SigningKey
from economy.entry import Entry, move
from economy.export import export
from economy.merkle import consistency_proof, extends, includes, inclusion_proof, leaf_hash
from economy.seal import is_signed, make_seal, seal_digest, signed_bytes
from economy.store import MemoryStore
from tests.common.economy import House

KEY = SigningKey(b"k" * 32)


@pytest.fixture
def house():
    house = House(MemoryStore())
    yield house
    house.ledger.close()


def grow(house, start, count):
    legs = (move(house.source(), house.wallet(0), 1),)
    house.ledger.post_all([Entry(f"fund/{start + number}", "test.done", legs) for number in range(count)])


def test_seals_are_chained_and_signed(house):
    grow(house, 0, 5)
    first = make_seal(house.store, KEY, house.clock)
    assert make_seal(house.store, KEY, house.clock) is None
    grow(house, 5, 3)
    second = make_seal(house.store, KEY, house.clock)
    assert (first.from_seq, first.to_seq, second.from_seq, second.to_seq) == (1, 6, 7, 9)
    assert first.previous == "0" * 64
    assert second.previous == seal_digest(first)
    assert is_signed(first)
    assert is_signed(second)
    assert first.state_root != second.state_root
    for name, value in (("log_root", "0" * 64), ("sealed_ms", 1), ("previous", "1" * 64), ("public_key", "zz")):
        assert not is_signed(second._replace(**{name: value}))
    assert b"bithive.seal.v1\x00" in signed_bytes(first)


def test_the_exported_log_proves_itself_against_a_seal(house):
    grow(house, 0, 20)
    first = make_seal(house.store, KEY, house.clock)
    grow(house, 20, 17)
    second = make_seal(house.store, KEY, house.clock)
    lines = "".join(export(house.store, "log")).splitlines()
    leaves = [leaf_hash(line.encode()) for line in lines]
    assert [json.loads(line)["seq"] for line in lines] == list(range(1, len(lines) + 1))
    whole, before = bytes.fromhex(second.log_root), bytes.fromhex(first.log_root)
    for index in (0, 11, len(leaves) - 1):
        assert includes(leaves[index], index, len(leaves), inclusion_proof(leaves, index), whole)
    proof = consistency_proof(leaves, first.to_seq)
    assert extends(before, first.to_seq, whole, second.to_seq, proof)
