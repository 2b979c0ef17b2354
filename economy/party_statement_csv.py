"""A statement as CSV: every line, exact, however many.

The first rows say whose statement it is and what covers it; then one table holds, for each account, its opening, its
lines and its closing, so that a spreadsheet adds it up again. No cell begins with a sign that a spreadsheet takes for a
formula. There are no names in it: parties are random ids.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

from bithive.clock import as_iso
from economy.line_words import ratio
from economy.money import RU, decimal_text
from economy.party_rewards import EpochReward, rewards
from economy.party_statement import AccountPart, Line, PartyStatement, lines
from economy.store import Store

COLUMNS = (
    "account",
    "asset",
    "row",
    "booked",
    "value_date",
    "what",
    "debit",
    "credit",
    "balance",
    "reserved",
    "expected",
    "seq",
    "leg",
    "entry",
    "kind",
    "other_account",
    "offer",
    "epoch",
    "receipt",
    "seal",
    "proof",
)
REWARD_COLUMNS = (
    "row",
    "epoch",
    "node",
    "state",
    "online_factor",
    "asset",
    "receipt",
    "seq",
    "work_units",
    "quality",
    "speed",
    "reward_units",
    "amount",
    "weight",
    "all_reward_units",
)
_PIECE_ROWS = 500


def statement_csv(store: Store, statement: PartyStatement) -> Iterator[str]:
    """The whole statement, in pieces of text."""
    yield _text(_head(statement))
    for part in statement.accounts:
        yield _text([_bound(part, "opening", statement.period.from_ms)])
        rows: list[tuple[Any, ...]] = []
        for line in lines(store, statement, part):
            rows.append(_row(part, line))
            if len(rows) >= _PIECE_ROWS:
                yield _text(rows)
                rows = []
        yield _text([*rows, _bound(part, "closing", statement.period.to_ms)])
    yield from _rewards(rewards(store, statement))


def _rewards(found: Iterable[EpochReward]) -> Iterator[str]:
    """A second table: every Receipt that a reward comes from."""
    head: list[tuple[Any, ...]] = [(), REWARD_COLUMNS]
    for reward in found:
        scale = reward.asset.scale
        about = (reward.epoch, reward.node, reward.state, ratio(reward.factor_bp), reward.asset.code)
        sums = (_units(reward.units), decimal_text(reward.amount, scale))
        whole = ("reward", *about, "", "", "", "", "", *sums, _units(reward.weight), _units(reward.total_units))
        parts = [
            (
                "receipt",
                *about,
                part.receipt,
                part.seq,
                part.work_units,
                ratio(part.quality_bp),
                ratio(part.speed_bp),
                _units(part.units),
                decimal_text(part.amount, scale),
                "",
                "",
            )
            for part in reward.receipts
        ]
        yield _text([*head, whole, *parts])
        head = []


def _units(units: int) -> str:
    return decimal_text(units, RU.scale)


def _head(statement: PartyStatement) -> Iterable[tuple[Any, ...]]:
    seal = statement.seal
    return [
        ("statement", "bithive-statement-1"),
        ("party", statement.party_id),
        ("kind", statement.kind),
        ("period", statement.period.text),
        ("first_day", statement.period.first_day),
        ("last_day", statement.period.last_day),
        ("made", as_iso(statement.made_ms)),
        (
            "entries",
            f"{statement.after_seq + 1} to {statement.to_seq}" if statement.to_seq > statement.after_seq else "",
        ),
        ("seal", seal.seal_id if seal else "not sealed yet"),
        ("seal_log_size", seal.to_seq if seal else ""),
        ("seal_log_root", seal.log_root if seal else ""),
        ("seal_state_root", seal.state_root if seal else ""),
        (),
        COLUMNS,
    ]


def _bound(part: AccountPart, row: str, at_ms: int) -> tuple[Any, ...]:
    opening = row == "opening"
    balance, reserved, expected = (
        (part.opening, part.reserved_opening, part.expected_opening)
        if opening
        else (part.closing, part.reserved_closing, part.expected_closing)
    )
    sums = ("", "") if opening else (_amount(part, part.debits), _amount(part, part.credits))
    totals = (*sums, *(_amount(part, amount) for amount in (balance, reserved, expected)))
    return (part.account.code, part.asset.code, row, as_iso(at_ms), "", part.meaning, *totals)


def _row(part: AccountPart, line: Line) -> tuple[Any, ...]:
    amounts = (line.debit, line.credit, line.balance, line.reserved, line.expected)
    return (
        part.account.code,
        part.asset.code,
        "line",
        as_iso(line.booked_us // 1000),
        as_iso(line.value_ms),
        line.words,
        *(_amount(part, amount) for amount in amounts),
        line.seq,
        line.leg,
        line.entry_id,
        line.kind,
        line.other,
        line.offer or "",
        "" if line.epoch is None else line.epoch,
        line.receipt or "",
        "" if line.seal_id is None else line.seal_id,
        line.proof,
    )


def _amount(part: AccountPart, amount: int) -> str:
    return decimal_text(amount, part.asset.scale)


def _text(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()
