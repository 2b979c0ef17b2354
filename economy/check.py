"""The checker: rebuilds the ledger from its log and says what does not agree.

It shares no code with the planner: it folds the recorded entries in order with rules of its own, compares the fold with
the stored transfers, balances and declarations, and every seal with the roots it should have. An empty list of findings
means that the ledger adds up. The log is read page by page; only accounts and open holds are kept in memory. Hashes of a
long log are computed in a second process beside the fold (`economy.check_log`).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from economy.book import EntryRow, Seal
from economy.chart import CHART, Chart
from economy.check_accounts import Accounts
from economy.check_declared import Declarations
from economy.check_epochs import EpochBook
from economy.check_fold import Body, Fold
from economy.check_log import Lane, page_of
from economy.check_seals import Seals
from economy.errors import SealUnknown
from economy.findings import Checked, Fault, Finding, Notice
from economy.merkle import Frontier
from economy.periods import CLOSED, trial_digest, trial_lines
from economy.proof_store import SUBTREE_HEIGHTS
from economy.seal import checkpoint_of, is_signed
from economy.state_tree import Moved
from economy.store import Snapshot, Store

__all__ = ["Checked", "Fault", "Finding", "Notice", "check"]

Progress = Callable[[int, int], None]

_FIRST_PAGE = 64
_PAGE_ENTRIES = 8_000
_PAGE_TRANSFERS = 32_000
_APART_ENTRIES = 30_000
_USUAL_THRESHOLD = gc.get_threshold()
_COLLECT_AFTER = 500_000


def check(store: Store, chart: Chart = CHART, *, since: int | None = None, progress: Progress | None = None) -> Checked:
    """Replay the entries of one snapshot.

    Parameters
    ----------
    store
        The ledger.
    chart
        Which account codes exist, and their limits.
    since
        Number of a seal of version 2: what it covers is taken for checked, the balances at that point are proven by its
        state root, and only what came after is replayed.
    progress
        Called after each page with the number of the entry and the number of the last.

    Returns
    -------
    Checked
        With no findings if, and only if, everything agrees.

    Raises
    ------
    SealUnknown
        If there is no such seal, or it is of version 1.
    LedgerFault
        If the second process ended.
    """
    with _seldom_collected(), store.reading() as snapshot:
        return _Check(snapshot, chart, _seal(snapshot, since)).run(progress)


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """A page is tens of thousands of rows and no cycles: looking for cycles among them would take a third of the time."""
    gc.set_threshold(_COLLECT_AFTER, *_USUAL_THRESHOLD[1:])
    try:
        yield
    finally:
        gc.set_threshold(*_USUAL_THRESHOLD)


def _seal(snapshot: Snapshot, since: int | None) -> Seal | None:
    if since is None:
        return None
    seal = snapshot.seal(since)
    if seal is None or seal.version == 1 or not is_signed(seal):
        raise SealUnknown("no seal of this number and of version 2 is signed; check all of it")
    return seal


class _Check:
    """One run over one snapshot."""

    def __init__(self, snapshot: Snapshot, chart: Chart, since: Seal | None) -> None:
        self._snapshot, self._head = snapshot, snapshot.head()
        self._after = 0 if since is None else since.to_seq
        moved, opened, before = None, 0, (0, 0)
        self._frontier = Frontier()
        if since is not None:
            moved, opened = Moved(since.to_seq, self._head.account_id), checkpoint_of(since).accounts
            moved.follow(snapshot)
            before = (since.to_seq, snapshot.log(since.to_seq - 1, 1)[0].recorded_us)
            self._frontier = Frontier.from_text(since.to_seq, since.frontier)
        self._accounts = Accounts.load(snapshot, chart, moved, opened)
        self._fold = Fold(snapshot, self._accounts, before)
        self._declarations = Declarations(self._fold, snapshot, self._after)
        self._fold.declared = self._declarations.take
        self._epochs = EpochBook(self._fold, self._accounts, snapshot, self._after)
        self._seals = Seals(self._fold, self._accounts, self._declarations, snapshot, since)
        self._trials: dict[int, str] = {}
        self._fold.readers[CLOSED] = self._closed
        self._stops = self._all_stops()

    def run(self, progress: Progress | None) -> Checked:
        apart = self._head.seq - self._after > _APART_ENTRIES
        lane = Lane(self._frontier, SUBTREE_HEIGHTS, apart=apart)
        try:
            self._replay(lane, progress)
        finally:
            lane.close()
        self._fold.duplicates()
        self._declarations.finish()
        self._epochs.finish()
        self._seals.finish(self._head.seq)
        self._balances()
        found = self._fold.findings
        findings = [item for item in found if isinstance(item.fault, Fault)]
        notices = [item for item in found if isinstance(item.fault, Notice)]
        counts = (self._fold.seq - self._after, self._fold.transfers, len(self._accounts.text), len(self._seals.all))
        return Checked(*counts, list(dict.fromkeys(findings)), notices)

    def _replay(self, lane: Lane, progress: Progress | None) -> None:
        after, limit = self._after, _FIRST_PAGE
        while rows := self._snapshot.log(after, limit):
            last = rows[-1].seq
            stops = [seq for seq in self._seals.stops if after < seq <= last]
            answers = lane.add(page_of(rows, stops))
            legs = self._snapshot.transfers(after, last)
            self._fold.page(rows, legs, self._stops)
            for answer in answers:
                self._seals.answer(answer)
            after = last
            fitting = _PAGE_TRANSFERS * len(rows) // max(len(legs), 1)
            limit = max(min(_PAGE_ENTRIES, 4 * limit, fitting), _FIRST_PAGE)
            if progress is not None:
                progress(last, self._head.seq)
        for answer in lane.rest():
            self._seals.answer(answer)

    def _all_stops(self) -> dict[int, Callable[[], None]]:
        """What happens after which entry: seals are compared, and trial balances that a close names are made."""
        stops: dict[int, Callable[[], None]] = dict.fromkeys(self._seals.stops, self._seals.state)
        after = self._after
        while rows := self._snapshot.log(after, 1_000, kind=CLOSED):
            after = rows[-1].seq
            for seq in filter(None, map(_at_seq, rows)):
                stops[seq] = _both(stops[seq], self._trial) if seq in stops else self._trial
        return stops

    def _trial(self) -> None:
        accounts, sums = self._accounts, dict[tuple[str, str], list[int]]()
        for place, name in enumerate(accounts.text):
            _, code, asset = name.split(":")
            line = sums.setdefault((asset, code), [0] * 4)
            for column, totals in enumerate(accounts.columns()):
                line[column] += totals[place]
        self._trials[self._fold.seq] = trial_digest(self._fold.seq, trial_lines(sums))

    def _closed(self, row: EntryRow, body: Body) -> None:
        """A period's close names the trial balance as it was; one before the fold began was looked at then."""
        facts, seq = _facts(body.facts), _at_seq(row)
        if seq is None or (seq > self._after and facts.get("trial_balance") != self._trials.get(seq)):
            self._fold.report(Fault.TRIAL_BALANCE_MISMATCH, f"entry {row.seq}")

    def _balances(self) -> None:
        """Stored totals are the folded ones, limits are the chart's, and every asset sums to nothing."""
        accounts, fold = self._accounts, self._fold
        sums: dict[int, list[int]] = {}
        columns = zip(*accounts.columns(), *accounts.stored, strict=True)
        for place, totals in enumerate(columns):
            if totals[:4] != totals[4:] or not accounts.touched[place]:
                fold.report(Fault.BALANCE_MISMATCH, f"account {accounts.text[place]}")
            total = sums.setdefault(accounts.assets[place], [0, 0])
            total[0] += totals[4] - totals[6]
            total[1] += totals[5] - totals[7]
        for name in accounts.wrong_limits:
            fold.report(Fault.LIMIT_VIOLATED, f"account {name}")
        assets = self._snapshot.assets()
        for number, total in sums.items():
            if total != [0, 0]:
                asset = assets.get(number)
                fold.report(Fault.SUM_MISMATCH, f"asset {asset.code if asset else number}")


def _at_seq(row: EntryRow) -> int | None:
    """The entry at which a period's close made its trial balance; nothing when it does not say."""
    try:
        seq = _facts(msgspec.json.decode(row.content, type=Body).facts).get("at_seq")
    except msgspec.MsgspecError:
        return None
    return seq if type(seq) is int and 0 <= seq < row.seq else None


def _facts(text: msgspec.Raw) -> dict[str, Any]:
    return msgspec.json.decode(text, type=dict[str, Any])


def _both(first: Callable[[], None], second: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        first()
        second()

    return run
