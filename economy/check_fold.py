"""The checker's fold: every entry's own words, in order, against the rows that are stored for it.

When a hold was due is told from the log alone. A batch begins at a time of the clock and its entries follow each other
by single microseconds, so the batch of an entry began no earlier than the first of such a run; whatever was due by then
has been voided before any other entry of the batch.
"""

from __future__ import annotations

import heapq
from array import array
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated, Any

import msgspec

from economy.book import EntryRow, TransferRow
from economy.chart import Limit
from economy.check_accounts import DIRTY, Accounts
from economy.entry import AMOUNT_MAX, TIMEOUT_S_MAX
from economy.findings import Fault, Finding, Notice
from economy.store import Snapshot

_CREDIT, _DEBIT = int(Limit.CREDIT), int(Limit.DEBIT)
_EXPIRY = "expiry/"

Amount = Annotated[int, msgspec.Meta(gt=0, le=AMOUNT_MAX)]
Seconds = Annotated[int, msgspec.Meta(gt=0, le=TIMEOUT_S_MAX)]
Ref = tuple[str, int]
Expected = tuple[int, int, int, int, int, int, int, int | None, int | None, int | None]


class Leg(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A transfer as an entry's body says it; absent members by their defaults."""

    amount: Amount | None = None
    credit: str = ""
    debit: str = ""
    timeout_s: Seconds | msgspec.UnsetType | None = msgspec.UNSET
    post: Ref | None = None
    void: Ref | None = None


class Body(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """An entry's body."""

    id: str
    kind: str
    transfers: list[Leg] = []
    facts: msgspec.Raw = msgspec.Raw(b"{}")
    declares: msgspec.Raw = msgspec.Raw()
    effective_ms: int | None = None


class Held(msgspec.Struct, gc=False):
    """A pending transfer that no entry has resolved yet: where, between which places, how much, until when."""

    seq: int
    leg: int
    debit: int
    credit: int
    amount: int
    expires_us: int | None


_DECODER = msgspec.json.Decoder(Body)


class Fold:
    """The ledger as the log says it is, so far.

    Parameters
    ----------
    snapshot
        Where an old pending transfer is looked up.
    accounts
        With the totals to begin with.
    previous
        Number and time of the entry before the first; zeros when there is none.
    """

    def __init__(self, snapshot: Snapshot, accounts: Accounts, previous: tuple[int, int] = (0, 0)) -> None:
        self.accounts, self._snapshot = accounts, snapshot
        self.findings: list[Finding] = []
        self.transfers, self.closed_until_ms = 0, 0
        self.seq, self._recorded_us = previous
        self._start_us, self._since = previous[1], previous[0]
        self._held: dict[Ref, Held] = {}
        self._due: list[tuple[int, str, int]] = []
        self._ids: defaultdict[int, array[int]] = defaultdict(lambda: array("q"))
        self.readers: dict[str, Callable[[EntryRow, Body], None]] = {}
        self.declared: Callable[[EntryRow, Body], None] = _pass

    def report(self, fault: Fault | Notice, place: str) -> None:
        """One more finding."""
        self.findings.append(Finding(fault, place))

    def page(self, rows: Sequence[EntryRow], legs: Sequence[TransferRow], stops: dict[int, Callable[[], None]]) -> None:
        """Fold entries and compare them with their transfers; call what is to be called after one of them."""
        at, count, decode, readers = 0, len(legs), _DECODER.decode, self.readers
        self.transfers += count
        for row in rows:
            seq = row[0]
            while at < count and legs[at][0] < seq:
                self.report(Fault.TRANSFER_MISMATCH, f"entry {legs[at][0]}")
                at += 1
            try:
                body = decode(row[6])
            except (msgspec.MsgspecError, UnicodeError):
                body = None
            self._place(row, body)
            expected = [] if body is None else self._legs(row, body)
            if self._due and self._due[0][0] <= self._start_us and not row[1].startswith(_EXPIRY):
                self._overdue()
            end = at + len(expected)
            if legs[at:end] != expected or (end < count and legs[end][0] == seq):
                end = at
                while end < count and legs[end][0] == seq:
                    end += 1
                if body is not None:
                    self.report(Fault.TRANSFER_MISMATCH, f"entry {seq}")
            at = end
            if body is not None:
                if body.declares:
                    self.declared(row, body)
                if (reader := readers.get(row[2])) is not None:
                    reader(row, body)
            if seq in stops:
                stops[seq]()
        for leg in legs[at:]:
            self.report(Fault.TRANSFER_MISMATCH, f"entry {leg[0]}")

    def _place(self, row: EntryRow, body: Body | None) -> None:
        """Its number, time and name."""
        seq, entry_id, kind, _, recorded_us, effective_ms, _, _ = row
        if seq != self.seq + 1:
            self.report(Fault.SEQUENCE_GAP, f"entry {seq}")
        if recorded_us <= self._recorded_us:
            self.report(Fault.TIME_NOT_INCREASING, f"entry {seq}")
        if recorded_us != self._recorded_us + 1:
            self._start_us = recorded_us
        self.seq, self._recorded_us = seq, recorded_us
        number = hash(entry_id)
        self._ids[number & 255].append(number)
        if body is None:
            self.report(Fault.BODY_MALFORMED, f"entry {seq}")
            return
        if body.id != entry_id or body.kind != kind:
            self.report(Fault.HASH_MISMATCH, f"entry {seq}")
        said_ms = body.effective_ms
        if effective_ms != (recorded_us // 1000 if said_ms is None else said_ms):
            self.report(Fault.VALUE_DATE_MISMATCH, f"entry {seq}")
        if said_ms is not None and said_ms < self.closed_until_ms:
            self.report(Fault.PERIOD_VIOLATED, f"entry {seq}")

    def _legs(self, row: EntryRow, body: Body) -> list[Expected]:
        expected: list[Expected] = []
        accounts, seq = self.accounts, row[0]
        names, touched, ids, assets, limits = (
            accounts.names,
            accounts.touched,
            accounts.ids,
            accounts.assets,
            accounts.limits,
        )
        for leg, said in enumerate(body.transfers):
            amount = said.amount
            if said.debit == "" or amount is None:
                if (resolved := self._resolution(row, leg, said)) is not None:
                    expected.append(resolved)
                continue
            debit, credit = names.get(said.debit), names.get(said.credit)
            if debit is None or credit is None:
                self.report(Fault.UNKNOWN_ACCOUNT, f"entry {seq} leg {leg}")
                continue
            if touched[debit] != DIRTY and not accounts.touch(debit):
                self.report(Fault.ACCOUNT_OUT_OF_ORDER, f"account {said.debit}")
            if touched[credit] != DIRTY and not accounts.touch(credit):
                self.report(Fault.ACCOUNT_OUT_OF_ORDER, f"account {said.credit}")
            asset = assets[debit]
            if asset != assets[credit] or debit == credit or said.post is not None or said.void is not None:
                self.report(Fault.BODY_MALFORMED, f"entry {seq} leg {leg}")
            if said.timeout_s is msgspec.UNSET:
                accounts.debit_posted[debit] += amount
                accounts.credit_posted[credit] += amount
                expected.append((seq, leg, asset, ids[debit], ids[credit], amount, 0, None, None, None))
            else:
                expires_us = self._hold(row, leg, said.timeout_s, debit, credit, amount)
                expected.append((seq, leg, asset, ids[debit], ids[credit], amount, 1, None, None, expires_us))
            if limits[debit] == _CREDIT and accounts.spent(debit) > 0:
                self.report(Fault.LIMIT_VIOLATED, f"entry {seq} account {said.debit}")
            if limits[credit] == _DEBIT and accounts.received(credit) > 0:
                self.report(Fault.LIMIT_VIOLATED, f"entry {seq} account {said.credit}")
        return expected

    def _hold(self, row: EntryRow, leg: int, timeout_s: Any, debit: int, credit: int, amount: int) -> int | None:
        expires_us = None if timeout_s is None else row.recorded_us + timeout_s * 1_000_000
        self.accounts.debit_pending[debit] += amount
        self.accounts.credit_pending[credit] += amount
        self._held[row.entry_id, leg] = Held(row.seq, leg, debit, credit, amount, expires_us)
        if expires_us is not None:
            heapq.heappush(self._due, (expires_us, row.entry_id, leg))
        return expires_us

    def _overdue(self) -> None:
        """Report what a batch should have voided before this entry."""
        while self._due and self._due[0][0] <= self._start_us:
            _, entry_id, leg = heapq.heappop(self._due)
            if (held := self._held.get((entry_id, leg))) is not None:
                self.report(Fault.NOT_EXPIRED, f"entry {held.seq} leg {leg}")

    def _resolution(self, row: EntryRow, leg: int, said: Leg) -> Expected | None:
        place, accounts = f"entry {row.seq} leg {leg}", self.accounts
        ref = said.post or said.void
        if ref is None or said.debit or said.credit or (said.post and said.void):
            self.report(Fault.BODY_MALFORMED, place)
            return None
        held = self._held.pop(ref, None)
        if held is None:
            held = self._old(ref)
            if held is None:
                self.report(Fault.PENDING_UNKNOWN, place)
                return None
            if held.seq > self._since or _is_resolved(self._snapshot, held, self._since):
                self.report(Fault.DOUBLE_RESOLUTION, place)
        amount = held.amount if said.amount is None else said.amount
        if amount > held.amount:
            self.report(Fault.EXCEEDS_PENDING, place)
        self._check_expiry(row, held, place)
        for touched in (held.debit, held.credit):
            if accounts.touched[touched] != DIRTY:
                accounts.touch(touched)
        accounts.debit_pending[held.debit] -= held.amount
        accounts.credit_pending[held.credit] -= held.amount
        if said.post:
            accounts.debit_posted[held.debit] += amount
            accounts.credit_posted[held.credit] += amount
        ids = (accounts.assets[held.debit], accounts.ids[held.debit], accounts.ids[held.credit])
        return (row.seq, leg, *ids, amount, 2 if said.post else 3, held.seq, held.leg, None)

    def _check_expiry(self, row: EntryRow, held: Held, place: str) -> None:
        """Only an expiry resolves what is due, and only then."""
        due = held.expires_us
        if row.entry_id.startswith(_EXPIRY):
            if due is None or row.recorded_us < due or row.entry_id != f"{_EXPIRY}{held.seq}/{held.leg}":
                self.report(Fault.EXPIRED_EARLY, place)
        elif due is not None and due <= self._start_us:
            self.report(Fault.RESOLVED_AFTER_EXPIRY, place)

    def _old(self, ref: Ref) -> Held | None:
        """A pending transfer that is resolved already, or is older than where the fold began."""
        row = self._snapshot.find([ref[0]]).get(ref[0])
        if row is None or row.seq >= self.seq:
            return None
        try:
            said = _DECODER.decode(row.content).transfers[ref[1]]
        except (msgspec.MsgspecError, IndexError):
            return None
        names = self.accounts.names
        debit, credit, timeout_s = names.get(said.debit), names.get(said.credit), said.timeout_s
        if debit is None or credit is None or said.amount is None or timeout_s is msgspec.UNSET:
            return None
        expires_us = row.recorded_us + timeout_s * 1_000_000 if isinstance(timeout_s, int) else None
        return Held(row.seq, ref[1], debit, credit, said.amount, expires_us)

    def duplicates(self) -> None:
        """Report entries whose id another has; ids are remembered by their hash, and only those that meet read again."""
        suspects = set[int]()
        for numbers in self._ids.values():
            ordered = sorted(numbers)
            suspects.update(left for left, right in pairwise(ordered) if left == right)
        if not suspects:
            return
        seen, after = set[str](), self._since
        while rows := self._snapshot.log(after, 10_000):
            for row in rows:
                if hash(row.entry_id) in suspects:
                    if row.entry_id in seen:
                        self.report(Fault.DUPLICATE_ENTRY, f"entry {row.seq}")
                    seen.add(row.entry_id)
            after = rows[-1].seq


def _pass(row: EntryRow, body: Body) -> None:
    """Declarations are nobody's business."""


def _is_resolved(snapshot: Snapshot, held: Held, upto: int) -> bool:
    """Whether an entry before the fold began resolved it: its account's rows say so."""
    legs = [row.debit_id for row in snapshot.transfers(held.seq - 1, held.seq) if row.leg == held.leg]
    rows = snapshot.transfers(held.seq, upto, legs)
    return any((row.pending_seq, row.pending_leg) == (held.seq, held.leg) for row in rows)
