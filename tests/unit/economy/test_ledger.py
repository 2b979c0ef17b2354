"""The writer, when its store fails it."""

from __future__ import annotations

import itertools
import threading
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from bithive.limits import BATCH_ENTRIES_MAX
from bithive.outbox import Event, MemoryOutbox, Relay
from economy.check import check
from economy.entry import Entry, move
from economy.errors import EntryRunning, EntryUnknown, InsufficientFunds, LedgerFault, LedgerUnavailable
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
    assert max(house.store.batches) <= BATCH_ENTRIES_MAX
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


class Gate:
    """Holds the writer inside its next batch."""

    def __init__(self, store):
        self.reached, self.opened, self._load, self._store = threading.Event(), threading.Event(), store.load, store
        store.load = self._slow

    def _slow(self, wanted, now_ms):
        self._store.load = self._load
        self.reached.set()
        assert self.opened.wait(10)
        return self._load(wanted, now_ms)


def in_thread(call):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(call()))
    thread.start()
    return thread, answers


def test_an_id_that_another_caller_has_under_way_is_running(house):
    gate = Gate(house.store)
    first, answers = in_thread(lambda: house.ledger.post(entry(house, "fund/1")))
    assert gate.reached.wait(10)
    queued, more = in_thread(lambda: house.ledger.post_all([entry(house, "fund/2")], bulk=True))
    while not house.ledger._bulk:
        assert queued.is_alive()
    try:
        for name, amount in (("fund/1", 1), ("fund/1", 2), ("fund/2", 1)):
            with pytest.raises(EntryRunning) as running:
                house.ledger.post(entry(house, name, amount))
            assert running.value.status == 409
            assert running.value.context == {"entry": name}
        others, mixed = in_thread(
            lambda: house.ledger.post_all([entry(house, "fund/3"), entry(house, "fund/1"), entry(house, "fund/3")])
        )
    finally:
        gate.opened.set()
    for thread in (first, queued, others):
        thread.join(10)
    assert not answers[0].replayed
    assert not more[0][0].replayed
    recorded, running, again = mixed[0]
    assert isinstance(running, EntryRunning)
    assert again == recorded._replace(replayed=True)
    assert house.ledger.post(entry(house, "fund/1")).replayed
    assert house.ledger._running == {}


def test_what_failed_is_not_running_any_more(house):
    house.store.before = True
    with pytest.raises(LedgerUnavailable):
        house.ledger.post(entry(house, "fund/1"))
    house.store.before = False
    with pytest.raises(InsufficientFunds):
        house.ledger.post(Entry("pay/1", "test.done", (move(house.wallet(1), house.wallet(0), 1),)))
    assert house.ledger._running == {}
    house.fund(1, 5, "fund/1")
    house.ledger.post(Entry("pay/1", "test.done", (move(house.wallet(1), house.wallet(0), 1),)))


def test_an_entry_that_is_running_is_asked_again_by_the_relay(house):
    outbox = MemoryOutbox()
    outbox.append(Event("fund.given", "1", {}))
    relay = Relay(outbox, lambda event: house.ledger.post(entry(house, "fund/1")))
    gate = Gate(house.store)
    first, _ = in_thread(lambda: house.ledger.post(entry(house, "fund/1")))
    assert gate.reached.wait(10)
    try:
        with capture_logs() as logs:
            assert relay.drain() == 0
    finally:
        gate.opened.set()
    first.join(10)
    assert [log["event"] for log in logs] == ["event.refused"]
    assert relay.drain() == 1
    assert house.net(house.wallet(0)) == 1


def test_bulk_waits_for_others_and_others_for_one_bulk_batch(house):
    """With both lanes full, batches come from each in turn, urgent first, and bulk ones are small."""
    legs = (move(house.source(), house.wallet(0), 1),) * 600
    bulk = [Entry(f"bulk/{number}", "test.done", legs) for number in range(4)]
    gate = Gate(house.store)
    threads = [in_thread(lambda: house.ledger.post(entry(house, "first")))]
    assert gate.reached.wait(10)
    threads.append(in_thread(lambda: house.ledger.post_all(bulk, bulk=True)))
    while len(house.ledger._bulk) < 4:
        pass
    urgent = [Entry(f"urgent/{number}", "test.done", legs) for number in range(14)]
    threads.append(in_thread(lambda: house.ledger.post_all(urgent)))
    while len(house.ledger._waiting) < 14:
        pass
    gate.opened.set()
    for thread, _ in threads:
        thread.join(10)
    with house.store.reading() as snapshot:
        order = [row.entry_id.split("/")[0] for row in snapshot.log(1)]
    runs = [(name, len(list(group))) for name, group in itertools.groupby(order)]
    assert [run for run in runs if run[0] == "bulk"] == [("bulk", 1)] * 3 + [("bulk", 1)]
    assert [run for run in runs if run[0] == "urgent"] == [("urgent", 6), ("urgent", 6), ("urgent", 2)]
    assert [answer.seq for answer in threads[1][1][0]] == sorted(answer.seq for answer in threads[1][1][0])


def test_small_bulk_entries_share_a_batch(house):
    house.ledger.post_all([entry(house, f"small/{number}") for number in range(2500)], bulk=True)
    assert house.store.batches[1:] == [250] * 10
