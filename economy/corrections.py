"""Corrections: what was recorded stays, and another entry moves it back. There is no other way to correct.

A correction undoes what an entry itself did: what it moved is moved back, what it reserved and nobody has resolved since
is released, the last leg first. What a later entry did about a hold is corrected by correcting that entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from economy.book import EntryRow, TransferRow
from economy.entry import Account, Entry, PendingRef, Phase, Transfer, move, release
from economy.errors import BadEntry, EntryUnknown
from economy.ledger import Ledger, Recorded
from economy.store import Snapshot


class Leg(NamedTuple):
    """A recorded transfer with its accounts by name.

    Attributes
    ----------
    leg
        Its place in the entry, from 0.
    open
        It reserves, and has been neither posted nor voided.
    """

    leg: int
    phase: Phase
    debit: Account
    credit: Account
    amount: int
    open: bool = False


def legs_of(snapshot: Snapshot, row: EntryRow) -> list[Leg]:
    """The transfers of a recorded entry, and which of its holds are still open."""
    rows = snapshot.transfers(row.seq - 1, row.seq)
    touched = {number for item in rows for number in (item.debit_id, item.credit_id)}
    names = _names(snapshot, touched)
    resolved: set[int | None] = set()
    if any(item.phase == Phase.PENDING for item in rows):
        later = snapshot.transfers(row.seq, snapshot.head().seq, touched)
        resolved = {item.pending_leg for item in later if item.pending_seq == row.seq}
    return [_leg(item, names, resolved) for item in rows]


def correction(row: EntryRow, legs: Sequence[Leg], reason: str, number: int = 1) -> Entry:
    """The entry that undoes another one.

    Parameters
    ----------
    legs
        All of the entry's, from `legs_of`.
    reason
        In words, for the statement: never a name, a UID or a clinical value.
    number
        1 for the first correction of this entry.

    Raises
    ------
    BadEntry
        If the entry moved nothing and holds nothing.
    """
    back = [_back(row, item) for item in reversed(legs)]
    transfers = tuple(item for item in back if item is not None)
    if not transfers:
        raise BadEntry("the entry holds nothing that can be moved back")
    facts = {"corrects": row.entry_id, "reason": reason}
    return Entry(f"correction/{row.entry_id}/{number}", "entry.corrected", transfers, facts)


def correct(ledger: Ledger, entry_id: str, reason: str, number: int = 1) -> Recorded:
    """Undo a recorded entry by a new one, once however often this is called.

    Raises
    ------
    EntryUnknown
        If no such entry is recorded.
    Refused
        If what was moved has been spent since: the limits hold for corrections too.
    """
    with ledger.store.reading() as snapshot:
        found = snapshot.find([entry_id, f"correction/{entry_id}/{number}"])
        row, done = found.get(entry_id), found.get(f"correction/{entry_id}/{number}")
        if row is None:
            raise EntryUnknown
        if done is not None:
            return Recorded(done.seq, done.recorded_us, replayed=True)
        entry = correction(row, legs_of(snapshot, row), reason, number)
    return ledger.post(entry)


def _names(snapshot: Snapshot, numbers: set[int]) -> dict[int, Account]:
    names: dict[int, Account] = {}
    for number in sorted(numbers):
        for balance in snapshot.accounts(after_id=number - 1, limit=1):
            names[balance.account_id] = balance.account
    return names


def _leg(row: TransferRow, names: dict[int, Account], resolved: set[int | None]) -> Leg:
    still = row.phase == Phase.PENDING and row.leg not in resolved
    return Leg(row.leg, Phase(row.phase), names[row.debit_id], names[row.credit_id], row.amount, still)


def _back(row: EntryRow, leg: Leg) -> Transfer | None:
    if leg.phase in (Phase.SINGLE, Phase.POST):
        return move(leg.credit, leg.debit, leg.amount)
    return release(PendingRef(row.entry_id, leg.leg)) if leg.open else None
