"""The ledger for others: its log for whoever verifies it, CSV for spreadsheets, Beancount text for another program's
arithmetic. Amounts are exact everywhere; parties are random ids and nothing else.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

from bithive.clock import as_iso
from economy.book import Balance, EntryRow, TransferRow
from economy.chart import CHART, Chart
from economy.entry import Phase, leaf_bytes
from economy.money import decimal_text
from economy.store import Snapshot, Store

FORMATS = ("log", "entries", "transfers", "accounts", "seals", "beancount")
_PAGE = 5_000


def export(store: Store, form: str, chart: Chart = CHART) -> Iterator[str]:
    """One of `FORMATS`, as pieces of text, from one snapshot.

    `log` is one canonical JSON a line: the very bytes whose RFC 6962 tree the seals sign.
    """
    makers = {
        "log": _log,
        "entries": _entries,
        "transfers": _transfers,
        "accounts": _accounts,
        "seals": _seals,
    }
    with store.reading() as snapshot:
        if form == "beancount":
            yield from _beancount(snapshot, chart)
        else:
            yield from makers[form](snapshot)


def _rows(snapshot: Snapshot) -> Iterator[tuple[list[EntryRow], list[TransferRow]]]:
    after = 0
    while rows := snapshot.log(after, _PAGE):
        yield rows, snapshot.transfers(after, rows[-1].seq)
        after = rows[-1].seq


def _log(snapshot: Snapshot) -> Iterator[str]:
    for rows, _ in _rows(snapshot):
        for row in rows:
            yield leaf_bytes(row.content.encode(), row.recorded_us, row.seq).decode() + "\n"


def _csv(rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    for row in rows:
        writer.writerow(row)
        yield text.getvalue()
        text.seek(0)
        text.truncate()


def _entries(snapshot: Snapshot) -> Iterator[str]:
    yield from _csv([("seq", "id", "kind", "recorded_us", "effective", "request_hash", "leaf_hash")])
    for rows, _ in _rows(snapshot):
        yield from _csv(
            (
                row.seq,
                row.entry_id,
                row.kind,
                row.recorded_us,
                as_iso(row.effective_ms),
                row.request_hash,
                row.leaf_hash,
            )
            for row in rows
        )


def _transfers(snapshot: Snapshot) -> Iterator[str]:
    accounts, assets = _names(snapshot)
    names = ("seq", "leg", "phase", "debit", "credit", "amount", "asset", "pending_seq", "pending_leg", "expires_us")
    yield from _csv([names])
    for _, legs in _rows(snapshot):
        yield from _csv(
            (
                leg.entry_seq,
                leg.leg,
                Phase(leg.phase).name.lower(),
                accounts[leg.debit_id].account,
                accounts[leg.credit_id].account,
                decimal_text(leg.amount, assets[leg.asset_id][1]),
                assets[leg.asset_id][0],
                leg.pending_seq,
                leg.pending_leg,
                leg.expires_us,
            )
            for leg in legs
        )


def _accounts(snapshot: Snapshot) -> Iterator[str]:
    accounts, assets = _names(snapshot)
    totals = ("debit_pending", "debit_posted", "credit_pending", "credit_posted", "net")
    yield from _csv([("owner", "code", "asset", "limit", *totals)])
    yield from _csv(
        (
            *item.account,
            item.limit.name.lower(),
            *(decimal_text(getattr(item, name), assets[item.asset_id][1]) for name in totals),
        )
        for item in accounts.values()
    )


def _seals(snapshot: Snapshot) -> Iterator[str]:
    seals = snapshot.seals()
    if seals:
        yield from _csv([seals[0]._fields])
    yield from _csv(seals)


def _names(snapshot: Snapshot) -> tuple[dict[int, Balance], dict[int, tuple[str, int]]]:
    assets = {number: (asset.code, asset.scale) for number, asset in snapshot.declared().assets.items()}
    return {balance.account_id: balance for balance in snapshot.accounts()}, assets


def _beancount(snapshot: Snapshot, chart: Chart) -> Iterator[str]:
    """Posted transfers as Beancount transactions; debits positive. Pending amounts are not money moved."""
    accounts, assets = _names(snapshot)
    titles = {number: _title(item, chart) for number, item in accounts.items()}
    first = snapshot.log(0, 1)
    if not first:
        return
    opened = _day(first[0])
    yield 'option "title" "BitHive ledger"\n\n'
    for code, _ in assets.values():
        yield f"{opened} commodity {code}\n"
    for number, item in accounts.items():
        yield f"{opened} open {titles[number]} {assets[item.asset_id][0]}\n"
    last = opened
    for rows, legs in _rows(snapshot):
        by_entry: dict[int, list[TransferRow]] = {}
        for leg in legs:
            if leg.phase in (Phase.SINGLE, Phase.POST):
                by_entry.setdefault(leg.entry_seq, []).append(leg)
        for row in rows:
            last = max(last, _day(row))
            if moved := by_entry.get(row.seq):
                yield f'\n{_day(row)} * "{row.kind}" "{row.entry_id}"\n  seq: {row.seq}\n'
                for leg in moved:
                    code, scale = assets[leg.asset_id]
                    amount = decimal_text(leg.amount, scale)
                    yield f"  {titles[leg.debit_id]}  {amount} {code}\n  {titles[leg.credit_id]}  -{amount} {code}\n"
    yield "\n"
    for number, item in accounts.items():
        code, scale = assets[item.asset_id]
        yield f"{_next_day(last)} balance {titles[number]}  {decimal_text(-item.net, scale)} {code}\n"


def _title(item: Balance, chart: Chart) -> str:
    kind = chart.get(item.account.code)
    owner = item.account.owner.replace("pty_", "P")
    return f"{kind.nature if kind else 'Equity'}:{owner}:{item.account.code.capitalize()}:{item.account.asset}"


def _day(row: EntryRow) -> str:
    return as_iso(row.recorded_us // 1000)[:10]


def _next_day(day: str) -> str:
    from datetime import date, timedelta

    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()
