"""The checker: rebuilds the ledger from its log and says what does not agree.

It shares no code with the planner: it folds the recorded entries in order with rules of its own, compares the fold with
the stored transfers and balances, and every seal with the roots it should have. An empty list of findings means that
the ledger adds up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from economy.book import Balance, Declared, EntryRow, Seal, TransferRow
from economy.chart import CHART, Chart, Limit
from economy.entry import leaf_bytes
from economy.merkle import Frontier, leaf_hash
from economy.seal import is_signed, seal_digest, state_root
from economy.store import Snapshot, Store

_PAGE = 10_000


class Fault(StrEnum):
    """What can be wrong."""

    SEQUENCE_GAP = "sequence-gap"
    TIME_NOT_INCREASING = "time-not-increasing"
    HASH_MISMATCH = "hash-mismatch"
    DUPLICATE_ENTRY = "duplicate-entry"
    TRANSFER_MISMATCH = "transfer-mismatch"
    UNKNOWN_ACCOUNT = "unknown-account"
    LIMIT_VIOLATED = "limit-violated"
    PENDING_UNKNOWN = "pending-unknown"
    DOUBLE_RESOLUTION = "double-resolution"
    EXCEEDS_PENDING = "exceeds-pending"
    RESOLVED_AFTER_EXPIRY = "resolved-after-expiry"
    BALANCE_MISMATCH = "balance-mismatch"
    SUM_MISMATCH = "sum-mismatch"
    SEAL_MISMATCH = "seal-mismatch"


class Finding(NamedTuple):
    """One disagreement: what, and at which entry, account or seal."""

    fault: Fault
    place: str


class Checked(NamedTuple):
    """What was looked at, and what was found."""

    entries: int
    transfers: int
    accounts: int
    seals: int
    findings: list[Finding]


@dataclass(slots=True)
class _Open:
    debit: int
    credit: int
    amount: int
    expires_us: int | None
    resolved: bool = False


@dataclass(slots=True)
class _Fold:
    """The ledger as the log says it is. Totals by account: [debit pending, debit posted, credit pending, posted]."""

    names: dict[str, Balance]
    accounts: dict[int, Balance]
    declared: Declared
    chart: Chart
    totals: dict[int, list[int]] = field(default_factory=dict)
    pendings: dict[tuple[int, int], _Open] = field(default_factory=dict)
    seqs: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def report(self, fault: Fault, place: str) -> None:
        self.findings.append(Finding(fault, place))


def check(store: Store, chart: Chart = CHART) -> Checked:
    """Replay all entries of one snapshot.

    Returns
    -------
    Checked
        With no findings if, and only if, everything agrees.
    """
    with store.reading() as snapshot:
        balances, seals, declared = snapshot.accounts(), snapshot.seals(), snapshot.declared()
        names = {str(balance.account): balance for balance in balances}
        fold = _Fold(names, {balance.account_id: balance for balance in balances}, declared, chart)
        frontier, previous, transfers = Frontier(), EntryRow(0, "", "", "", 0, 0, "", ""), 0
        waiting = list(reversed(seals))
        for rows, legs in _pages(snapshot):
            transfers += len(legs)
            by_entry: dict[int, list[TransferRow]] = {}
            for leg in legs:
                by_entry.setdefault(leg.entry_seq, []).append(leg)
            for row in rows:
                _check_entry(fold, row, previous)
                _replay(fold, row, by_entry.get(row.seq, []))
                frontier.append(leaf_hash(leaf_bytes(row.content.encode(), row.recorded_us, row.seq)))
                previous = row
                if waiting and waiting[-1].to_seq == row.seq:
                    _check_roots(fold, waiting.pop(), frontier)
        for seal in waiting:
            fold.report(Fault.SEAL_MISMATCH, f"seal {seal.seal_id}")
        _check_chain(fold, seals)
        _check_balances(fold, balances)
    return Checked(frontier.size, transfers, len(balances), len(seals), fold.findings)


def _pages(snapshot: Snapshot) -> Iterator[tuple[list[EntryRow], list[TransferRow]]]:
    after = 0
    while rows := snapshot.log(after, _PAGE):
        yield rows, snapshot.transfers(after, rows[-1].seq)
        after = rows[-1].seq


def _check_entry(fold: _Fold, row: EntryRow, previous: EntryRow) -> None:
    place = f"entry {row.seq}"
    content = row.content.encode()
    if row.seq != previous.seq + 1:
        fold.report(Fault.SEQUENCE_GAP, place)
    if row.recorded_us <= previous.recorded_us:
        fold.report(Fault.TIME_NOT_INCREASING, place)
    leaf = leaf_hash(leaf_bytes(content, row.recorded_us, row.seq)).hex()
    if hashlib.sha256(content).hexdigest() != row.request_hash or leaf != row.leaf_hash:
        fold.report(Fault.HASH_MISMATCH, place)
    if row.entry_id in fold.seqs:
        fold.report(Fault.DUPLICATE_ENTRY, place)
    fold.seqs[row.entry_id] = row.seq


def _replay(fold: _Fold, row: EntryRow, legs: list[TransferRow]) -> None:
    """Fold one entry's own words, and compare the rows stored for it."""
    try:
        body = json.loads(row.content)
        said = (body["id"], body["kind"])
        expected = [_fold_leg(fold, row, leg, transfer) for leg, transfer in enumerate(body.get("transfers", ()))]
    except (ValueError, KeyError, TypeError, AttributeError):
        fold.report(Fault.TRANSFER_MISMATCH, f"entry {row.seq}")
        return
    if said != (row.entry_id, row.kind):
        fold.report(Fault.HASH_MISMATCH, f"entry {row.seq}")
    moved = [leg for leg in expected if leg is not None]
    if moved != legs:
        fold.report(Fault.TRANSFER_MISMATCH, f"entry {row.seq}")
    for number in sorted({number for leg in moved for number in (leg.debit_id, leg.credit_id)}):
        _check_limit(fold, row, number)


