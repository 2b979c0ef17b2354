"""The ledger: one writer, group commit.

`post` may be called from any thread and returns once the entry is durable. A writer thread takes whatever has come in
meanwhile (up to `BATCH_ENTRIES_MAX` entries; when several callers are at it, it waits up to 2 ms for more), decides each
entry in memory, writes the batch in one transaction and answers everybody: a hot account costs no more than a cold one.

Bulk entries, as an epoch's booking makes by the thousand, wait in a lane of their own. The writer takes one batch from
each lane in turn, and a bulk batch has at most `BULK_TRANSFERS_MAX` transfers: whatever is booked in bulk, another entry
waits for one such batch at most, and bulk is never starved either.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Sequence
from functools import partial
from typing import NamedTuple

from bithive.clock import Clock
from bithive.errors import BitHiveError, Fault
from bithive.limits import BATCH_ENTRIES_MAX, BATCH_TRANSFERS_MAX, BULK_TRANSFERS_MAX
from bithive.log import get
from economy.book import Balance, EntryRow, Wanted
from economy.chart import CHART, Chart
from economy.entry import Account, Entry
from economy.errors import BadEntry, EntryRunning, EntryUnknown, LedgerFault, LedgerUnavailable
from economy.plan import decide, expire
from economy.store import Store

_LINGER_S = 0.002


class Recorded(NamedTuple):
    """The answer to a posted entry.

    Attributes
    ----------
    seq, recorded_us
        Its place in the log, and when (microseconds since the epoch).
    replayed
        It was recorded before, with this very content; nothing happened now.
    """

    seq: int
    recorded_us: int
    replayed: bool


class _Ticket:
    __slots__ = ("answer", "done", "entry")

    def __init__(self, entry: Entry, done: threading.Event) -> None:
        self.entry, self.done = entry, done
        self.answer: Recorded | BitHiveError | None = None


class Ledger:
    """One ledger, one writer thread.

    Parameters
    ----------
    store
        Where it is kept. Closed with the ledger.
    clock
        Times are never before the last entry's, whatever the clock says.
    chart
        Which account codes exist, and their limits.
    """

    def __init__(self, store: Store, clock: Clock, chart: Chart = CHART) -> None:
        self.store, self.clock, self._chart = store, clock, chart
        self._waiting: deque[_Ticket] = deque()
        self._bulk: deque[_Ticket] = deque()
        self._bulk_next = False
        self._running: dict[str, threading.Event] = {}
        self._change = threading.Condition()
        self._closed = False
        self._writer = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._writer.start()

    def post(self, entry: Entry) -> Recorded:
        """Record an entry; durable when this returns.

        Raises
        ------
        EntryRunning
            Another caller's entry of this id is being recorded: post it again in a moment.
        Refused
            A leaf of `economy.errors`: nothing was recorded and the same id may be tried again.
        LedgerUnavailable
            It is not known whether the entry was recorded: post it again, under the same id.
        """
        answer = self.post_all([entry])[0]
        if isinstance(answer, BitHiveError):
            raise answer
        return answer

    def post_all(self, entries: Sequence[Entry], bulk: bool = False) -> list[Recorded | BitHiveError]:
        """Record many, in order; one answer each. Each stands alone: one that is refused stops no other.

        Parameters
        ----------
        bulk
            Takes the second lane: many entries that nobody waits for.
        """
        for entry in entries:
            if entry.entry_id.startswith("expiry/"):
                raise BadEntry("expiries are made by the ledger alone")
        done = threading.Event()
        tickets = [_Ticket(entry, done) for entry in entries]
        with self._change:
            if self._closed:
                raise LedgerUnavailable
            queued = [ticket for ticket in tickets if self._admit(ticket)]
            (self._bulk if bulk else self._waiting).extend(queued)
            self._change.notify()
        while queued and queued[-1].answer is None:
            done.wait()
            done.clear()
        return [_answered(ticket) for ticket in tickets]

    def _admit(self, ticket: _Ticket) -> bool:
        """One caller at a time has an id in the queue."""
        if self._running.setdefault(ticket.entry.entry_id, ticket.done) is ticket.done:
            return True
        ticket.answer = EntryRunning(entry=ticket.entry.entry_id)
        return False

    def expire(self) -> int:
        """Void what is due, now rather than before the next entry; how many."""
        with self.store.writing() as transaction:
            book = transaction.load(Wanted(), self.clock.now_ms())
            count = expire(book, self._chart)
            if count:
                transaction.write(book.changes)
        return count

    def find(self, entry_id: str) -> EntryRow | None:
        """A recorded entry, if there is one."""
        with self.store.reading() as snapshot:
            return snapshot.find([entry_id]).get(entry_id)

    def get(self, entry_id: str) -> EntryRow:
        """A recorded entry. Raises `EntryUnknown`."""
        row = self.find(entry_id)
        if row is None:
            raise EntryUnknown
        return row

    def balance(self, account: Account) -> Balance | None:
        """An account's totals; nothing when no entry has opened it."""
        return next(iter(self.balances([account])), None)

    def balances(self, accounts: Collection[Account] | None = None) -> list[Balance]:
        """Totals of the accounts named, or of all, at one moment."""
        with self.store.reading() as snapshot:
            return snapshot.accounts(accounts)

    def close(self) -> None:
        """Record what is waiting, then stop. Safe to call more than once."""
        with self._change:
            self._closed = True
            self._change.notify()
        self._writer.join()
        self.store.close()

    def _run(self) -> None:
        callers = 1
        while True:
            with self._change:
                while not (self._waiting or self._bulk or self._closed):
                    self._change.wait()
                if not (self._waiting or self._bulk):
                    return
                bulk = bool(self._bulk) and (self._bulk_next or not self._waiting)
                if not bulk and callers > 1:
                    self._change.wait_for(partial(self._enough, callers), _LINGER_S)
                batch = _take(self._bulk, BULK_TRANSFERS_MAX) if bulk else _take(self._waiting, BATCH_TRANSFERS_MAX)
                self._bulk_next = not bulk
            self._commit(batch)
            waiters = {ticket.done for ticket in batch}
            callers = callers if bulk else len(waiters)
            with self._change:
                for ticket in batch:
                    if self._running.get(ticket.entry.entry_id) is ticket.done:
                        del self._running[ticket.entry.entry_id]
            for done in waiters:
                done.set()

    def _enough(self, callers: int) -> bool:
        return self._closed or len(self._waiting) >= min(callers, BATCH_ENTRIES_MAX)

    def _commit(self, batch: list[_Ticket]) -> None:
        try:
            answers = self._decide([ticket.entry for ticket in batch])
        except LedgerUnavailable as error:
            answers = [error] * len(batch)
        except Exception as error:  # noqa: BLE001 - a defect is answered, and never ends the writer
            get().error("ledger.batch_failed", count=len(batch), exc_info=error)
            if len(batch) > 1:
                for ticket in batch:
                    self._commit([ticket])
                return
            answers = [error if isinstance(error, Fault) else LedgerFault()]
        for ticket, answer in zip(batch, answers, strict=True):
            ticket.answer = answer

    def _decide(self, entries: list[Entry]) -> list[Recorded | BitHiveError]:
        answers: list[Recorded | BitHiveError] = []
        with self.store.writing() as transaction:
            book = transaction.load(Wanted.by(entries), self.clock.now_ms())
            expire(book, self._chart)
            for entry in entries:
                try:
                    known, replayed = decide(book, entry, self._chart)
                    answers.append(Recorded(known.seq, known.recorded_us, replayed))
                except BitHiveError as error:
                    answers.append(error)
            if book.changes.entries:
                transaction.write(book.changes)
        return answers


def _take(lane: deque[_Ticket], transfers_max: int) -> list[_Ticket]:
    """The next batch of a lane; at least one entry, whatever its size."""
    batch: list[_Ticket] = []
    transfers = 0
    while lane and len(batch) < BATCH_ENTRIES_MAX:
        transfers += len(lane[0].entry.transfers)
        if batch and transfers > transfers_max:
            break
        batch.append(lane.popleft())
    return batch


def _answered(ticket: _Ticket) -> Recorded | BitHiveError:
    assert ticket.answer is not None, "an event is set after its answers"
    return ticket.answer
