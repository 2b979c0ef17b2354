"""A party's statement: for each of its accounts what it began with, every line, and what it ended with.

What belongs to a period is pinned by places in the log, which never change; so a statement is read in pieces, each from
a snapshot of its own, and a period of a million lines needs no more memory than one of ten. Credits count as positive:
what the ledger owes the party or lets it spend. A hold moves nothing; it is shown as reserved on the account that it
will be taken from and as expected on the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from economy.book import Balance, EntryRow, Seal, TransferRow
from economy.chart import CHART
from economy.entry import Account, Asset, Phase
from economy.errors import PartyUnknown
from economy.line_words import words
from economy.statement_period import Period
from economy.store import Snapshot, Store, seq_at

_STRETCH = 2_000
_TOGETHER = 200
_SPARSE = 20
_NAMES_MAX = 10_000
_RECEIPT = "receipt/"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class AccountPart(NamedTuple):
    """One account's part of a statement; amounts in the asset's smallest unit.

    Attributes
    ----------
    number
        The store's own number of the account.
    opening, closing
        Posted credits less posted debits at both ends; `closing == opening + credits - debits`.
    debits, credits
        What was posted within the period.
    reserved_opening, reserved_closing
        Held on this account, not yet taken.
    expected_opening, expected_closing
        Held on other accounts in favour of this one.
    line_count
        How many lines there are.
    """

    number: int
    account: Account
    asset: Asset
    meaning: str
    opening: int
    debits: int
    credits: int
    closing: int
    reserved_opening: int
    reserved_closing: int
    expected_opening: int
    expected_closing: int
    line_count: int


class PartyStatement(NamedTuple):
    """All accounts of a party over a period.

    Attributes
    ----------
    made_ms
        When it was asked for: a period that has not ended may still grow.
    after_seq, to_seq
        The entries with `after_seq < seq <= to_seq` were booked in the period.
    accounts
        Those that were open when the period ended, in the order in which they were opened.
    seal
        The first seal that covers all of it; nothing while there is none.
    """

    party_id: str
    kind: str
    period: Period
    made_ms: int
    after_seq: int
    to_seq: int
    accounts: tuple[AccountPart, ...]
    seal: Seal | None

    @property
    def line_count(self) -> int:
        """How many lines there are."""
        return sum(part.line_count for part in self.accounts)

    def part(self, name: str) -> AccountPart | None:
        """The part of the account `code:asset`."""
        return next((part for part in self.accounts if f"{part.account.code}:{part.account.asset}" == name), None)


class Line(NamedTuple):
    """One transfer on one account.

    Attributes
    ----------
    booked_us, value_ms
        When it was recorded, and when it took effect.
    words
        What it was for.
    other
        `owner:code` on the other side.
    debit, credit
        What was posted; both 0 for a hold or its release.
    reserved, expected
        Change of what is held on this account, and in favour of it.
    balance
        Posted, after this line.
    receipt
        Digest of the Receipt that it stands for.
    offer, epoch
        What it belongs to.
    seal_id
        The first seal that covers it.
    """

    seq: int
    leg: int
    entry_id: str
    kind: str
    phase: Phase
    booked_us: int
    value_ms: int
    words: str
    other: str
    debit: int
    credit: int
    reserved: int
    expected: int
    balance: int
    receipt: str | None
    offer: str | None
    epoch: int | None
    seal_id: int | None

    @property
    def proof(self) -> str:
        """Where its inclusion proof is served; empty while no seal covers it."""
        return f"/ledger/proofs/entry/{quote(self.entry_id)}?seal={self.seal_id}" if self.seal_id else ""


PendingKey = tuple[int, int]


class _Change(NamedTuple):
    row: TransferRow
    debit: int
    credit: int
    reserved: int
    expected: int


def open_statement(store: Store, party_id: str, period: Period, now_ms: int) -> PartyStatement:
    """Add up a party's accounts over a period.

    Raises
    ------
    PartyUnknown
        If no entry has declared the party.
    LedgerUnavailable
        If the store cannot be read.
    """
    with store.reading() as snapshot:
        party = next(iter(snapshot.parties([party_id]).values()), None)
        if party is None:
            raise PartyUnknown
        assets = snapshot.assets()
        after_seq, to_seq = seq_at(snapshot, period.from_ms * 1000), seq_at(snapshot, period.to_ms * 1000)
        names = accounts_of(party_id, [asset.code for asset in assets.values()])
        parts = _parts(snapshot, snapshot.accounts(names), assets, after_seq, to_seq)
        seal = snapshot.seal_covering(to_seq) if to_seq > 0 else None
    return PartyStatement(party_id, party.kind, period, now_ms, after_seq, to_seq, parts, seal)


def accounts_of(party_id: str, assets: Sequence[str]) -> list[Account]:
    """Every account that a party could have: an account is opened by the first transfer that names it."""
    return [Account(party_id, code, asset) for code in CHART for asset in assets]


def lines(store: Store, statement: PartyStatement, part: AccountPart, after_seq: int | None = None) -> Iterator[Line]:
    """The lines of one account in the order in which they were booked.

    Parameters
    ----------
    after_seq
        Begin behind this entry instead of at the beginning; balances are as if all had been read.
    """
    start = statement.after_seq if after_seq is None else max(after_seq, statement.after_seq)
    balance = part.opening
    if start > statement.after_seq:
        balance += sum(item.credit - item.debit for item in _changes(store, part.number, statement.after_seq, start))
    batch: list[_Change] = []
    names: dict[int, Account] = {}
    for change in _changes(store, part.number, start, statement.to_seq):
        if len(batch) >= _STRETCH:
            yield from _lines(store, part, batch, balance, names)
            balance += sum(item.credit - item.debit for item in batch)
            batch = []
        batch.append(change)
    yield from _lines(store, part, batch, balance, names)


def _changes(store: Store, number: int, after_seq: int, to_seq: int) -> Iterator[_Change]:
    """What happened to an account, stretch by stretch, each from a snapshot of its own."""
    holds: dict[PendingKey, int] = {}
    for start in range(after_seq, to_seq, _STRETCH):
        with store.reading() as snapshot:
            found = list(_stretch(snapshot, holds, [number], start, min(start + _STRETCH, to_seq)))
        yield from (change for _, change in found)


def _stretch(
    snapshot: Snapshot, holds: dict[PendingKey, int], numbers: Sequence[int], after_seq: int, to_seq: int
) -> Iterator[tuple[int, _Change]]:
    """What happened to some accounts. `holds` remembers the amounts of holds that are seen, until they are resolved."""
    asked = set(numbers)
    for row in snapshot.transfers(after_seq, to_seq, numbers):
        posted, held = row.amount if row.phase in (Phase.SINGLE, Phase.POST) else 0, 0
        if row.phase == Phase.PENDING:
            held = holds[row.entry_seq, row.leg] = row.amount
        elif row.pending_seq is not None and row.pending_leg is not None:
            held = -_held(snapshot, holds, row.pending_seq, row.pending_leg, numbers)
        if row.debit_id in asked:
            yield row.debit_id, _Change(row, posted, 0, held, 0)
        if row.credit_id in asked:
            yield row.credit_id, _Change(row, 0, posted, 0, held)


def _held(snapshot: Snapshot, holds: dict[PendingKey, int], seq: int, leg: int, numbers: Sequence[int]) -> int:
    """The whole amount of a pending transfer that is resolved: it may have been posted for less."""
    known = holds.pop((seq, leg), None)
    if known is not None:
        return known
    return next(row.amount for row in snapshot.transfers(seq - 1, seq, numbers) if row.leg == leg)


def _parts(
    snapshot: Snapshot, balances: Sequence[Balance], assets: dict[int, Asset], after_seq: int, to_seq: int
) -> tuple[AccountPart, ...]:
    """Totals at both ends: today's, less what happened since."""
    numbers = [item.account_id for item in balances]
    within, since = ({number: [0] * 5 for number in numbers} for _ in range(2))
    holds: dict[PendingKey, int] = {}
    head = snapshot.head().seq
    for start in range(after_seq, head if numbers else after_seq, _STRETCH):
        for number, change in _stretch(snapshot, holds, numbers, start, min(start + _STRETCH, head)):
            sums = (within if change.row.entry_seq <= to_seq else since)[number]
            for place, amount in enumerate((*change[1:], 1)):
                sums[place] += amount
    made = (_part(item, assets[item.asset_id], within[item.account_id], since[item.account_id]) for item in balances)
    return tuple(part for part in made if part is not None)


