"""What the ledger keeps, as plain rows: shared by the planner and every store."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from economy.chart import Limit
from economy.entry import Account, Asset, Entry, Key, Party, PendingRef, PeriodClose, Policy


class EntryRow(NamedTuple):
    """A recorded entry. `leaf_hash` is its RFC 6962 leaf in the log's tree, hexadecimal."""

    seq: int
    entry_id: str
    kind: str
    request_hash: str
    recorded_us: int
    effective_ms: int
    content: str
    leaf_hash: str


def facts_of(row: EntryRow) -> dict[str, Any]:
    """What a recorded entry says of itself."""
    facts: dict[str, Any] = json.loads(row.content).get("facts", {})
    return facts


class TransferRow(NamedTuple):
    """A recorded transfer. A post or void repeats the accounts of its pending one."""

    entry_seq: int
    leg: int
    asset_id: int
    debit_id: int
    credit_id: int
    amount: int
    phase: int
    pending_seq: int | None
    pending_leg: int | None
    expires_us: int | None


@dataclass(slots=True)
class Balance:
    """An account: four totals of integers that never shrink below zero.

    Attributes
    ----------
    debit_pending, debit_posted, credit_pending, credit_posted
        Reserved and moved out; to come and moved in.
    version
        How many times the totals have been written.
    """

    account_id: int
    account: Account
    asset_id: int
    limit: Limit
    debit_pending: int = 0
    debit_posted: int = 0
    credit_pending: int = 0
    credit_posted: int = 0
    version: int = 0

    @property
    def net(self) -> int:
        """Posted credits less posted debits."""
        return self.credit_posted - self.debit_posted

    @property
    def available(self) -> int:
        """What a credit-limited account may still spend."""
        return self.credit_posted - self.debit_posted - self.debit_pending

    def holds(self) -> bool:
        """Whether the account's limit is kept."""
        if self.limit is Limit.CREDIT:
            return self.debit_pending + self.debit_posted <= self.credit_posted
        if self.limit is Limit.DEBIT:
            return self.credit_pending + self.credit_posted <= self.debit_posted
        return True


@dataclass(slots=True)
class Pending:
    """A pending transfer, open or resolved."""

    seq: int
    leg: int
    entry_id: str
    debit: Balance
    credit: Balance
    amount: int
    expires_us: int | None
    resolved: bool


class Seal(NamedTuple):
    """The signed end of a stretch of the log.

    Attributes
    ----------
    seal_id
        1, 2, 3, ...
    from_seq, to_seq
        The entries this seal adds; `log_root` covers all of 1 to `to_seq`.
    log_root, state_root
        RFC 6962 tree heads over the entries' leaves and over all balances, hexadecimal.
    frontier
        The roots of the log tree's complete subtrees, largest first, joined by commas: what the next seal starts from.
    previous
        SHA-256 of the previous seal's signed bytes; 64 zeros for the first.
    public_key, signature
        Ed25519, hexadecimal.
    version
        1: `signature` covers the canonical JSON of the members above. 2: it is a signed note's (`economy.notes`).
    note
        The signed note of version 2, word for word; empty in version 1.
    """

    seal_id: int
    from_seq: int
    to_seq: int
    log_root: str
    state_root: str
    frontier: str
    previous: str
    sealed_ms: int
    public_key: str
    signature: str
    version: int = 1
    note: str = ""


class KeyRow(NamedTuple):
    """A declared key. From `revoked_seq` on it signs nothing that counts."""

    public_key: str
    purpose: str
    party_id: str
    declared_seq: int
    revoked_seq: int | None = None


class Declared(NamedTuple):
    """What entries have declared, by the store's own numbers."""

    assets: dict[int, Asset]
    parties: dict[int, Party]
    policies: list[Policy]
    keys: dict[str, KeyRow]
    closed_until_ms: int


class Known(NamedTuple):
    """What is remembered of an entry for ever."""

    seq: int
    request_hash: str
    recorded_us: int


class Head(NamedTuple):
    """The end of the log and the last numbers given out."""

    seq: int = 0
    recorded_us: int = 0
    account_id: int = 0
    asset_id: int = 0
    party_id: int = 0


@dataclass(slots=True)
class Wanted:
    """What a batch will ask about; a store loads it in a few set-based reads."""

    entry_ids: set[str] = field(default_factory=set)
    pending_ids: set[str] = field(default_factory=set)
    accounts: set[Account] = field(default_factory=set)
    parties: set[str] = field(default_factory=set)
    policies: set[tuple[str, int]] = field(default_factory=set)
    keys: bool = False

    @classmethod
    def by(cls, entries: Iterable[Entry]) -> Wanted:
        wanted = cls()
        for entry in entries:
            wanted.entry_ids.add(entry.entry_id)
            for transfer in entry.transfers:
                if transfer.pending is not None:
                    wanted.pending_ids.add(transfer.pending.entry_id)
                elif transfer.debit is not None and transfer.credit is not None:
                    wanted.accounts.add(transfer.debit)
                    wanted.accounts.add(transfer.credit)
            for item in entry.declares:
                if isinstance(item, Party | Key):
                    wanted.parties.add(item.party_id)
                elif isinstance(item, Policy):
                    wanted.policies.add((item.kind, item.version))
                wanted.keys |= isinstance(item, Policy | Key | PeriodClose)
        return wanted


@dataclass(slots=True)
class Changes:
    """What one batch writes, in order.

    Attributes
    ----------
    keys, revoked
        Keys declared and keys revoked, the latter with their `revoked_seq`.
    closed
        `closed_until_ms` and the entry's seq of each period close.
    """

    entries: list[EntryRow] = field(default_factory=list)
    transfers: list[TransferRow] = field(default_factory=list)
    opened: list[Balance] = field(default_factory=list)
    touched: dict[int, Balance] = field(default_factory=dict)
    assets: list[tuple[int, Asset]] = field(default_factory=list)
    parties: list[tuple[int, Party]] = field(default_factory=list)
    policies: list[Policy] = field(default_factory=list)
    keys: list[KeyRow] = field(default_factory=list)
    revoked: list[KeyRow] = field(default_factory=list)
    closed: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class Book:
    """The part of the ledger that a batch needs, in memory. The planner changes it; a store writes `changes`.

    Attributes
    ----------
    now_us
        The batch's time: the clock's, or one microsecond after the last entry if the clock stands or went back.
    due
        Pending transfers that expire at or before `now_us`, in the order of expiry.
    keys
        Declared keys by public key, when `Wanted.keys` asked for them.
    closed_until_ms
        Value dates before this one are closed; 0 when no period has been closed.
    """

    head: Head
    now_us: int
    known: dict[str, Known] = field(default_factory=dict)
    balances: dict[Account, Balance] = field(default_factory=dict)
    pendings: dict[PendingRef, Pending] = field(default_factory=dict)
    assets: dict[str, tuple[int, Asset]] = field(default_factory=dict)
    parties: dict[str, tuple[int, str]] = field(default_factory=dict)
    policies: dict[tuple[str, int], Policy] = field(default_factory=dict)
    keys: dict[str, KeyRow] = field(default_factory=dict)
    closed_until_ms: int = 0
    due: list[Pending] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)


def batch_time_us(now_ms: int, head: Head) -> int:
    """Time of a batch: never before the last entry's."""
    return max(now_ms * 1000, head.recorded_us + 1)
