"""The writer, when its store fails it."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from economy.check import check
from economy.entry import Entry, move
from economy.errors import EntryUnknown, LedgerFault, LedgerUnavailable
from economy.store import MemoryStore
from tests.common.economy import House


class FailingStore(MemoryStore):
    """Fails as told: before the write, or after it, as a database that dies with the answer on its way."""

    def __init__(self):
        super().__init__()
        self.before = self.after = False
        self.batches = []

    @contextmanager
    def writing(self):
        if self.before:
            raise LedgerUnavailable
        with super().writing() as transaction:
            yield transaction
        if self.after:
            raise LedgerUnavailable

    def write(self, changes):
        self.batches.append(len(changes.entries))
        super().write(changes)


@pytest.fixture
def house():
    house = House(FailingStore())
    yield house
    house.store.before = house.store.after = False
    assert check(house.store).findings == []
    house.ledger.close()


def entry(house, name, amount=1):
    return Entry(name, "test.done", (move(house.source(), house.wallet(0), amount),))


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_unavailable_store_is_asked_again_without_doubling(house, when):
    setattr(house.store, when, True)
    with pytest.raises(LedgerUnavailable):
        house.ledger.post(entry(house, "fund/1"))
    setattr(house.store, when, False)
    assert house.ledger.post(entry(house, "fund/1")).replayed is (when == "after")
    assert house.net(house.wallet(0)) == 1


def test_a_poisoned_entry_is_singled_out(house, monkeypatch):
    write = FailingStore.write

    def poisoned(self, changes):
        if any(row.entry_id == "fund/3" for row in changes.entries):
            raise ZeroDivisionError
        write(self, changes)

    monkeypatch.setattr(FailingStore, "write", poisoned)
    with capture_logs() as logs:
        answers = house.ledger.post_all([entry(house, f"fund/{number}") for number in range(6)])
    assert [isinstance(answer, LedgerFault) for answer in answers] == [number == 3 for number in range(6)]
    assert "ledger.batch_failed" in {log["event"] for log in logs}
    assert house.net(house.wallet(0)) == 5


def test_batches_keep_within_their_limits(house):
    legs = (move(house.source(), house.wallet(0), 1),) * 900
    many = [Entry(f"big/{number}", "test.done", legs) for number in range(10)]
    house.ledger.post_all(many)
    small = [entry(house, f"small/{number}") for number in range(2500)]
    house.ledger.post_all(small)
    assert max(house.store.batches) <= 1000
    assert house.store.batches[1:4] == [4, 4, 2]
    assert house.net(house.wallet(0)) == 9000 + 2500


def test_a_crowd_is_written_together(house):
    gate = threading.Barrier(20)

    def write(number):
        gate.wait()
        for count in range(20):
            house.ledger.post(entry(house, f"e/{number}/{count}"))

    crowd = [threading.Thread(target=write, args=(number,)) for number in range(20)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert sum(house.store.batches) == 401
    assert len(house.store.batches) < 300


def test_closing_records_what_waits(house):
    held = threading.Event()
    go = threading.Event()
    load = house.store.load

    def slow(wanted, now_ms):
        held.set()
        go.wait(5)
        return load(wanted, now_ms)

    house.store.load = slow
    answers = []
    thread = threading.Thread(target=lambda: answers.append(house.ledger.post(entry(house, "fund/1"))))
    thread.start()
    held.wait(5)
    closing = threading.Thread(target=house.ledger.close)
    closing.start()
    go.set()
    thread.join()
    closing.join()
    assert len(answers) == 1
    house.store._closed = False


def test_nothing_is_posted_by_nothing(house):
    assert house.ledger.post_all([]) == []
    with pytest.raises(EntryUnknown):
        house.ledger.get("none")
