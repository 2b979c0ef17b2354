"""Which Nodes of a hello are taken; proofs of keys."""

import pytest

from bithive.keys import SigningKey
from bithive.offer import DataClass
from cluster.cell_record import NodeRecord
from cluster.errors import KeyRevoked, KeyUnproven
from cluster.protocol import Accelerator, Hello, NodeGreeting
from cluster.register_nodes import admitted, node_record
from cluster.register_proof import prove, proven, rotates, rotation

CELL = SigningKey(b"\x01" * 32).public_hex
KEYS = [SigningKey(bytes([number]) * 32) for number in range(2, 6)]


def hello(*nodes: NodeGreeting) -> Hello:
    return Hello(CELL, "op", DataClass.P0, nodes, ())


def node(key: SigningKey, proof: str | None = None) -> NodeGreeting:
    return NodeGreeting(key.public_hex, 1, 1, 0, {}, proof=prove(key, CELL) if proof is None else proof)


def test_the_proven_ones_are_taken_and_the_others_left() -> None:
    one, other = node(KEYS[0]), node(KEYS[1], "")
    assert admitted(hello(one, other), (), proof_needed=True) == [one]
    assert admitted(hello(one, other), (), proof_needed=False) == [one, other]
    with pytest.raises(KeyUnproven):
        admitted(hello(other), (), proof_needed=True)


def test_a_revoked_or_replaced_key_is_not_taken_even_unsigned() -> None:
    known = [
        NodeRecord("nod_0", "cel_1", KEYS[0].public_hex, 1, 1, revoked_ms=5),
        NodeRecord("nod_1", "cel_1", KEYS[1].public_hex, 1, 1, former_key=KEYS[2].public_hex, former_until_ms=9),
    ]
    good = node(KEYS[1])
    for needed in (True, False):
        assert admitted(hello(node(KEYS[0]), node(KEYS[2]), good), known, proof_needed=needed) == [good]
        with pytest.raises(KeyRevoked):
            admitted(hello(node(KEYS[0])), known, proof_needed=needed)


def test_a_proof_is_for_one_cell_and_one_key() -> None:
    proof = prove(KEYS[0], CELL)
    assert proven(KEYS[0].public_hex, CELL, proof)
    assert not proven(KEYS[0].public_hex, KEYS[3].public_hex, proof)
    assert not proven(KEYS[1].public_hex, CELL, proof)
    for wrong in ("", "x", "0" * 128, proof[:-2]):
        assert not proven(KEYS[0].public_hex, CELL, wrong)


def test_a_rotation_is_for_one_cell_and_two_keys() -> None:
    old, new = KEYS[0].public_hex, KEYS[1].public_hex
    signature = rotation(KEYS[0], "cel_1", old, new)
    assert rotates(old, "cel_1", old, new, signature)
    assert not rotates(old, "cel_2", old, new, signature)
    assert not rotates(old, "cel_1", new, old, signature)
    assert not rotates(new, "cel_1", old, new, signature)


def test_what_is_kept_of_a_node() -> None:
    said = NodeGreeting("a" * 64, 1, 2, 3, {"x": "y"}, 4, "home", "DE", Accelerator("T4", 5), {"a": 1}, {"b": 2}, 6)
    kept = node_record("nod_1", "cel_1", said)
    assert (kept.tier, kept.residency, kept.accelerator, kept.slots) == ("home", "DE", Accelerator("T4", 5), 6)
    assert (kept.timetable, kept.caps, kept.machine_memory_bytes, kept.gpus) == ({"a": 1}, {"b": 2}, 4, 3)
