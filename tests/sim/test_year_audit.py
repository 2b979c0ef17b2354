"""The year's auditor sees what it is there for: each forgery below breaks the one invariant that it names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from bithive.keys import SigningKey
from economy.book import EntryRow, TransferRow
from economy.entry import Account, Entry, PendingRef, Phase, hold, leaf_bytes, move, settle
from economy.seal import make_seal
from economy.store import MemoryStore
from tests.common.economy import COIN, OTHER, House
from tests.common.year_audit import Auditor, Broken

Forgery = Callable[[House, MemoryStore], None]


@pytest.fixture
def house() -> House:
    made = House(MemoryStore())
    made.fund(0, 100)
    made.ledger.post(Entry("hold/1", "test.done", (hold(made.wallet(0), made.wallet(1), 40, None),)))
    made.ledger.post(Entry("settled/1", "test.done", (settle(PendingRef("hold/1", 0), 30),)))
    return made


def forge(
    house: House, store: MemoryStore, entry: Entry, legs: tuple[tuple[int, int], ...] = (), **other: object
) -> None:
    """Write an entry behind the planner's back: well formed, with the transfers between accounts of these numbers."""
    seq, time_us = store._head.seq + 1, store._head.recorded_us + 1
    row = EntryRow(seq, entry.entry_id, entry.kind, entry.request_hash, time_us, 0, entry.content.decode(), "")
    row = row._replace(**other)
    leaf = hashlib.sha256(b"\x00" + leaf_bytes(row.content.encode(), row.recorded_us, row.seq)).hexdigest()
    store._entries.append(row._replace(leaf_hash=row.leaf_hash or leaf))
    for leg, (transfer, pair) in enumerate(zip(entry.transfers, legs, strict=False)):
        store._transfers.append(
            TransferRow(seq, leg, 1, *pair, transfer.amount or 0, int(transfer.phase), None, None, None)
        )
        store._seqs.append(seq)
    store._head = store._head._replace(seq=row.seq, recorded_us=row.recorded_us)


def number(store: MemoryStore, account: Account) -> int:
    return store._balances[account].account_id


def two_assets(house: House, store: MemoryStore) -> None:
    leg = move(house.source(), house.wallet(0), 5)
    mixed = Entry("mixed/1", "test.done", (leg,))
    content = mixed.content.replace(f"credit:{COIN.code}".encode(), f"credit:{OTHER.code}".encode())
    forge(house, store, mixed, content=content.decode(), request_hash=hashlib.sha256(content).hexdigest())


def a_limit_passed(house: House, store: MemoryStore) -> None:
    forge(house, store, Entry("over/1", "test.done", (move(house.wallet(0), house.wallet(1), 10**6),)))


def resolved_twice(house: House, store: MemoryStore) -> None:
    forge(house, store, Entry("settled/2", "test.done", (settle(PendingRef("hold/1", 0), 1),)))


def more_than_pending(house: House, store: MemoryStore) -> None:
    house.ledger.post(Entry("hold/2", "test.done", (hold(house.source(), house.wallet(1), 4, None),)))
    forge(house, store, Entry("settled/3", "test.done", (settle(PendingRef("hold/2", 0), 5),)))


def a_balance_off(house: House, store: MemoryStore) -> None:
    store._balances[house.wallet(0)].credit_posted += 1


def a_balance_that_did_not_move(house: House, store: MemoryStore) -> None:
    leg, pair = move(house.source(), house.wallet(0), 5), (house.source(), house.wallet(0))
    forge(house, store, Entry("unmoved/1", "test.done", (leg,)), (tuple(number(store, name) for name in pair),))


def a_transfer_dropped(house: House, store: MemoryStore) -> None:
    house.fund(0, 7, "fund/2")
    store._transfers.pop()
    store._seqs.pop()


def a_transfer_of_nobody(house: House, store: MemoryStore) -> None:
    forge(house, store, Entry("note/1", "test.done"))
    store._transfers.append(TransferRow(store._head.seq, 0, 1, 1, 2, 5, int(Phase.SINGLE), None, None, None))
    store._seqs.append(store._head.seq)


def an_id_twice(house: House, store: MemoryStore) -> None:
    forge(house, store, Entry("fund/1", "funds.given"))


def another_request(house: House, store: MemoryStore) -> None:
    forge(house, store, Entry("note/1", "test.done"), request_hash="0" * 64)


def filed_under_another_name(house: House, store: MemoryStore) -> None:
    forge(house, store, Entry("note/1", "test.done"), entry_id="note/2")


def another_leaf(house: House, store: MemoryStore) -> None:
    forge(house, store, Entry("note/1", "test.done"), leaf_hash="0" * 64)


def history_rewritten(house: House, store: MemoryStore) -> None:
    row = store._entries[1]
    content = row.content.replace("100", "900")
    leaf = hashlib.sha256(b"\x00" + leaf_bytes(content.encode(), row.recorded_us, row.seq)).hexdigest()
    store._entries[1] = row._replace(content=content, leaf_hash=leaf)


def a_seal_of_another_log(house: House, store: MemoryStore) -> None:
    make_seal(store, SigningKey(b"\x01" * 32), house.clock)
    store._seals[-1] = store._seals[-1]._replace(log_root="0" * 64)


def a_seal_of_other_balances(house: House, store: MemoryStore) -> None:
    make_seal(store, SigningKey(b"\x01" * 32), house.clock)
    store._seals[-1] = store._seals[-1]._replace(state_root="0" * 64)


def a_seal_of_the_future(house: House, store: MemoryStore) -> None:
    make_seal(store, SigningKey(b"\x01" * 32), house.clock)
    store._seals[-1] = store._seals[-1]._replace(to_seq=10**6)


def time_stands(house: House, store: MemoryStore) -> None:
    forge(house, store, Entry("note/1", "test.done"), recorded_us=store._head.recorded_us)


def a_gap(house: House, store: MemoryStore) -> None:
    forge(house, store, Entry("note/1", "test.done"), seq=store._head.seq + 2)


FORGERIES: tuple[tuple[str, Forgery], ...] = (
    ("I1", two_assets),
    ("I2", a_limit_passed),
    ("I3", resolved_twice),
    ("I3", more_than_pending),
    ("I4", a_balance_off),
    ("I4", a_balance_that_did_not_move),
    ("I4", a_transfer_dropped),
    ("I4", a_transfer_of_nobody),
    ("I4", a_seal_of_other_balances),
    ("I5", an_id_twice),
    ("I5", another_request),
    ("I5", filed_under_another_name),
    ("I6", another_leaf),
    ("I6", history_rewritten),
    ("I6", a_seal_of_another_log),
    ("I6", a_seal_of_the_future),
    ("I7", time_stands),
    ("I7", a_gap),
)


@pytest.mark.parametrize(("invariant", "forgery"), FORGERIES, ids=lambda value: getattr(value, "__name__", value))
def test_a_forgery_breaks_what_it_breaks(house, invariant, forgery):
    auditor = Auditor(house.store)
    auditor.step()
    auditor.sweep()
    forgery(house, house.store)
    with pytest.raises(Broken) as broken:
        auditor.step()
        auditor.sweep()
    assert broken.value.invariant == invariant


def test_what_is_sound_is_not_complained_of(house):
    auditor = Auditor(house.store)
    assert auditor.step() == 4
    make_seal(house.store, SigningKey(b"\x01" * 32), house.clock)
    house.fund(1, 5, "fund/2")
    make_seal(house.store, SigningKey(b"\x01" * 32), house.clock)
    assert auditor.step() == 1
    auditor.sweep()
    assert auditor.sealed == 2
