"""Every invariant of the kernel at every step: each new entry is folded once, from its own words, beside the planner.

Nothing here uses the planner, a store's arithmetic or the checker; a step costs what has changed since the last one. The
rules of the products (issuance, splits, policies, approvals, periods) follow in `year_rules`.

====  ==========================================================================================================
I1    debits equal credits, asset by asset, posted and pending: in every step's differences and in every sweep's sums
I2    every account of an entry keeps its code's limit right after that entry, and no total is below zero
I3    a pending transfer is resolved once, by at most its amount, and after its time by its expiry alone
I4    what is stored of an account is the fold of its transfers, and the stored transfers are the entries' own
I5    each id once; what is stored under it has the hash that was asked for
I6    what was read once reads the same for ever: leaves, roots of every seal, pages read again
I7    each entry comes later than the one before, with the next number
====  ==========================================================================================================
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from economy.book import Balance, EntryRow, Seal, TransferRow
from economy.chart import CHART, Limit

_PAGE = 500


class Broken(AssertionError):
    """An invariant does not hold."""

    def __init__(self, invariant: str, place: str, why: str) -> None:
        super().__init__(f"{invariant} at {place}: {why}")
        self.invariant = invariant


def hold(invariant: str, kept: bool, place: str, why: str) -> None:
    """Raise `Broken` unless it is kept."""
    if not kept:
        raise Broken(invariant, place, why)


@dataclass(slots=True)
class Held:
    """A pending transfer as it was written down."""

    debit: str
    credit: str
    amount: int
    expires_us: int | None
    seq: int


@dataclass(slots=True)
class Leg:
    """One transfer as its entry's words and the fold so far make it.

    Attributes
    ----------
    moved
        What went from `debit` to `credit` for good: nothing for a pending or void one.
    """

    phase: int
    debit: str
    credit: str
    amount: int
    moved: int
    pending: tuple[int, int] | None = None
    expires_us: int | None = None


@dataclass(slots=True)
class Folded:
    """One entry with its legs."""

    seq: int
    entry_id: str
    kind: str
    recorded_us: int
    effective_ms: int
    body: dict[str, Any]
    legs: list[Leg]

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = self.body.get("facts", {})
        return facts

    @property
    def declares(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.body.get("declares", [])
        return found


@dataclass(slots=True)
class Tree:
    """The roots of a growing RFC 6962 tree's complete subtrees, largest first."""

    stack: list[tuple[int, bytes]] = field(default_factory=list)

    def add(self, leaf: bytes) -> None:
        height = 0
        while self.stack and self.stack[-1][0] == height:
            leaf = hashlib.sha256(b"\x01" + self.stack.pop()[1] + leaf).digest()
            height += 1
        self.stack.append((height, leaf))

    def root(self) -> bytes:
        if not self.stack:
            return hashlib.sha256().digest()
        found = self.stack[-1][1]
        for _, left in reversed(self.stack[:-1]):
            found = hashlib.sha256(b"\x01" + left + found).digest()
        return found