def _part(item: Balance, asset: Asset, within: list[int], since: list[int]) -> AccountPart | None:
    """One account's part; nothing when it had never moved by the end of the period."""
    debits, paid_in, reserved, expected, count = within
    debit_posted, credit_posted = item.debit_posted - since[0], item.credit_posted - since[1]
    reserved_closing, expected_closing = item.debit_pending - since[2], item.credit_pending - since[3]
    if not (count or debit_posted or credit_posted or reserved_closing or expected_closing):
        return None
    closing = credit_posted - debit_posted
    return AccountPart(
        number=item.account_id,
        account=item.account,
        asset=asset,
        meaning=CHART[item.account.code].meaning,
        opening=closing - paid_in + debits,
        debits=debits,
        credits=paid_in,
        closing=closing,
        reserved_opening=reserved_closing - reserved,
        reserved_closing=reserved_closing,
        expected_opening=expected_closing - expected,
        expected_closing=expected_closing,
        line_count=count,
    )


def _lines(
    store: Store, part: AccountPart, changes: Sequence[_Change], balance: int, names: dict[int, Account]
) -> Iterator[Line]:
    """Changes with the entries that they belong to."""
    if not changes:
        return
    made: list[Line] = []
    with store.reading() as snapshot:
        entries = _entries(snapshot, [change.row.entry_seq for change in changes])
        seal, entry, body = None, None, dict[str, Any]()
        for change in changes:
            seq = change.row.entry_seq
            if seal is None or seal.to_seq < seq:
                seal = snapshot.seal_covering(seq)
            if entry is None or entry.seq != seq:
                entry = entries[seq]
                body = json.loads(entry.content)
            balance += change.credit - change.debit
            other = _other(snapshot, part, change.row, body["transfers"][change.row.leg], names)
            made.append(_line(part, change, entry, body, other, balance, seal))
    yield from made


