"""Trial balance and the close of a period.

The trial balance sums every account by asset and code at one entry of the log: debits equal credits in every asset,
posted and pending, or the ledger is wrong. Closing a period records the digest and the totals of the trial balance under
dual control; from then on nothing is recorded with a value date before the period's end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from bithive.canonical import digest
from economy.book import Balance
from economy.control import ledger_names
from economy.entry import Entry, PeriodClose
from economy.errors import BadPeriod, DeclarationDiffers, EntryUnknown, PeriodRunning
from economy.state_tree import Moved
from economy.store import Snapshot, Store, seq_at

_PAGE = 20_000
_MONTH = re.compile(r"(\d{4})-(\d{2})")
CLOSED = "period.closed"
Totals = tuple[int, int, int, int]


class TrialLine(NamedTuple):
    """All accounts of one asset and code together, in the asset's smallest unit."""

    asset: str
    code: str
    debit_pending: int
    debit_posted: int
    credit_pending: int
    credit_posted: int

    @property
    def net(self) -> int:
        """Posted credits less posted debits."""
        return self.credit_posted - self.debit_posted


class TrialBalance(NamedTuple):
    """The ledger at one entry, by asset and account code.

    Attributes
    ----------
    seq
        The last entry that counts.
    lines
        By asset, then code.
    """

    seq: int
    lines: tuple[TrialLine, ...]

    @property
    def totals(self) -> dict[str, Totals]:
        """Debits pending and posted, credits pending and posted, by asset."""
        found: dict[str, Totals] = {}
        for line in self.lines:
            before = found.get(line.asset, (0, 0, 0, 0))
            d, p, c, q = before
            found[line.asset] = (
                d + line.debit_pending,
                p + line.debit_posted,
                c + line.credit_pending,
                q + line.credit_posted,
            )
        return found

    @property
    def adds_up(self) -> bool:
        """Whether debits equal credits in every asset, posted and pending."""
        return all(total[:2] == total[2:] for total in self.totals.values())

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON of its lines, amounts as decimal strings."""
        return trial_digest(self.seq, self.lines)


def trial_digest(seq: int, lines: Iterable[TrialLine]) -> str:
    """Digest of a trial balance, in hexadecimal."""
    return digest({"lines": [[line[0], line[1], *map(str, line[2:])] for line in lines], "seq": seq})


def trial_balance(store: Store, at_seq: int | None = None) -> TrialBalance:
    """Sum all accounts as they were right after an entry, or as they are.

    Raises
    ------
    EntryUnknown
        If the log is not that long.
    """
    with store.reading() as snapshot:
        return trial_balance_of(snapshot, at_seq)


def trial_balance_of(snapshot: Snapshot, at_seq: int | None = None) -> TrialBalance:
    """The same from a snapshot; accounts are read page by page."""
    head = snapshot.head()
    seq = head.seq if at_seq is None else at_seq
    if not 0 <= seq <= head.seq:
        raise EntryUnknown
    moved, sums, after = Moved(seq, head.account_id), dict[tuple[str, str], list[int]](), 0
    moved.follow(snapshot)
    while page := snapshot.accounts(after_id=after, limit=_PAGE):
        after = page[-1].account_id
        for balance in page:
            _add(sums, moved.before(balance))
    return TrialBalance(seq, trial_lines(sums))


def trial_lines(sums: Mapping[tuple[str, str], Sequence[int]]) -> tuple[TrialLine, ...]:
    """Lines from sums by asset and code; what was never moved is left out."""
    return tuple(TrialLine(*name, *sums[name]) for name in sorted(sums) if any(sums[name]))


def _add(sums: dict[tuple[str, str], list[int]], balance: Balance) -> None:
    amounts = (balance.debit_pending, balance.debit_posted, balance.credit_pending, balance.credit_posted)
    line = sums.setdefault((balance.account.asset, balance.account.code), [0] * 4)
    for place, amount in enumerate(amounts):
        line[place] += amount


def period_end_ms(period: str) -> int:
    """Where a month ends, in milliseconds since 1970 (UTC): `2026-10` ends with 1 November.

    Raises
    ------
    BadPeriod
        If it is no month.
    """
    match = _MONTH.fullmatch(period)
    if match is None or not (1 <= int(match[2]) <= 12 and 1970 <= int(match[1]) <= 9998):
        raise BadPeriod("a period to close is a month, such as 2026-10")
    year, month = int(match[1]), int(match[2])
    following = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return round(following.timestamp() * 1000)


def close_period(store: Store, period: str, now_ms: int) -> Entry:
    """The entry that closes a month, without approvals: the trial balance at its last recorded entry, and the close.

    Raises
    ------
    BadPeriod
        If it is no month.
    PeriodRunning
        If it has not ended, or an epoch that ended in it is still being booked.
    DeclarationDiffers
        If it is closed already.
    """
    end_ms = period_end_ms(period)
    if end_ms > now_ms:
        raise PeriodRunning(closed_until_ms=end_ms)
    with store.reading() as snapshot:
        if snapshot.closed_until_ms() >= end_ms:
            raise DeclarationDiffers("the period is closed already")
        _require_epochs_booked(snapshot, end_ms)
        found = trial_balance_of(snapshot, seq_at(snapshot, end_ms * 1000))
        names = ledger_names(snapshot.signing_keys())
    assert found.adds_up, "every transfer has two sides"
    facts: dict[str, str | int | bool | None] = {"period": period, "at_seq": found.seq, "trial_balance": found.digest}
    facts |= {f"total-{asset}": f"{total[1]}/{total[0]}" for asset, total in found.totals.items()}
    if names:
        facts["ledger"] = names[0]
    return Entry(f"period/{period}", CLOSED, facts=facts, declares=(PeriodClose(end_ms),))


def _require_epochs_booked(snapshot: Snapshot, end_ms: int) -> None:
    """An epoch's entries carry its end as their value date, so that they must not come after the close."""
    after = 0
    while rows := snapshot.log(after, 1_000, kind="epoch.opened"):
        after = rows[-1].seq
        ends = {row.entry_id.removesuffix("/open") + "/end": row for row in rows if row.effective_ms < end_ms}
        if len(snapshot.find(list(ends))) < len(ends):
            raise PeriodRunning("an epoch of the period is still being booked", closed_until_ms=end_ms)
