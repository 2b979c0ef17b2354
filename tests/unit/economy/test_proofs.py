from __future__ import annotations

import json
import threading

import pytest

from bithive.database_sql import Database
from bithive.keys import SigningKey
from economy.entry import Account, Entry, Party, PendingRef, hold, leaf_bytes, move, release, settle
from economy.errors import AccountUnknown, EntryUnknown, LedgerFault, NoteUnsigned, NotSealed, SealUnknown
from economy.merkle import inclusion_proof, leaf_hash, root
from economy.proofs import Proofs, checkpoint_text, prove_balance, prove_consistency, prove_entry
from economy.seal import make_seal
from economy.state_tree import StateTree
from economy.store import MemoryStore
from economy.store_sql import SqlStore
from economy.verify import verify_checkpoint, verify_proof
from tests.common.economy import COIN
from tests.common.proving import KEY, Sealed, seal_v1


@pytest.fixture
def sealed():
    sealed = Sealed(MemoryStore())
    yield sealed
    sealed.close()


def test_every_entry_is_proven_against_every_seal_that_covers_it(sealed):
    seals = [sealed.grow(count) for count in (2, 300, 1, 40)]
    for seal in seals:
        for seq in (1, 2, 3, 256, 257, seal.to_seq):
            if seq <= seal.to_seq:
                text = prove_entry(sealed.store, seq, seal.seal_id)
                shown = verify_proof(text, sealed.keys)
                assert (shown.kind, shown.said["seq"], shown.checkpoint.size) == ("entry", seq, seal.to_seq)
    with sealed.store.reading() as snapshot:
        row = snapshot.log(99, 1)[0]
    shown = verify_proof(prove_entry(sealed.store, row.entry_id), sealed.keys)
    assert shown.said == {"entry": row.entry_id, "kind": row.kind, "seq": 100, "recorded_us": row.recorded_us}
    assert shown.leaf.encode() == leaf_bytes(row.content.encode(), row.recorded_us, row.seq)


def test_what_is_not_there_or_not_sealed_yet(sealed):
    with pytest.raises(NotSealed):
        prove_entry(sealed.store, 1)
    with pytest.raises(NotSealed):
        checkpoint_text(sealed.store)
    sealed.grow(3)
    sealed.record(1)
    for absent in ("fund/99", 99, 0, -1):
        with pytest.raises(EntryUnknown):
            prove_entry(sealed.store, absent)
    with pytest.raises(NotSealed):
        prove_entry(sealed.store, 5)
    for seal_id in (0, 2, -1):
        with pytest.raises(SealUnknown):
            prove_entry(sealed.store, 1, seal_id)
        with pytest.raises(SealUnknown):
            checkpoint_text(sealed.store, seal_id)
    for sizes in ((0, None), (-1, None), (5, None), (1, 3), (4, 1)):
        with pytest.raises(SealUnknown):
            prove_consistency(sealed.store, *sizes)


def test_the_log_only_grew_from_every_size(sealed):
    seals = [sealed.grow(count) for count in (5, 290, 17)]
    for old in (1, 5, 6, 256, 296, 300, 313):
        proof = json.loads(prove_consistency(sealed.store, old))
        is_sealed = old in {seal.to_seq for seal in seals}
        assert set(proof["from"]) == ({"checkpoint"} if is_sealed else {"root", "size"})
        shown = verify_proof(json.dumps(proof), sealed.keys)
        before = root([bytes.fromhex(row.leaf_hash) for row in sealed.store._entries[:old]]).hex()
        assert shown.said == {"from_size": old, "from_root": before, "size": 313}
    shown = verify_proof(prove_consistency(sealed.store, seals[0].to_seq, seals[1].to_seq), sealed.keys)
    assert shown.said == {"from_size": 6, "from_root": seals[0].log_root, "size": 296}


