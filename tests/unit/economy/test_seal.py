from __future__ import annotations

import json

import pytest

from bithive.keys import SigningKey, fingerprint
from economy.book import KeyRow
from economy.checkpoints import Checkpoint
from economy.entry import Entry, Key, hold
from economy.errors import LedgerFault, NoteMalformed, SealKeyUnknown
from economy.export import export
from economy.merkle import consistency_proof, extends, includes, inclusion_proof, leaf_hash
from economy.merkle import root as merkle_root
from economy.notes import Algorithm, VerifierKey, parse_note, require_signer
from economy.proof_store import SUBTREE_HEIGHTS, Subtree, state_leaf
from economy.seal import (
    checkpoint_of,
    follows,
    is_signed,
    log_keys,
    make_seal,
    origin_of,
    seal_digest,
    signed_bytes,
    state_root,
    state_root_v1,
)
from economy.store import MemoryStore
from tests.common.proving import KEY, Sealed, seal_v1, signed

OTHER = SigningKey(b"z" * 32)


@pytest.fixture
def sealed():
    sealed = Sealed(MemoryStore())
    yield sealed
    sealed.close()


def subtree_roots(store):
    return {place: found.hex() for place, found in store._subtrees.items()}


def test_seals_are_chained_and_signed(sealed):
    first = sealed.grow(5)
    assert make_seal(sealed.store, KEY, sealed.clock) is None
    second = sealed.grow(3)
    assert (first.from_seq, first.to_seq, second.from_seq, second.to_seq) == (1, 6, 7, 9)
    assert first.previous == "0" * 64
    assert second.previous == seal_digest(first)
    assert is_signed(first)
    assert is_signed(second)
    assert first.state_root != second.state_root


def test_a_seal_is_a_checkpoint_that_any_witness_reads(sealed):
    sealed.grow(5)
    seal = sealed.grow(3)
    note = parse_note(seal.note)
    origin = f"bithive.ledger/{fingerprint(KEY.public_hex)}"
    key = VerifierKey(origin, Algorithm.ED25519, KEY.public_hex)
    assert require_signer(note, [key]) == key
    with sealed.store.reading() as snapshot:
        balances = snapshot.accounts()
        assert (origin_of(snapshot), log_keys(snapshot)) == (origin, (key,))
    said = checkpoint_of(seal)
    assert said == Checkpoint(
        origin, 9, bytes.fromhex(seal.log_root), 4, state_root(balances), seal.previous, 2, seal.sealed_ms
    )
    assert note.text == said.text == signed_bytes(seal).decode()


def test_the_state_tree_is_in_the_order_in_which_accounts_were_opened(sealed):
    seal = sealed.grow(30)
    with sealed.store.reading() as snapshot:
        balances = snapshot.accounts()
    leaves = [leaf_hash(state_leaf(balance)) for balance in balances]
    assert seal.state_root == merkle_root(leaves).hex()
    assert json.loads(state_leaf(balances[0])) == {
        "account": str(balances[0].account),
        **{
            name: str(getattr(balances[0], name))
            for name in ("credit_pending", "credit_posted", "debit_pending", "debit_posted")
        },
    }
    assert state_root(balances[::-1]) != state_root(balances)
    assert state_root_v1(balances[::-1]) == state_root_v1(balances)