def _fold_leg(fold: _Fold, row: EntryRow, leg: int, said: dict[str, Any]) -> TransferRow | None:
    if "post" in said or "void" in said:
        return _fold_resolution(fold, row, leg, said)
    debit, credit = fold.names.get(said["debit"]), fold.names.get(said["credit"])
    if debit is None or credit is None:
        fold.report(Fault.UNKNOWN_ACCOUNT, f"entry {row.seq} leg {leg}")
        return None
    amount, pending = said["amount"], "timeout_s" in said
    expires_us = row.recorded_us + said["timeout_s"] * 1_000_000 if pending and said["timeout_s"] is not None else None
    column = 0 if pending else 1
    _totals(fold, debit.account_id)[column] += amount
    _totals(fold, credit.account_id)[column + 2] += amount
    if pending:
        fold.pendings[row.seq, leg] = _Open(debit.account_id, credit.account_id, amount, expires_us)
    ids = (debit.asset_id, debit.account_id, credit.account_id)
    return TransferRow(row.seq, leg, *ids, amount, int(pending), None, None, expires_us)


def _fold_resolution(fold: _Fold, row: EntryRow, leg: int, said: dict[str, Any]) -> TransferRow | None:
    place = f"entry {row.seq} leg {leg}"
    entry_id, pending_leg = said.get("post") or said["void"]
    key = (fold.seqs.get(entry_id, 0), pending_leg)
    pending = fold.pendings.get(key)
    if pending is None:
        fold.report(Fault.PENDING_UNKNOWN, place)
        return None
    given = said.get("amount")
    amount = pending.amount if given is None else given
    if pending.resolved:
        fold.report(Fault.DOUBLE_RESOLUTION, place)
    if amount > pending.amount:
        fold.report(Fault.EXCEEDS_PENDING, place)
    overdue = pending.expires_us is not None and row.recorded_us >= pending.expires_us
    if overdue and row.kind != "pending.expired":
        fold.report(Fault.RESOLVED_AFTER_EXPIRY, place)
    pending.resolved = True
    debit, credit = _totals(fold, pending.debit), _totals(fold, pending.credit)
    debit[0] -= pending.amount
    credit[2] -= pending.amount
    if "post" in said:
        debit[1] += amount
        credit[3] += amount
    ids = (fold.accounts[pending.debit].asset_id, pending.debit, pending.credit)
    phase = 2 if "post" in said else 3
    return TransferRow(row.seq, leg, *ids, amount, phase, *key, None)


def _totals(fold: _Fold, number: int) -> list[int]:
    found = fold.totals.get(number)
    if found is None:
        found = fold.totals[number] = [0, 0, 0, 0]
    return found


def _check_limit(fold: _Fold, row: EntryRow, number: int) -> None:
    account, totals = fold.accounts.get(number), fold.totals.get(number)
    if account is None or totals is None:
        return
    over = (totals[0] + totals[1] - totals[3]) if account.limit is Limit.CREDIT else (totals[2] + totals[3] - totals[1])
    if (account.limit is not Limit.NONE and over > 0) or min(totals) < 0:
        fold.report(Fault.LIMIT_VIOLATED, f"entry {row.seq} account {account.account}")


def _check_roots(fold: _Fold, seal: Seal, frontier: Frontier) -> None:
    said = (seal.log_root, seal.state_root, seal.frontier)
    found = (frontier.root().hex(), state_root(_folded(fold)).hex(), frontier.to_text())
    if said != found:
        fold.report(Fault.SEAL_MISMATCH, f"seal {seal.seal_id}")


def _folded(fold: _Fold) -> Iterator[Balance]:
    for balance in fold.names.values():
        if (totals := fold.totals.get(balance.account_id)) is not None:
            yield Balance(balance.account_id, balance.account, balance.asset_id, balance.limit, *totals)


def _check_chain(fold: _Fold, seals: list[Seal]) -> None:
    previous, after = "0" * 64, 0
    for number, seal in enumerate(seals, 1):
        linked = (seal.seal_id, seal.from_seq, seal.previous) == (number, after + 1, previous)
        if not linked or not is_signed(seal):
            fold.report(Fault.SEAL_MISMATCH, f"seal {seal.seal_id}")
        previous, after = seal_digest(seal), seal.to_seq


def _check_balances(fold: _Fold, balances: list[Balance]) -> None:
    sums: dict[int, list[int]] = {}
    for balance in balances:
        stored = [balance.debit_pending, balance.debit_posted, balance.credit_pending, balance.credit_posted]
        if stored != fold.totals.get(balance.account_id):
            fold.report(Fault.BALANCE_MISMATCH, f"account {balance.account}")
        kind = fold.chart.get(balance.account.code)
        if kind is None or kind.limit is not balance.limit:
            fold.report(Fault.LIMIT_VIOLATED, f"account {balance.account}")
        total = sums.setdefault(balance.asset_id, [0, 0])
        total[0] += stored[0] - stored[2]
        total[1] += stored[1] - stored[3]
    for number, total in sums.items():
        if total != [0, 0]:
            asset = fold.declared.assets.get(number)
            fold.report(Fault.SUM_MISMATCH, f"asset {asset.code if asset else number}")