def moved_about(house):
    """Every kind of transfer: single, pending, partly posted, voided, expired."""
    first, second, third = (house.wallet(number) for number in range(3))
    ledger = house.ledger
    ledger.post(Entry("give/1", "test.given", (move(house.source(), first, 1_000),)))
    ledger.post(Entry("hold/1", "test.held", (hold(first, second, 100, None), hold(first, third, 50, None))))
    ledger.post(Entry("hold/2", "test.held", (hold(first, second, 70, 3600),)))
    yield
    ledger.post(Entry("post/1", "test.posted", (settle(PendingRef("hold/1", 0), 30), release(PendingRef("hold/1", 1)))))
    yield
    house.clock.advance_s(4000)
    ledger.expire()
    ledger.post(Entry("claim/1", "test.claimed", (move(house.claim(2), third, 5),)))
    yield
    ledger.post(Entry("hold/3", "test.held", (hold(first, second, 9, None),)))
    ledger.post(Entry("post/2", "test.posted", (settle(PendingRef("hold/3", 0), None),)))


def test_balances_are_proven_as_they_were_at_every_seal(sealed):
    house, seen = sealed.house, []
    for _ in moved_about(house):
        seal = make_seal(sealed.store, KEY, sealed.clock)
        with sealed.store.reading() as snapshot:
            seen.append((seal, snapshot.accounts()))
    proofs = Proofs(sealed.store)
    assert len(seen[0][1]) < len(seen[2][1])
    for seal, balances in [*seen, *seen[::-1]]:
        for number, balance in enumerate(balances):
            text = proofs.balance(balance.account, seal.seal_id)
            shown = verify_proof(text, sealed.keys)
            assert shown.said == {
                "account": str(balance.account),
                "debit_pending": balance.debit_pending,
                "debit_posted": balance.debit_posted,
                "credit_pending": balance.credit_pending,
                "credit_posted": balance.credit_posted,
            }
            assert json.loads(text)["index"] == number
            assert shown.checkpoint.seal_id == seal.seal_id


def test_a_balance_is_followed_while_the_log_grows(sealed):
    sealed.grow(10)
    account = sealed.house.wallet(0)
    before = verify_proof(sealed.proofs.balance(account), sealed.keys).said
    for count in (1, 3, 2):
        sealed.record(count)
        assert verify_proof(sealed.proofs.balance(account, 1), sealed.keys).said == before
    sealed.grow(1)
    assert verify_proof(sealed.proofs.balance(account), sealed.keys).said != before


def test_balances_are_proven_by_many_at_once_while_the_log_grows(tmp_path):
    sealed = Sealed(SqlStore(Database(f"sqlite:///{tmp_path}/ledger.db")))
    sealed.grow(20)
    accounts = [sealed.house.wallet(number) for number in range(3)]
    before = {account: sealed.proofs.balance(account) for account in accounts}
    wrong, stop = [], threading.Event()

    def prove(account):
        while not stop.is_set():
            try:
                if sealed.proofs.balance(account, 1) != before[account]:
                    wrong.append(account)
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=prove, args=(account,)) for account in accounts]
    for thread in threads:
        thread.start()
    for _ in range(15):
        sealed.record(5)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    sealed.close()


def test_accounts_that_are_not_there_or_not_sealed(sealed):
    sealed.grow(1)
    with pytest.raises(AccountUnknown):
        prove_balance(sealed.store, Account(sealed.house.issuer, "reserve", COIN.code))
    house = sealed.house
    house.ledger.post(Entry("claim/1", "test.claimed", (move(house.claim(2), house.wallet(2), 5),)))
    with pytest.raises(NotSealed):
        prove_balance(sealed.store, house.claim(2))


def test_thousands_of_accounts(sealed):
    house = sealed.house
    owners = [house.ids.new("pty") for _ in range(700)]
    house.ledger.post_all([Entry(f"party/{name}", "test.declared", declares=(Party(name, "node"),)) for name in owners])
    legs = [move(house.source(), Account(name, "credit", COIN.code), 7) for name in owners]
    house.ledger.post_all([Entry(f"give/{place}", "test.given", (leg,)) for place, leg in enumerate(legs)])
    seal = make_seal(sealed.store, KEY, sealed.clock)
    house.ledger.post(Entry("again/1", "test.given", (move(house.source(), legs[5].credit, 1),)))
    for place in (0, 5, 254, 255, 256, 600, 699):
        shown = verify_proof(sealed.proofs.balance(legs[place].credit), sealed.keys)
        assert (shown.said["credit_posted"], shown.checkpoint.accounts) == (7, 701)
    assert seal.version == 2