def _other(
    snapshot: Snapshot, part: AccountPart, row: TransferRow, said: dict[str, Any], names: dict[int, Account]
) -> Account:
    """The account on the other side, by the entry's own words where they name it."""
    out = row.debit_id == part.number
    if "debit" in said:
        return Account.parse(said["credit" if out else "debit"])
    number = row.credit_id if out else row.debit_id
    if number not in names:
        if len(names) >= _NAMES_MAX:
            names.clear()
        names[number] = snapshot.accounts(after_id=number - 1, limit=1)[0].account
    return names[number]


def _line(
    part: AccountPart,
    change: _Change,
    entry: EntryRow,
    body: dict[str, Any],
    other: Account,
    balance: int,
    seal: Seal | None,
) -> Line:
    row, facts = change.row, body.get("facts", {})
    phase = Phase(row.phase)
    offer, epoch = facts.get("offer"), facts.get("epoch")
    return Line(
        seq=row.entry_seq,
        leg=row.leg,
        entry_id=entry.entry_id,
        kind=entry.kind,
        phase=phase,
        booked_us=entry.recorded_us,
        value_ms=entry.effective_ms,
        words=words(entry.kind, facts, part.account, phase),
        other=f"{other.owner}:{other.code}",
        debit=change.debit,
        credit=change.credit,
        reserved=change.reserved,
        expected=change.expected,
        balance=balance,
        receipt=receipt_of(entry.entry_id, facts),
        offer=offer if isinstance(offer, str) else None,
        epoch=epoch if type(epoch) is int else None,
        seal_id=seal.seal_id if seal else None,
    )


def receipt_of(entry_id: str, facts: Mapping[str, Any]) -> str | None:
    """Digest of the Receipt that an entry stands for, if it stands for one."""
    said = entry_id.removeprefix(_RECEIPT) if entry_id.startswith(_RECEIPT) else facts.get("receipt")
    return said if isinstance(said, str) and _DIGEST.fullmatch(said) else None


def _entries(snapshot: Snapshot, seqs: Sequence[int]) -> dict[int, EntryRow]:
    """Entries by place: read through where they are dense, one by one where they are far apart."""
    wanted, found = sorted(set(seqs)), dict[int, EntryRow]()
    for start in range(0, len(wanted), _TOGETHER):
        some = wanted[start : start + _TOGETHER]
        span = some[-1] - some[0] + 1
        if span <= _SPARSE * len(some):
            rows = snapshot.log(some[0] - 1, span)
        else:
            rows = [row for seq in some for row in snapshot.log(seq - 1, 1)]
        found.update((row.seq, row) for row in rows)
    assert all(seq in found for seq in wanted), "the log has no gap"
    return found
