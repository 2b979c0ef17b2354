"""What was recorded stays; another entry moves it back."""

from __future__ import annotations

import json

import pytest

from economy.check import check
from economy.corrections import Leg, correct, correction, legs_of
from economy.entry import Entry, PendingRef, Phase, hold, move, release, settle
from economy.errors import BadEntry, EntryUnknown, InsufficientFunds
from economy.store import MemoryStore
from tests.common.economy import House


@pytest.fixture
def house():
    house = House(MemoryStore())
    house.fund(0, 100)
    yield house
    assert check(house.store).findings == []
    house.ledger.close()


def post(house, name, *transfers):
    house.ledger.post(Entry(name, "test.done", transfers))


def totals(house):
    return [house.available(house.wallet(member)) for member in range(3)]


def test_what_moved_moves_back_and_what_is_held_is_released(house):
    post(
        house,
        "trade",
        move(house.wallet(0), house.wallet(1), 30),
        hold(house.wallet(0), house.wallet(2), 20, None),
        move(house.wallet(1), house.wallet(2), 5),
    )
    assert totals(house) == [50, 25, 5]
    recorded = correct(house.ledger, "trade", "entered twice")
    assert totals(house) == [100, 0, 0]
    row = house.ledger.get("correction/trade/1")
    assert row.seq == recorded.seq
    assert row.kind == "entry.corrected"
    assert json.loads(row.content)["facts"] == {"corrects": "trade", "reason": "entered twice"}
    assert house.ledger.get("trade").seq == 3


def test_once_however_often_it_is_asked_for(house):
    post(house, "pay", move(house.wallet(0), house.wallet(1), 30))
    first = correct(house.ledger, "pay", "wrong party")
    assert correct(house.ledger, "pay", "wrong party") == first._replace(replayed=True)
    assert correct(house.ledger, "pay", "told in other words") == first._replace(replayed=True)
    assert totals(house) == [100, 0, 0]


def test_a_hold_that_was_resolved_since_is_left_to_what_resolved_it(house):
    post(
        house, "hold", hold(house.wallet(0), house.wallet(1), 40, None), hold(house.wallet(0), house.wallet(2), 9, None)
    )
    post(house, "settle", settle(PendingRef("hold", 0), 25))
    correct(house.ledger, "hold", "no longer wanted")
    assert totals(house) == [75, 25, 0]
    correct(house.ledger, "settle", "too much")
    assert totals(house) == [100, 0, 0]


def test_a_correction_is_corrected_like_any_other(house):
    post(house, "pay", move(house.wallet(0), house.wallet(1), 30))
    correct(house.ledger, "pay", "wrong")
    correct(house.ledger, "correction/pay/1", "it was right after all")
    assert totals(house) == [70, 30, 0]
    correct(house.ledger, "pay", "wrong indeed", number=2)
    assert totals(house) == [100, 0, 0]


def test_what_has_been_spent_since_cannot_be_moved_back(house):
    post(house, "pay", move(house.wallet(0), house.wallet(1), 30))
    post(house, "spend", move(house.wallet(1), house.wallet(2), 30))
    with pytest.raises(InsufficientFunds):
        correct(house.ledger, "pay", "too late")
    assert totals(house) == [70, 0, 30]


def test_there_must_be_something_to_move_back(house):
    with pytest.raises(EntryUnknown):
        correct(house.ledger, "none", "why not")
    post(house, "hold", hold(house.wallet(0), house.wallet(1), 40, None))
    post(house, "void", release(PendingRef("hold", 0)))
    for name in ("setup/all", "hold", "void"):
        with pytest.raises(BadEntry):
            correct(house.ledger, name, "nothing in it")


def test_all_legs_of_the_largest_entry(house):
    post(house, "large", *[move(house.source(), house.wallet(n % 3), 1) for n in range(1000)])
    with house.store.reading() as snapshot:
        row = snapshot.find(["large"])["large"]
        legs = legs_of(snapshot, row)
    assert legs[999] == Leg(999, Phase.SINGLE, house.source(), house.wallet(0), 1)
    entry = correction(row, legs, "all of it", number=3)
    assert entry.entry_id == "correction/large/3"
    house.ledger.post(entry)
    assert totals(house) == [100, 0, 0]
