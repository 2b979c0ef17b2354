"""Every store keeps what proofs are made from, and gives the same proofs to the byte."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bithive.database_sql import Database
from bithive.keys import SigningKey
from economy.entry import Entry, Key
from economy.errors import LedgerUnavailable
from economy.notes import Algorithm, VerifierKey
from economy.proof_store import Cosignature, MemoryProofs, Subtree, Window, state_leaf
from economy.proof_store_sql import SqlProofSnapshot
from economy.seal import is_signed, make_seal
from economy.store import MemoryStore
from economy.store_sql import SqlStore
from economy.verify import verify_proof
from tests.common.proving import KEY, Sealed, seal_v1
from tests.common.servers import new_database

KINDS = ("memory", "sqlite", "postgres")


@pytest.fixture(scope="module")
def made(request, tmp_path_factory):
    """The same history on every store, made once."""
    urls = {
        "sqlite": f"sqlite:///{tmp_path_factory.mktemp('proofs')}/ledger.db",
        "postgres": new_database(request.getfixturevalue("postgres_url"), "proofs"),
    }
    found = {}
    for kind in KINDS:
        sealed = Sealed(MemoryStore() if kind == "memory" else SqlStore(Database(urls[kind])))
        sealed.record(300)
        seal_v1(sealed.store, KEY, sealed.clock.now_ms())
        sealed.grow(600)
        sealed.grow(33)
        found[kind] = sealed
    yield found, urls
    for sealed in found.values():
        sealed.close()


@pytest.fixture(params=KINDS)
def sealed(request, made):
    return made[0][request.param]


def test_all_stores_give_the_same_seals_and_proofs(made, sealed):
    expected = made[0]["memory"]
    with sealed.store.reading() as snapshot, expected.store.reading() as other:
        assert snapshot.seals() == other.seals()
        assert all(is_signed(seal) for seal in snapshot.seals())
    for make in (
        lambda item: item.proofs.checkpoint(2),
        lambda item: item.proofs.entry(1),
        lambda item: item.proofs.entry("fund/899", 2),
        lambda item: item.proofs.entry(934),
        lambda item: item.proofs.consistency(301),
        lambda item: item.proofs.consistency(900),
        lambda item: item.proofs.balance(item.house.wallet(2)),
        lambda item: item.proofs.balance(item.house.source(), 2),
    ):
        assert make(sealed) == make(expected)
        verify_proof(make(sealed), sealed.keys)


def test_seals_are_found_by_number_size_and_entry(sealed):
    with sealed.store.reading() as snapshot:
        seals = snapshot.seals()
        assert [snapshot.seal(number) for number in (0, 1, 2, 3, 4)] == [None, *seals, None]
        assert snapshot.last_seal() == seals[-1]
        sizes = [seal.to_seq for seal in seals]
        assert [snapshot.seal_of_size(size) for size in sizes] == seals
        assert snapshot.seal_of_size(sizes[0] + 1) is None
        assert [snapshot.seal_covering(seq) for seq in (1, sizes[0], sizes[0] + 1, sizes[2], sizes[2] + 1)] == [
            seals[0],
            seals[0],
            seals[1],
            seals[2],
            None,
        ]
        assert snapshot.seals_after() == seals
        assert snapshot.seals_after(1, 1) == [seals[1]]


def test_leaves_and_subtrees(sealed):
    with sealed.store.reading() as snapshot:
        assert isinstance(snapshot, MemoryProofs | SqlProofSnapshot)
        rows = snapshot.log(250, 10)
        assert snapshot.leaves(250, 10) == [bytes.fromhex(row.leaf_hash) for row in rows]
        assert len(snapshot.leaves(930, 100)) == 4
        kept = snapshot.subtrees([Window(8, 0, 2), Window(8, 2, 9), Window(16, 0, 3)])
        assert sorted(kept) == [(8, 0), (8, 1), (8, 2)]
        assert snapshot.subtrees([]) == {}
        assert (snapshot.subtree_count(8), snapshot.subtree_count(16)) == (3, 0)


def test_the_states_leaves_are_the_accounts_in_their_order(sealed):
    with sealed.store.reading() as snapshot:
        leaves = [state_leaf(balance) for balance in snapshot.accounts()]
        assert len(leaves) == 4
        assert snapshot.state_leaves(0, 100) == leaves
        assert snapshot.state_leaves(1, 2) == leaves[1:3]
        assert snapshot.state_leaves(4, 2) == []


def test_what_is_kept_is_left_as_it_is(sealed):
    with sealed.store.reading() as snapshot:
        before = snapshot.subtrees([Window(8, 0, 3)])
    sealed.store.add_subtrees([Subtree(8, 1, "0" * 64)])
    sealed.store.add_subtrees([])
    first = Cosignature(2, "a" * 64, "line", 1_000)
    assert sealed.store.add_cosignature(first)
    assert not sealed.store.add_cosignature(first._replace(signature="another", witnessed_ms=2_000))
    assert sealed.store.add_cosignature(first._replace(seal_id=3))
    with sealed.store.reading() as snapshot:
        assert snapshot.subtrees([Window(8, 0, 3)]) == before
        assert snapshot.cosignatures([2]) == [first]
        assert snapshot.cosignatures([1]) == snapshot.cosignatures([]) == []
        assert len(snapshot.cosignatures()) == 2


def test_keys_are_read_without_the_parties(sealed):
    house, other = sealed.house, SigningKey(b"o" * 32)
    declared = Key(other.public_hex, "officer", house.issuer)
    answer = house.ledger.post(Entry("key/officer", "key.declared", declares=(declared,)))
    revoked = house.ledger.post(
        Entry("key/officer/revoked", "key.revoked", declares=(Key(*declared_of(declared), True),))
    )
    with sealed.store.reading() as snapshot:
        row = snapshot.signing_keys()[other.public_hex]
        assert row == (other.public_hex, "officer", house.issuer, answer.seq, revoked.seq)
        origin = sealed.keys[0].name
        assert sealed.keys == (VerifierKey(origin, Algorithm.ED25519, KEY.public_hex),)


def declared_of(key):
    return key.public_key, key.purpose, key.party_id


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.parametrize("table", ["subtree", "cosignature"])
def test_the_database_refuses_to_change_them(made, kind, table):
    database = Database(made[1][kind])
    made[0][kind].store.add_cosignature(Cosignature(2, "b" * 64, "line", 1_000))
    column = "hash" if table == "subtree" else "signature"
    for statement in (f"UPDATE {table} SET {column} = 'x'", f"DELETE FROM {table}"):
        with pytest.raises(DBAPIError), database.write() as connection:
            connection.execute(text(statement))
    database.close()


def test_a_closed_store_keeps_nothing(tmp_path):
    for store in (MemoryStore(), SqlStore(Database(f"sqlite:///{tmp_path}/ledger.db"))):
        sealed = Sealed(store)
        sealed.grow(1)
        sealed.close()
        with pytest.raises(LedgerUnavailable):
            make_seal(store, KEY, sealed.clock)
        with pytest.raises(LedgerUnavailable):
            store.add_cosignature(Cosignature(1, "a" * 64, "line", 1))
        with pytest.raises(LedgerUnavailable):
            store.add_subtrees([Subtree(8, 0, "0" * 64)])