CHANGED = {
    "seal_id": 3,
    "to_seq": 8,
    "log_root": "0" * 64,
    "state_root": "0" * 64,
    "frontier": "0" * 64,
    "previous": "1" * 64,
    "sealed_ms": 1,
    "public_key": OTHER.public_hex,
    "signature": "0" * 128,
    "version": 3,
    "note": "",
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_seal_that_says_one_thing_and_signed_another_is_none(sealed, name):
    sealed.grow(5)
    seal = sealed.grow(3)
    assert not is_signed(seal._replace(**{name: CHANGED[name]}))


def test_a_chain_of_seals_has_no_gap_and_never_goes_back(sealed):
    sealed.record(3)
    old = seal_v1(sealed.store, KEY, sealed.clock.now_ms())
    first, second = sealed.grow(4), sealed.grow(5)
    assert follows(old, None)
    assert follows(first, old)
    assert follows(second, first)
    for seal, last in ((first, None), (second, old), (first, second), (second, second), (old, first)):
        assert not follows(seal, last)
    for other in (
        second._replace(from_seq=second.from_seq + 1),
        second._replace(previous="1" * 64),
        second._replace(note="x"),
        second._replace(version=1),
    ):
        assert not follows(other, first)
    said, key = checkpoint_of(second), KEY
    for changed in (
        said._replace(origin="other.example"),
        said._replace(time_ms=first.sealed_ms - 1),
        said._replace(accounts=1),
    ):
        assert not follows(second._replace(note=signed(changed, key)), first)


@pytest.mark.parametrize("public_key", ["zz", "", "ab"])
def test_a_seal_with_a_key_that_is_none(sealed, public_key):
    assert not is_signed(sealed.grow(1)._replace(public_key=public_key))


@pytest.mark.parametrize("frontier", ["", "xy", "0" * 63 + "g", ",", "0" * 64 + ",", "0" * 128])
def test_a_seal_with_a_frontier_that_is_none(sealed, frontier):
    assert not is_signed(sealed.grow(4)._replace(frontier=frontier))


def test_a_note_with_a_second_line_is_not_what_was_sealed(sealed):
    seal = sealed.grow(1)
    assert not is_signed(seal._replace(note=seal.note + seal.note.splitlines(keepends=True)[-1]))


def test_only_a_declared_key_seals_once_one_is_declared(sealed):
    house = sealed.house
    house.ledger.post(Entry("key/1", "key.declared", declares=(Key(KEY.public_hex, "seal", house.issuer),)))
    house.ledger.post(Entry("key/2", "key.declared", declares=(Key(OTHER.public_hex, "officer", house.issuer),)))
    with pytest.raises(SealKeyUnknown):
        make_seal(sealed.store, OTHER, sealed.clock)
    assert is_signed(sealed.grow(1))
    house.ledger.post(Entry("key/3", "key.revoked", declares=(Key(KEY.public_hex, "seal", house.issuer, True),)))
    with pytest.raises(SealKeyUnknown):
        make_seal(sealed.store, KEY, sealed.clock)
    third = SigningKey(b"3" * 32)
    house.ledger.post(Entry("key/4", "key.declared", declares=(Key(third.public_hex, "seal", house.issuer),)))
    seal = make_seal(sealed.store, third, sealed.clock)
    assert is_signed(seal)
    with sealed.store.reading() as snapshot:
        assert [key.public_key for key in log_keys(snapshot)] == [KEY.public_hex, third.public_hex]
        assert {key.name for key in log_keys(snapshot)} == {checkpoint_of(seal).origin}
        assert isinstance(snapshot.signing_keys()[KEY.public_hex], KeyRow)


def test_a_seals_time_never_goes_back(sealed):
    first = sealed.grow(1)
    sealed.clock._now_ms -= 10_000_000
    second = sealed.grow(1)
    assert second.sealed_ms >= first.sealed_ms
    assert is_signed(second)


def test_seals_of_version_1_stay_valid_and_are_followed_by_version_2(sealed):
    sealed.record(700)
    old = seal_v1(sealed.store, KEY, sealed.clock.now_ms())
    sealed.record(50)
    older = seal_v1(sealed.store, KEY, sealed.clock.now_ms())
    assert is_signed(old)
    assert is_signed(older)
    for name, value in (
        ("log_root", "0" * 64),
        ("sealed_ms", 1),
        ("previous", "1" * 64),
        ("note", "x"),
        ("version", 2),
    ):
        assert not is_signed(old._replace(**{name: value}))
    assert signed_bytes(old).startswith(b"bithive.seal.v1\x00")
    with pytest.raises(NoteMalformed):
        checkpoint_of(old)
    with sealed.store.reading() as snapshot:
        assert origin_of(snapshot) == f"bithive.ledger/{fingerprint(KEY.public_hex)}"
    new = sealed.grow(5)
    assert (new.version, new.seal_id, new.previous) == (2, 3, seal_digest(older))
    assert is_signed(new)
    assert checkpoint_of(new).previous == seal_digest(older)
    assert set(subtree_roots(sealed.store)) == {(8, 0), (8, 1)}


def test_the_roots_of_complete_subtrees_are_kept_and_made_again_when_they_are_gone(sealed):
    sealed.grow(300)
    sealed.grow(500)
    kept = subtree_roots(sealed.store)
    leaves = [bytes.fromhex(row.leaf_hash) for row in sealed.store._entries]
    assert kept == {(8, place): merkle_root(leaves[place * 256 : (place + 1) * 256]).hex() for place in range(3)}
    sealed.store._subtrees.clear()
    sealed.grow(1)
    assert subtree_roots(sealed.store) == kept
    assert SUBTREE_HEIGHTS[0] == 8


def test_a_seal_that_was_killed_between_its_two_writes_is_made_again(sealed):
    sealed.grow(300)
    sealed.record(600)
    leaves = [bytes.fromhex(row.leaf_hash) for row in sealed.store._entries]
    roots = [merkle_root(leaves[place * 256 : (place + 1) * 256]).hex() for place in (1, 2)]
    sealed.store.add_subtrees([Subtree(8, place, found) for place, found in zip((1, 2), roots, strict=True)])
    assert is_signed(make_seal(sealed.store, KEY, sealed.clock))
    assert [subtree_roots(sealed.store)[8, place] for place in (1, 2)] == roots


def test_a_log_that_is_not_what_was_sealed_is_not_sealed_again(sealed):
    sealed.grow(300)
    row = sealed.store._entries[3]
    sealed.store._entries[3] = row._replace(leaf_hash="0" * 64)
    sealed.store._subtrees.clear()
    sealed.record(1)
    with pytest.raises(LedgerFault):
        make_seal(sealed.store, KEY, sealed.clock)


def test_pending_amounts_are_part_of_the_state(sealed):
    first = sealed.grow(3)
    house = sealed.house
    legs = (hold(house.source(), house.wallet(0), 5, None),)
    house.ledger.post(Entry("hold/1", "test.held", legs))
    second = make_seal(sealed.store, KEY, sealed.clock)
    assert second.state_root != first.state_root


def test_the_exported_log_proves_itself_against_a_seal(sealed):
    first, second = sealed.grow(20), sealed.grow(17)
    lines = "".join(export(sealed.store, "log")).splitlines()
    leaves = [leaf_hash(line.encode()) for line in lines]
    assert [json.loads(line)["seq"] for line in lines] == list(range(1, len(lines) + 1))
    whole, before = bytes.fromhex(second.log_root), bytes.fromhex(first.log_root)
    for index in (0, 11, len(leaves) - 1):
        assert includes(leaves[index], index, len(leaves), inclusion_proof(leaves, index), whole)
    proof = consistency_proof(leaves, first.to_seq)
    assert extends(before, first.to_seq, whole, second.to_seq, proof)
