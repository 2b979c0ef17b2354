"""What an epoch's shares follow from, read from the ledger as it was at one entry. Nothing here decides.

An epoch's work is what stands on the accounts `work` right after its opening entry: what is measured later belongs to
the next. So the same numbers follow from the log at any later time, by taking back what was booked since.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from economy.book import EntryRow, TransferRow, facts_of
from economy.entry import Phase
from economy.money import RU, WU
from economy.rewards import WHOLE_BP, RewardRule
from economy.store import Snapshot

PAGE = 2_000
_ACCOUNTS = 50_000


class Weights(NamedTuple):
    """What each node's share of an epoch follows from, by party id.

    Attributes
    ----------
    work
        Reward units in the smallest unit, and work units of before there were any.
    factors_bp
        The online factor of those whose factor is not one.
    caught
        Nodes that earn nothing in the epoch.
    """

    work: dict[str, tuple[int, int]]
    factors_bp: dict[str, int]
    caught: frozenset[str]

    def units(self, party: str) -> int:
        """A node's reward units, old work included."""
        units, old = self.work[party]
        return units + old * WHOLE_BP

    @property
    def total(self) -> int:
        """Reward units of all that may be paid."""
        return sum(self.units(party) for party in self.work if party not in self.caught)

    def weights(self) -> dict[str, int]:
        """The weight of each node's share."""
        factor = self.factors_bp
        if not factor and not self.caught:
            return {party: units + old * WHOLE_BP for party, (units, old) in self.work.items()}
        return {
            party: 0 if party in self.caught else self.units(party) * factor.get(party, WHOLE_BP) // WHOLE_BP
            for party in self.work
        }


def weights_at(snapshot: Snapshot, after_seq: int, seq: int, rule: RewardRule) -> Weights:
    """The weights of the epoch whose opening entry is `seq`; the one before was opened by `after_seq` (0: none)."""
    kept: dict[str, tuple[int, int]] = {}
    for facts in _facts(snapshot, "node.online", after_seq, seq):
        declared_ms, kept_ms = kept.get(facts["node"], (0, 0))
        kept[facts["node"]] = (declared_ms + facts["declared_ms"], kept_ms + facts["kept_ms"])
    factors = {party: rule.online_bp(*times) for party, times in kept.items()}
    caught = frozenset(facts["node"] for facts in _facts(snapshot, "node.caught", after_seq, seq))
    factors = {party: factor for party, factor in factors.items() if factor != WHOLE_BP}
    return Weights(work_at(snapshot, seq), factors, caught)


def work_at(snapshot: Snapshot, seq: int) -> dict[str, tuple[int, int]]:
    """Reward units and old work units of each node right after entry `seq`, by party id."""
    since = _moved_since(snapshot, seq)
    work: dict[str, tuple[int, int]] = {}
    for balance in accounts(snapshot, "work"):
        net, asset = balance.net - since[balance.account_id], balance.account.asset
        if net and asset in (RU.code, WU.code):
            units, old = work.get(balance.account.owner, (0, 0))
            work[balance.account.owner] = (units + net, old) if asset == RU.code else (units, old + net)
    return work


def credited_at(snapshot: Snapshot, seq: int, code: str, asset: str) -> dict[str, int]:
    """All that was ever posted to the accounts of a code and asset up to entry `seq`, by party id."""
    since: Counter[int] = Counter()
    for row in moved(snapshot, seq, snapshot.head().seq):
        since[row.credit_id] += row.amount
    found = (item for item in accounts(snapshot, code) if item.account.asset == asset)
    credited = {item.account.owner: item.credit_posted - since[item.account_id] for item in found}
    return {party: amount for party, amount in credited.items() if amount}


def accounts(snapshot: Snapshot, code: str) -> Iterator[Any]:
    """Accounts of a code, page by page."""
    after_id = 0
    while page := snapshot.accounts(after_id=after_id, limit=_ACCOUNTS, code=code):
        yield from page
        after_id = page[-1].account_id


def moved(
    snapshot: Snapshot, after_seq: int, to_seq: int, account_ids: Sequence[int] | None = None
) -> Iterator[TransferRow]:
    """Posted transfers of the entries `after_seq < seq <= to_seq`, page by page."""
    for start in range(after_seq, to_seq, PAGE):
        for row in snapshot.transfers(start, min(start + PAGE, to_seq), account_ids):
            if row.phase in (Phase.SINGLE, Phase.POST):
                yield row


def entries(snapshot: Snapshot, kind: str, after_seq: int = 0, to_seq: int | None = None) -> Iterator[EntryRow]:
    """Entries of one kind, `after_seq < seq <= to_seq`, page by page."""
    after = after_seq
    while rows := snapshot.log(after, PAGE, kind=kind):
        for row in rows:
            if to_seq is not None and row.seq > to_seq:
                return
            yield row
        after = rows[-1].seq


def _facts(snapshot: Snapshot, kind: str, after_seq: int, to_seq: int) -> Iterator[dict[str, Any]]:
    return map(facts_of, entries(snapshot, kind, after_seq, to_seq))


def _moved_since(snapshot: Snapshot, seq: int) -> Counter[int]:
    """What was added to each account by entries after `seq`."""
    since: Counter[int] = Counter()
    for row in moved(snapshot, seq, snapshot.head().seq):
        since[row.credit_id] += row.amount
        since[row.debit_id] -= row.amount
    return since