class Auditor:
    """Holds a ledger against its invariants while it grows.

    Parameters
    ----------
    store
        Read beside whoever writes.
    rules
        Called with each entry once it is folded.
    sealed
        Called with each seal after the entries that it covers.

    Attributes
    ----------
    steps, entries, transfers
        How much has been held against them.
    """

    def __init__(
        self,
        store: Any,
        rules: Iterable[Callable[[Auditor, Folded], None]] = (),
        sealed: Callable[[Seal], None] = lambda _: None,
    ) -> None:
        self.store, self.rules, self._told = store, tuple(rules), sealed
        self.steps = self.entries = self.transfers = 0
        self.recorded_us = self.opened = self.sealed = 0
        self.ids: dict[str, int] = {}
        self.leaves: list[bytes] = []
        self.tree = Tree()
        self.totals: dict[str, list[int]] = {}
        self.stored: dict[str, tuple[int, ...]] = {}
        self.held: dict[tuple[str, int], Held] = {}
        self.sums: dict[str, list[int]] = {}
        self.state: list[bytes] = []
        self.order: dict[str, int] = {}
        self._again = 0

    def step(self) -> int:
        """Fold what is new; how many entries."""
        self.steps += 1
        with self.store.reading() as snapshot:
            head, first = snapshot.head(), self.entries
            rows = snapshot.log(first, max(head.seq - first, 1))
            hold("I7", len(rows) == head.seq - first, f"entry {head.seq}", "the log has a gap")
            legs: dict[int, list[TransferRow]] = {}
            for leg in snapshot.transfers(first, head.seq):
                legs.setdefault(leg.entry_seq, []).append(leg)
            seals = {seal.to_seq: seal for seal in self._new_seals(snapshot)}
            if (seal := seals.pop(first, None)) is not None:
                self._seal(seal)
            changed: dict[str, None] = {}
            folded = [(self._row(row, changed, seals), legs.pop(row.seq, [])) for row in rows]
            hold("I4", not legs, f"entries {list(legs)[:3]}", "transfers of no entry")
            hold("I6", not seals, f"entries {list(seals)[:3]}", "a seal of what was never written")
            self._balances(snapshot, changed, folded)
        return len(rows)

    def _new_seals(self, snapshot: Any) -> list[Seal]:
        seals: list[Seal] = snapshot.seals()
        new = seals[self.sealed :]
        self.sealed = len(seals)
        return new

    def _row(self, row: EntryRow, changed: dict[str, None], seals: dict[int, Seal]) -> Folded:
        place, content = f"entry {row.seq} {row.entry_id}", row.content.encode()
        hold("I7", row.seq == self.entries + 1 and row.recorded_us > self.recorded_us, place, "not after the last")
        hold("I5", row.entry_id not in self.ids, place, "the id is there already")
        hold("I5", hashlib.sha256(content).hexdigest() == row.request_hash, place, "not what was asked for")
        leaf = hashlib.sha256(b'\x00{"body":%b,"recorded_us":%d,"seq":%d}' % (content, row.recorded_us, row.seq))
        hold("I6", leaf.hexdigest() == row.leaf_hash, place, "another leaf than its words")
        body = json.loads(content)
        hold("I5", (body["id"], body["kind"]) == (row.entry_id, row.kind), place, "filed under another name")
        self.ids[row.entry_id] = row.seq
        self.leaves.append(leaf.digest())
        self.tree.add(leaf.digest())
        self.entries, self.recorded_us = row.seq, row.recorded_us
        legs = [self._leg(row, number, said) for number, said in enumerate(body.get("transfers", ()))]
        for name in {name for leg in legs for name in (leg.debit, leg.credit)}:
            changed[name] = None
            self._limit(name, place)
        entry = Folded(row.seq, row.entry_id, row.kind, row.recorded_us, row.effective_ms, body, legs)
        for rule in self.rules:
            rule(self, entry)
        if (seal := seals.pop(row.seq, None)) is not None:
            self._seal(seal)
        return entry

    def _leg(self, row: EntryRow, number: int, said: dict[str, Any]) -> Leg:
        self.transfers += 1
        if "debit" not in said:
            return self._resolved(row, said)
        amount, debit, credit = said["amount"], said["debit"], said["credit"]
        place = f"entry {row.seq} leg {number}"
        hold("I1", amount > 0 and debit.split(":")[2] == credit.split(":")[2], place, "two assets, or nothing moved")
        pending = "timeout_s" in said
        self._of(debit)[0 if pending else 1] += amount
        self._of(credit)[2 if pending else 3] += amount
        if not pending:
            return Leg(0, debit, credit, amount, amount)
        timeout_s = said["timeout_s"]
        expires_us = None if timeout_s is None else row.recorded_us + timeout_s * 1_000_000
        self.held[row.entry_id, number] = Held(debit, credit, amount, expires_us, row.seq)
        return Leg(1, debit, credit, amount, 0, None, expires_us)

    def _resolved(self, row: EntryRow, said: dict[str, Any]) -> Leg:
        entry_id, number = said.get("post") or said["void"]
        place = f"entry {row.seq} {row.entry_id}"
        held = self.held.pop((entry_id, number), None)
        hold("I3", held is not None, place, f"{entry_id} leg {number} is not pending (any more)")
        assert held is not None
        amount = held.amount if said.get("amount") is None else said["amount"]
        hold("I3", 0 < amount <= held.amount, place, "more than was pending")
        due = held.expires_us is not None and row.recorded_us >= held.expires_us
        hold("I3", due == (row.kind == "pending.expired"), place, "expired too late, or too early")
        debit, credit, moved = self._of(held.debit), self._of(held.credit), amount if "post" in said else 0
        debit[0] -= held.amount
        credit[2] -= held.amount
        debit[1] += moved
        credit[3] += moved
        return Leg(2 if moved else 3, held.debit, held.credit, amount, moved, (held.seq, number))

    def _of(self, name: str) -> list[int]:
        found = self.totals.get(name)
        if found is None:
            found = self.totals[name] = [0, 0, 0, 0]
        return found

    def _limit(self, name: str, place: str) -> None:
        totals, kind = self.totals[name], CHART.get(name.split(":")[1])
        hold("I2", kind is not None and min(totals) >= 0, place, f"{name} is of no kind, or below zero")
        assert kind is not None
        out = totals[0] + totals[1] - totals[3] if kind.limit is Limit.CREDIT else totals[2] + totals[3] - totals[1]
        hold("I2", kind.limit is Limit.NONE or out <= 0, place, f"{name} passes its limit by {out}")

    def available(self, name: str) -> int:
        """What an account may still give: posted credits less debits posted and pending."""
        totals = self.totals.get(name, [0, 0, 0, 0])
        return totals[3] - totals[1] - totals[0]

    def net(self, name: str) -> int:
        """Posted credits less posted debits."""
        totals = self.totals.get(name, [0, 0, 0, 0])
        return totals[3] - totals[1]

    def _seal(self, seal: Seal) -> None:
        place = f"seal {seal.seal_id}"
        hold("I6", seal.log_root == self.tree.root().hex(), place, "signs another log")
        hold("I4", seal.state_root == self._state_root(seal), place, "signs other balances")
        self._told(seal)

    def _state_root(self, seal: Seal) -> str:
        """Over the totals as folded up to here, by the order that the seal's version names."""
        names = list(self.totals) if getattr(seal, "version", 1) > 1 else sorted(self.totals)
        tree = Tree()
        for name in names:
            totals = self.totals[name]
            tree.add(hashlib.sha256(b"\x00" + _state_leaf(name, totals)).digest())
        return tree.root().hex()

    def _balances(
        self, snapshot: Any, changed: dict[str, None], folded: list[tuple[Folded, list[TransferRow]]]
    ) -> None:
        wanted = set(changed)
        found: list[Balance] = snapshot.accounts({_account(name) for name in wanted}) if wanted else []
        names = {balance.account_id: str(balance.account) for balance in found}
        hold("I4", len(found) == len(wanted), f"entry {self.entries}", "an account is not stored")
        differences: dict[str, list[int]] = {}
        for balance in found:
            self._stored(balance, differences)
        for asset, (pending, posted) in differences.items():
            hold("I1", pending == posted == 0, f"entry {self.entries}", f"{asset} is off by {pending}, {posted}")
        for entry, legs in folded:
            said = [(leg.phase, leg.debit, leg.credit, leg.amount, leg.pending, leg.expires_us) for leg in entry.legs]
            kept = [_as_said(leg, names) for leg in legs]
            hold("I4", said == kept, f"entry {entry.seq} {entry.entry_id}", "its stored transfers are not its own")

    def _stored(self, balance: Balance, differences: dict[str, list[int]]) -> None:
        name = str(balance.account)
        stored = (balance.debit_pending, balance.debit_posted, balance.credit_pending, balance.credit_posted)
        hold("I4", list(stored) == self.totals[name], f"account {name}", f"{stored} is not the fold of its transfers")
        before = self.stored.get(name, (0, 0, 0, 0))
        off = differences.setdefault(balance.account.asset, [0, 0])
        off[0] += stored[0] - before[0] - stored[2] + before[2]
        off[1] += stored[1] - before[1] - stored[3] + before[3]
        self.stored[name] = stored

    def sweep(self) -> None:
        """Everything stored against everything folded, changed or not: accounts, sums, what is pending, a page of old
        entries. As much work as there are accounts."""
        with self.store.reading() as snapshot:
            balances = snapshot.accounts()
            hold("I4", len(balances) == len(self.totals), "all accounts", "there are more or fewer than folded")
            for balance in balances:
                self._stored(balance, {})
            self._sums()
            self._read_again(snapshot)

    def _sums(self) -> None:
        sums: dict[str, list[int]] = {}
        pending = dict.fromkeys(self.totals, 0)
        for held in self.held.values():
            pending[held.debit] += held.amount
            pending[held.credit] += held.amount
        for name, stored in self.stored.items():
            total = sums.setdefault(name.split(":")[2], [0, 0])
            total[0] += stored[0] - stored[2]
            total[1] += stored[1] - stored[3]
            hold("I3", stored[0] + stored[2] == pending[name], f"account {name}", "its reserves are not what is open")
        for asset, total in sums.items():
            hold("I1", total == [0, 0], f"asset {asset}", f"debits less credits are {total}")

    def _read_again(self, snapshot: Any) -> None:
        rows = snapshot.log(self._again, _PAGE)
        for row in rows:
            leaf = hashlib.sha256(
                b'\x00{"body":%b,"recorded_us":%d,"seq":%d}' % (row.content.encode(), row.recorded_us, row.seq)
            ).digest()
            hold("I6", leaf == self.leaves[row.seq - 1], f"entry {row.seq}", "it was changed after it was read")
        self._again = rows[-1].seq if rows and rows[-1].seq < self.entries else 0


def _account(name: str) -> Any:
    from economy.entry import Account

    return Account(*name.split(":"))


def _as_said(leg: TransferRow, names: dict[int, str]) -> tuple[Any, ...]:
    pending = None if leg.pending_seq is None else (leg.pending_seq, leg.pending_leg)
    return (leg.phase, names.get(leg.debit_id), names.get(leg.credit_id), leg.amount, pending, leg.expires_us)


def _state_leaf(name: str, totals: list[int]) -> bytes:
    words = '{"account":"%s","credit_pending":"%d","credit_posted":"%d","debit_pending":"%d","debit_posted":"%d"}'
    return (words % (name, totals[2], totals[3], totals[0], totals[1])).encode()