def test_a_checkpoint_bears_all_cosignatures(sealed):
    sealed.grow(1)
    text = checkpoint_text(sealed.store)
    assert verify_checkpoint(text, sealed.keys).checkpoint.size == 2
    assert verify_proof(text, sealed.keys).kind == "checkpoint"


def test_a_kept_root_gone_bad_is_noticed_before_a_proof_is_handed_out(sealed):
    sealed.grow(600)
    sealed.store._subtrees[8, 0] = b"\0" * 32
    with pytest.raises(LedgerFault):
        prove_entry(sealed.store, 500)
    with pytest.raises(LedgerFault):
        prove_consistency(sealed.store, 300)
    assert prove_entry(sealed.store, 100, 1)


def test_balances_gone_bad_are_noticed(sealed):
    sealed.grow(3)
    sealed.store._balances[sealed.house.wallet(0)].credit_posted += 1
    with pytest.raises(LedgerFault):
        prove_balance(sealed.store, sealed.house.wallet(1))
    with sealed.store.reading() as snapshot, pytest.raises(LedgerFault):
        StateTree(snapshot.last_seal(), snapshot)


def test_nothing_is_proven_against_a_seal_of_version_1(sealed):
    sealed.record(5)
    old = seal_v1(sealed.store, KEY, sealed.clock.now_ms())
    for make in (
        lambda: prove_entry(sealed.store, 1),
        lambda: checkpoint_text(sealed.store),
        lambda: prove_consistency(sealed.store, 1, old.to_seq),
    ):
        with pytest.raises(NotSealed):
            make()
    new = sealed.grow(2)
    shown = verify_proof(prove_consistency(sealed.store, old.to_seq), sealed.keys)
    assert shown.said == {"from_size": old.to_seq, "from_root": old.log_root, "size": new.to_seq}
    assert json.loads(prove_consistency(sealed.store, old.to_seq))["from"].keys() == {"root", "size"}
    assert verify_proof(prove_entry(sealed.store, 1), sealed.keys).said["seq"] == 1


def test_a_claim_is_proven_together_with_the_entry_that_published_it(sealed):
    claims = [
        json.dumps({"account": f"pty_{place}", "asset": "BTT", "cumulative": str(place * 10)}, separators=(",", ":"))
        for place in range(11)
    ]
    hashes = [leaf_hash(claim.encode()) for claim in claims]
    facts = {"root": root(hashes).hex(), "count": len(claims)}
    sealed.house.ledger.post(Entry("epoch/1/claims", "claims.published", facts=facts))
    sealed.house.ledger.post(Entry("epoch/2/claims", "claims.published", facts={**facts, "count": 12}))
    sealed.house.ledger.post(Entry("epoch/3/claims", "claims.other", facts=facts))
    sealed.grow(3)
    text = sealed.proofs.claim("epoch/1/claims", 6, claims[6], 11, inclusion_proof(hashes, 6))
    shown = verify_proof(text, sealed.keys)
    assert shown.said == {
        "account": "pty_6",
        "asset": "BTT",
        "cumulative": 60,
        "entry": "epoch/1/claims",
        "seq": 2,
    }
    for entry, place in (("epoch/1/claims", 5), ("epoch/2/claims", 6), ("epoch/3/claims", 6)):
        with pytest.raises(LedgerFault):
            sealed.proofs.claim(entry, place, claims[6], 11, inclusion_proof(hashes, 6))


def test_another_logs_key_proves_nothing(sealed):
    sealed.grow(3)
    other = Sealed(MemoryStore(), key=SigningKey(b"y" * 32))
    other.grow(3)
    with pytest.raises(NoteUnsigned):
        verify_proof(prove_entry(sealed.store, 1), other.keys)
    other.close()
