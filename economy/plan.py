"""The planner: decides each entry, deterministically, and says why not. Pure: it sees a `Book` and nothing else.

Also how an amount is split: by largest remainder, so that the parts always sum to the whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from economy.book import Balance, Book, EntryRow, Head, KeyRow, Known, Pending, TransferRow
from economy.chart import Chart
from economy.control import require_approval
from economy.entry import (
    Account,
    Asset,
    Declaration,
    Entry,
    Key,
    Party,
    PendingRef,
    PeriodClose,
    Phase,
    Policy,
    Transfer,
    leaf_bytes,
    release,
)
from economy.errors import (
    AmountOverflow,
    DeclarationDiffers,
    EntryDiffers,
    ExceedsPending,
    InsufficientFunds,
    PendingResolved,
    PendingUnknown,
    PeriodClosed,
    PeriodRunning,
    UnknownAccountCode,
    UnknownOwner,
)

TOTAL_MAX = 2**62
EXPIRY_PREFIX = "expiry/"
_CONTROLLED = (Policy, Key, PeriodClose)


def split(amount: int, weights: Sequence[int]) -> list[int]:
    """Share `amount` by `weights`: each share is the exact one rounded down, then the units left go one each to the
    largest remainders, the earlier first among equals.

    Parameters
    ----------
    amount
        At least 0, in the smallest unit.
    weights
        At least 0 each; their sum is above 0.

    Returns
    -------
    list of int
        One share a weight; they sum to `amount`. A weight of 0 gets 0.
    """
    total = sum(weights)
    assert amount >= 0, "only what is there is shared"
    assert total > 0, "weights sum to more than zero"
    assert min(weights) >= 0, "a weight is never negative"
    shares = [amount * weight // total for weight in weights]
    left = amount - sum(shares)
    remainders = [amount * weight - share * total for weight, share in zip(weights, shares, strict=True)]
    order = sorted(range(len(weights)), key=remainders.__getitem__, reverse=True)
    for index in order[:left]:
        shares[index] += 1
    return shares


def expire(book: Book, chart: Chart) -> int:
    """Void what is due, one entry each, in the order of expiry; how many."""
    count = 0
    for pending in book.due:
        if pending.resolved:
            continue
        ref = PendingRef(pending.entry_id, pending.leg)
        book.pendings.setdefault(ref, pending)
        expires_us = pending.expires_us
        assert expires_us is not None, "what never expires is never due"
        decide(book, _expiry(pending, ref, expires_us // 1000, book.closed_until_ms), chart)
        count += 1
    book.due.clear()
    return count


def _expiry(pending: Pending, ref: PendingRef, expires_ms: int, closed_until_ms: int) -> Entry:
    """What expired in a period that has been closed since is released with the value date of today."""
    name = (f"{EXPIRY_PREFIX}{pending.seq}/{pending.leg}", "pending.expired", (release(ref),))
    if expires_ms < closed_until_ms:
        return Entry(*name, facts={"value_date_was": expires_ms})
    return Entry(*name, effective_ms=expires_ms)


def decide(book: Book, entry: Entry, chart: Chart) -> tuple[Known, bool]:
    """Record an entry in the book, or say why not.

    Returns
    -------
    tuple
        What is remembered of the entry, and whether it was recorded before.

    Raises
    ------
    Refused
        A leaf of `economy.errors`; the book is then as it was.
    NotApproved
        If it declares a policy, key or period close without the approvals it needs.
    """
    known = book.known.get(entry.entry_id)
    if known is not None:
        if known.request_hash != entry.request_hash:
            raise EntryDiffers(entry=entry.entry_id, seq=known.seq)
        return known, True
    if entry.effective_ms is not None and entry.effective_ms < book.closed_until_ms:
        raise PeriodClosed(closed_until_ms=book.closed_until_ms)
    if any(isinstance(item, _CONTROLLED) for item in entry.declares):
        require_approval(entry, book.keys)
    work = _Decision(book, chart, expiring=entry.entry_id.startswith(EXPIRY_PREFIX))
    try:
        for item in entry.declares:
            work.declare(item)
        for leg, transfer in enumerate(entry.transfers):
            work.apply(leg, transfer)
    except Exception:
        work.undo()
        raise
    return work.record(entry), False


class _Decision:
    """One entry being decided: every change can be undone until it is recorded."""

    __slots__ = (
        "before",
        "book",
        "chart",
        "closed",
        "counts",
        "expiring",
        "keys",
        "made",
        "policies",
        "resolved",
        "rows",
        "seq",
        "time_us",
    )

    def __init__(self, book: Book, chart: Chart, *, expiring: bool) -> None:
        self.book, self.chart, self.expiring = book, chart, expiring
        self.seq = book.head.seq + 1
        self.time_us = max(book.now_us, book.head.recorded_us + 1)
        self.rows: list[TransferRow] = []
        self.before: list[tuple[Balance, tuple[int, int, int, int]]] = []
        self.resolved: list[Pending] = []
        self.made: list[tuple[int, Pending]] = []
        self.counts = (book.head, len(book.changes.opened), len(book.changes.assets), len(book.changes.parties))
        self.policies = len(book.changes.policies)
        self.closed = (book.closed_until_ms, len(book.changes.closed))
        self.keys: list[tuple[str, KeyRow | None]] = []

    def declare(self, item: Declaration) -> None:
        book, head = self.book, self.book.head
        if isinstance(item, Asset):
            known = book.assets.get(item.code)
            if known is None:
                book.head = head._replace(asset_id=head.asset_id + 1)
                book.assets[item.code] = (book.head.asset_id, item)
                book.changes.assets.append(book.assets[item.code])
            elif known[1] != item:
                raise DeclarationDiffers("asset")
        elif isinstance(item, Party):
            party = book.parties.get(item.party_id)
            if party is None:
                book.head = head._replace(party_id=head.party_id + 1)
                book.parties[item.party_id] = (book.head.party_id, item.kind)
                book.changes.parties.append((book.head.party_id, item))
            elif party[1] != item.kind:
                raise DeclarationDiffers("party")
        elif isinstance(item, Policy):
            policy = book.policies.setdefault((item.kind, item.version), item)
            if policy is item:
                book.changes.policies.append(item)
            elif policy != item:
                raise DeclarationDiffers("policy")
        elif isinstance(item, Key):
            self._declare_key(item)
        else:
            self._close_period(item.closed_until_ms)

    def _declare_key(self, key: Key) -> None:
        """A key is declared once and revoked once."""
        book, known = self.book, self.book.keys.get(key.public_key)
        if key.party_id not in book.parties:
            raise UnknownOwner
        if known is None and not key.revoked:
            row = KeyRow(key.public_key, key.purpose, key.party_id, self.seq)
            book.changes.keys.append(row)
        elif known is not None and _ends(key, known):
            row = known._replace(revoked_seq=self.seq)
            book.changes.revoked.append(row)
        else:
            raise DeclarationDiffers("key")
        self.keys.append((key.public_key, known))
        book.keys[key.public_key] = row

    def _close_period(self, closed_until_ms: int) -> None:
        if closed_until_ms <= self.book.closed_until_ms:
            raise DeclarationDiffers("period")
        if closed_until_ms * 1000 > self.time_us:
            raise PeriodRunning(closed_until_ms=closed_until_ms)
        self.book.closed_until_ms = closed_until_ms
        self.book.changes.closed.append((closed_until_ms, self.seq))

    def apply(self, leg: int, transfer: Transfer) -> None:
        if transfer.pending is None:
            self._transfer(leg, transfer)
        else:
            self._resolve(leg, transfer)

    def _transfer(self, leg: int, transfer: Transfer) -> None:
        assert transfer.debit is not None
        assert transfer.credit is not None
        assert transfer.amount is not None
        debit, credit, amount = self._balance(transfer.debit), self._balance(transfer.credit), transfer.amount
        expires_us = None
        if transfer.phase is Phase.SINGLE:
            debit.debit_posted += amount
            credit.credit_posted += amount
        else:
            debit.debit_pending += amount
            credit.credit_pending += amount
            expires_us = None if transfer.timeout_s is None else self.time_us + transfer.timeout_s * 1_000_000
            self.made.append((leg, Pending(self.seq, leg, "", debit, credit, amount, expires_us, resolved=False)))
        if not (debit.holds() and credit.holds()):
            raise InsufficientFunds(leg=leg)
        if max(debit.debit_posted + debit.debit_pending, credit.credit_posted + credit.credit_pending) > TOTAL_MAX:
            raise AmountOverflow(leg=leg)
        ids = (debit.asset_id, debit.account_id, credit.account_id)
        self.rows.append(TransferRow(self.seq, leg, *ids, amount, int(transfer.phase), None, None, expires_us))

    def _resolve(self, leg: int, transfer: Transfer) -> None:
        assert transfer.pending is not None
        pending = self.book.pendings.get(transfer.pending)
        if pending is None:
            raise PendingUnknown(leg=leg)
        if pending.resolved or (self._is_over(pending) and not self.expiring):
            raise PendingResolved(leg=leg)
        amount = pending.amount if transfer.amount is None else transfer.amount
        if amount > pending.amount:
            raise ExceedsPending(leg=leg)
        debit, credit = self._remember(pending.debit), self._remember(pending.credit)
        debit.debit_pending -= pending.amount
        credit.credit_pending -= pending.amount
        if transfer.phase is Phase.POST:
            debit.debit_posted += amount
            credit.credit_posted += amount
        assert debit.debit_pending >= 0, "a pending amount was released twice"
        assert credit.credit_pending >= 0, "a pending amount was released twice"
        pending.resolved = True
        self.resolved.append(pending)
        ids = (debit.asset_id, debit.account_id, credit.account_id)
        place = (pending.seq, pending.leg)
        self.rows.append(TransferRow(self.seq, leg, *ids, amount, int(transfer.phase), *place, None))

    def _is_over(self, pending: Pending) -> bool:
        """Due at this entry's own time, which may be microseconds after its batch's: the next batch voids it."""
        return pending.expires_us is not None and pending.expires_us <= self.time_us

    def _balance(self, account: Account) -> Balance:
        balance = self.book.balances.get(account)
        return self._open(account) if balance is None else self._remember(balance)

    def _remember(self, balance: Balance) -> Balance:
        totals = (balance.debit_pending, balance.debit_posted, balance.credit_pending, balance.credit_posted)
        self.before.append((balance, totals))
        return balance

    def _open(self, account: Account) -> Balance:
        book = self.book
        kind = self.chart.get(account.code)
        if kind is None:
            raise UnknownAccountCode
        if account.owner not in book.parties or account.asset not in book.assets:
            raise UnknownOwner
        book.head = book.head._replace(account_id=book.head.account_id + 1)
        balance = Balance(book.head.account_id, account, book.assets[account.asset][0], kind.limit)
        book.balances[account] = balance
        book.changes.opened.append(balance)
        return balance

    def undo(self) -> None:
        """Leave no trace."""
        book = self.book
        for balance, totals in reversed(self.before):
            balance.debit_pending, balance.debit_posted, balance.credit_pending, balance.credit_posted = totals
        for pending in self.resolved:
            pending.resolved = False
        book.head, opened, assets, parties = self.counts
        for balance in book.changes.opened[opened:]:
            del book.balances[balance.account]
        for _, asset in book.changes.assets[assets:]:
            del book.assets[asset.code]
        for _, party in book.changes.parties[parties:]:
            del book.parties[party.party_id]
        for policy in book.changes.policies[self.policies :]:
            del book.policies[policy.kind, policy.version]
        del book.changes.opened[opened:], book.changes.assets[assets:], book.changes.parties[parties:]
        del book.changes.policies[self.policies :]
        book.closed_until_ms = self.closed[0]
        del book.changes.closed[self.closed[1] :]
        for public_key, known in reversed(self.keys):
            (book.changes.keys if known is None else book.changes.revoked).pop()
            book.keys.pop(public_key)
            if known is not None:
                book.keys[public_key] = known

    def record(self, entry: Entry) -> Known:
        """Make it part of the batch."""
        book, changes = self.book, self.book.changes
        leaf = hashlib.sha256(b"\x00" + leaf_bytes(entry.content, self.time_us, self.seq)).hexdigest()
        effective_ms = self.time_us // 1000 if entry.effective_ms is None else entry.effective_ms
        head = (self.seq, entry.entry_id, entry.kind, entry.request_hash, self.time_us, effective_ms)
        changes.entries.append(EntryRow(*head, entry.content.decode(), leaf))
        changes.transfers += self.rows
        for balance, _ in self.before:
            changes.touched[balance.account_id] = balance
        for balance in changes.opened[self.counts[1] :]:
            changes.touched[balance.account_id] = balance
        for leg, pending in self.made:
            pending.entry_id = entry.entry_id
            book.pendings[PendingRef(entry.entry_id, leg)] = pending
        book.head = Head(self.seq, self.time_us, *book.head[2:])
        known = book.known[entry.entry_id] = Known(self.seq, entry.request_hash, self.time_us)
        return known


def _ends(key: Key, known: KeyRow) -> bool:
    """Whether a declaration revokes the very key that is known."""
    same = (key.public_key, key.purpose, key.party_id) == (known.public_key, known.purpose, known.party_id)
    return key.revoked and same and known.revoked_seq is None
