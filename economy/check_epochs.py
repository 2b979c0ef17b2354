"""The checker's view of rewards: what may be issued, that every pool is shared out to the unit, and what may be claimed.

Emission and claims are computed here once more, from the policies' texts and the folded accounts, not with the code that
closes epochs.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from economy.book import EntryRow
from economy.check_accounts import Accounts
from economy.check_fold import Body, Fold
from economy.findings import Fault
from economy.merkle import Frontier, leaf_hash
from economy.store import Snapshot

_DAY_MS = 86_400_000


class EpochBook:
    """Follows the epochs.

    Parameters
    ----------
    fold, accounts
        The fold; findings go there.
    snapshot
        Policies, and the epochs before the fold began.
    since
        The entry after which the fold begins.
    """

    def __init__(self, fold: Fold, accounts: Accounts, snapshot: Snapshot, since: int = 0) -> None:
        self._fold, self._accounts = fold, accounts
        self._policies = {(item.kind, item.version): item for item in snapshot.policies()}
        self._emitted = {
            str(_content(item.content).get("asset")) for item in self._policies.values() if item.kind == "emission"
        }
        self._number, self._to_ms = 0, 0
        self._allowed = {asset: self._issued(asset) for asset in self._emitted}
        self._closed: dict[int, tuple[int, str, list[tuple[str, int]]]] = {}
        for row in _before(snapshot, since):
            facts = _facts(msgspec.json.decode(row.content, type=Body))
            self._number, self._to_ms = facts["epoch"], facts["to_ms"]
        fold.readers |= {"epoch.opened": self._guarded(self._opened), "epoch.closed": self._guarded(self._ended)}
        fold.readers |= {"claims.published": self._guarded(self._claimed)}

    def finish(self) -> None:
        """No more is issued than the epochs that were opened brought."""
        for asset in sorted(self._emitted):
            if self._issued(asset) > self._allowed[asset]:
                self._fold.report(Fault.ISSUANCE_ABOVE_EMISSION, f"asset {asset}")

    def _guarded(self, reader: Any) -> Any:
        def read(row: EntryRow, body: Body) -> None:
            try:
                reader(row, _facts(body))
            except (KeyError, TypeError, ValueError):
                self._fold.report(Fault.BODY_MALFORMED, f"entry {row.seq}")

        return read

    def _issued(self, asset: str) -> int:
        accounts = self._accounts
        places = accounts.of_code("issuance", asset)
        return sum(accounts.debit_posted[place] + accounts.debit_pending[place] for place in places)

    def _opened(self, row: EntryRow, facts: dict[str, Any]) -> None:
        number, from_ms, to_ms, asset = (facts[name] for name in ("epoch", "from_ms", "to_ms", "asset"))
        follows = number == self._number + 1 and from_ms <= to_ms and (number == 1 or from_ms == self._to_ms)
        if not follows or row.entry_id != f"epoch/{number}/open":
            self._fold.report(Fault.EPOCH_OUT_OF_ORDER, f"epoch {number}")
        self._number, self._to_ms = number, to_ms
        policy = self._policies.get(("emission", facts["emission"]))
        content = {} if policy is None else _content(policy.content)
        pool = 0
        if policy is not None and policy.effective_from_ms <= to_ms and content.get("asset") == asset:
            pool = _emitted(content, to_ms) - _emitted(content, from_ms)
        if facts["pool"] > pool:
            self._fold.report(Fault.ISSUANCE_ABOVE_EMISSION, f"epoch {number}")
        self._allowed[asset] = self._allowed.get(asset, 0) + facts["pool"]

    def _ended(self, row: EntryRow, facts: dict[str, Any]) -> None:
        """Paid or held back for nodes, or left to the reserve: nothing stays in a pool when its epoch ends."""
        accounts, number = self._accounts, facts["epoch"]
        for asset in self._emitted:
            if any(accounts.spent(place) for place in accounts.of_code("pool", asset)):
                self._fold.report(Fault.POOL_NOT_EMPTY, f"epoch {number}")
            places = accounts.of_code("earned", asset)
            earned = ((accounts.text[place].partition(":")[0], accounts.credit_posted[place]) for place in places)
            self._closed[number] = (row.seq, asset, sorted(item for item in earned if item[1]))

    def _claimed(self, _: EntryRow, facts: dict[str, Any]) -> None:
        number = facts["epoch"]
        at_seq, asset, earned = self._closed.pop(number, (0, "", []))
        leaf = '{{"account":"{0}:earned:{1}","asset":"{1}","cumulative":"{2}"}}'
        leaves = (leaf_hash(leaf.format(party, asset, amount).encode()) for party, amount in earned)
        root, total = Frontier().extend(leaves).root().hex(), sum(amount for _, amount in earned)
        said = tuple(facts[name] for name in ("at_seq", "asset", "count", "total", "root"))
        if said != (at_seq, asset, len(earned), str(total), root):
            self._fold.report(Fault.CLAIMS_MISMATCH, f"epoch {number}")


def _before(snapshot: Snapshot, since: int) -> list[EntryRow]:
    """The last epoch opened before the fold begins."""
    after, last = 0, list[EntryRow]()
    while since and (rows := [row for row in snapshot.log(after, 1_000, kind="epoch.opened") if row.seq <= since]):
        after, last = rows[-1].seq, rows[-1:]
    return last


def _facts(body: Body) -> dict[str, Any]:
    return msgspec.json.decode(body.facts, type=dict[str, Any])


def _content(text: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(text)
    return content


def _emitted(content: dict[str, Any], at_ms: int) -> int:
    """All that a schedule allows to exist at a time."""
    total, steps = 0, content["steps"]
    for place, step in enumerate(steps):
        end = steps[place + 1]["from_ms"] if place + 1 < len(steps) else at_ms
        total += step["per_day"] * max(min(end, at_ms) - step["from_ms"], 0)
    return int(total) // _DAY_MS
