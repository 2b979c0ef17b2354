"""Entry: one thing that happened, with zero or more transfers. The only way anything enters the ledger.

An entry is made by its client under a permanent id and is sent as often as need be: the same id and content is the same
entry, the same id and another content is refused. Amounts are integers in the asset's smallest unit. A transfer moves
one amount of one asset from its debit account to its credit account, so an imbalance cannot be written down.

Body (canonical JSON; what `request_hash` covers)::

    {"declares": [...], "effective_ms": ..., "facts": {...}, "id": "...", "kind": "...", "transfers": [...]}

Members that are empty are left out. A transfer is one of::

    {"amount": 5, "credit": "<account>", "debit": "<account>"}                  single
    {"amount": 5, "credit": "...", "debit": "...", "timeout_s": 60}             pending (timeout_s null: for ever)
    {"amount": 3, "post": ["<entry id>", <leg>]}                                post (amount null: all of it)
    {"void": ["<entry id>", <leg>]}                                             void
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from json.encoder import encode_basestring
from typing import Any, NamedTuple, Self

from bithive.canonical import canonical
from bithive.ids import is_id
from bithive.limits import ENTRY_FACTS_CHARS_MAX, ENTRY_TRANSFERS_MAX
from economy.errors import BadEntry

AMOUNT_MAX = 2**53 - 1
TIMEOUT_S_MAX = 100 * 366 * 86_400
_ID = re.compile(r"[a-z][A-Za-z0-9_.:/-]{0,159}")
_KIND = re.compile(r"[a-z][a-z0-9.-]{0,63}")
_CODE = re.compile(r"[a-z][a-z0-9-]{0,31}")
_ASSET = re.compile(r"[A-Z][A-Z0-9]{0,15}")
_PUBLIC_KEY = re.compile(r"[0-9a-f]{64}")
_FACTS = (str, int, bool, type(None))
KEY_PURPOSES = ("seal", "officer")


class Phase(IntEnum):
    """What a transfer does to the balances."""

    SINGLE = 0
    """Moves at once."""
    PENDING = 1
    """Reserves; moves or is released later."""
    POST = 2
    """Moves all or part of a pending one and releases the rest."""
    VOID = 3
    """Releases a pending one; also how one expires."""


class Account(NamedTuple):
    """An account's name: whose, what for, of which asset. Written `owner:code:asset`."""

    owner: str
    code: str
    asset: str

    def __str__(self) -> str:
        return f"{self.owner}:{self.code}:{self.asset}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote. Raises `BadEntry`."""
        parts = text.split(":") if isinstance(text, str) else []
        if len(parts) != 3:
            raise BadEntry("an account is written owner:code:asset")
        return cls(*parts)


class PendingRef(NamedTuple):
    """A pending transfer: the id of its entry, and its place in it from 0."""

    entry_id: str
    leg: int


@dataclass(frozen=True, slots=True)
class Transfer:
    """One leg of an entry. Made by `move`, `hold`, `settle` and `release`."""

    phase: Phase
    debit: Account | None = None
    credit: Account | None = None
    amount: int | None = None
    timeout_s: int | None = None
    pending: PendingRef | None = None

    def body(self) -> dict[str, Any]:
        if self.phase is Phase.VOID:
            assert self.pending is not None
            return {"void": list(self.pending)}
        if self.phase is Phase.POST:
            assert self.pending is not None
            return {"amount": self.amount, "post": list(self.pending)}
        plain = {"amount": self.amount, "credit": str(self.credit), "debit": str(self.debit)}
        return plain if self.phase is Phase.SINGLE else {**plain, "timeout_s": self.timeout_s}


def move(debit: Account, credit: Account, amount: int) -> Transfer:
    """Move `amount` from `debit` to `credit` at once."""
    return Transfer(Phase.SINGLE, debit, credit, amount)


def hold(debit: Account, credit: Account, amount: int, timeout_s: int | None) -> Transfer:
    """Reserve `amount`; it expires `timeout_s` seconds after it was recorded, or never."""
    return Transfer(Phase.PENDING, debit, credit, amount, timeout_s)


def settle(pending: PendingRef, amount: int | None = None) -> Transfer:
    """Post `amount` of a pending transfer (all of it when absent) and release the rest."""
    return Transfer(Phase.POST, amount=amount, pending=pending)


def release(pending: PendingRef) -> Transfer:
    """Void a pending transfer."""
    return Transfer(Phase.VOID, pending=pending)


@dataclass(frozen=True, slots=True)
class Asset:
    """Something of value, counted in integers; one whole is `10 ** scale` of them."""

    code: str
    scale: int
    kind: str
    caip19: str | None = None

    def __post_init__(self) -> None:
        if not (_ASSET.fullmatch(self.code) and 0 <= self.scale <= 18 and _CODE.fullmatch(self.kind)):
            raise BadEntry("an asset is malformed")

    def body(self) -> dict[str, Any]:
        caip19 = {} if self.caip19 is None else {"caip19": self.caip19}
        return {"asset": self.code, "kind": self.kind, "scale": self.scale, **caip19}


@dataclass(frozen=True, slots=True)
class Party:
    """Whoever owns accounts: a random id and a kind.

    Attributes
    ----------
    ref
        Keyed digest of the institution's, operator's or node's id elsewhere. It is kept beside the log, never in it, so
        that destroying it unlinks the party.
    """

    party_id: str
    kind: str
    ref: str | None = None

    def __post_init__(self) -> None:
        if not (is_id(self.party_id, "pty") and _CODE.fullmatch(self.kind)):
            raise BadEntry("a party is malformed")

    def body(self) -> dict[str, Any]:
        return {"kind": self.kind, "party": self.party_id}


@dataclass(frozen=True, slots=True)
class Policy:
    """A rule as data: in force from a time on, until the next version of its kind."""

    kind: str
    version: int
    effective_from_ms: int
    content: str
    """Canonical JSON."""

    def __post_init__(self) -> None:
        if not (_CODE.fullmatch(self.kind) and self.version > 0 and self.effective_from_ms >= 0):
            raise BadEntry("a policy is malformed")

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content.encode()).hexdigest()

    def body(self) -> dict[str, Any]:
        head = {"effective_from_ms": self.effective_from_ms, "policy": self.kind, "version": self.version}
        return {**head, "content": json.loads(self.content)}


@dataclass(frozen=True, slots=True)
class Key:
    """A public key that seals or approves from this entry on; once revoked, never again.

    Attributes
    ----------
    public_key
        Ed25519, hexadecimal.
    purpose
        `seal`: signs seals. `officer`: approves policies, keys and period closes.
    party_id
        Who holds the secret.
    revoked
        Ends a key that is declared already.
    """

    public_key: str
    purpose: str
    party_id: str
    revoked: bool = False

    def __post_init__(self) -> None:
        known = self.purpose in KEY_PURPOSES and is_id(self.party_id, "pty") and type(self.revoked) is bool
        if not (_PUBLIC_KEY.fullmatch(self.public_key) and known):
            raise BadEntry("a key is malformed")

    def body(self) -> dict[str, Any]:
        revoked = {"revoked": True} if self.revoked else {}
        return {"key": self.public_key, "party": self.party_id, "purpose": self.purpose, **revoked}


@dataclass(frozen=True, slots=True)
class PeriodClose:
    """From this entry on, nothing is recorded with a value date before `closed_until_ms`."""

    closed_until_ms: int

    def __post_init__(self) -> None:
        if not (type(self.closed_until_ms) is int and 0 < self.closed_until_ms <= AMOUNT_MAX):
            raise BadEntry("a period's close is malformed")

    def body(self) -> dict[str, Any]:
        return {"period_closed_until_ms": self.closed_until_ms}


Declaration = Asset | Party | Policy | Key | PeriodClose


@dataclass(frozen=True, slots=True)
class Entry:
    """One business event.

    Parameters
    ----------
    entry_id
        Permanent and made by the client; it says what it is for: `receipt/<digest>`.
    kind
        Dotted name in the past tense: `charge.settled`.
    transfers
        At most `ENTRY_TRANSFERS_MAX`; all happen or none.
    facts
        Plain values that explain the decision: ids of ours, policy version, reason. Never a UID, a name, an image
        digest or a clinical value.
    declares
        Assets, parties, policies, keys and period closes made known by this entry.
    effective_ms
        When it happened, if that is not when it is recorded.
    """

    entry_id: str
    kind: str
    transfers: tuple[Transfer, ...] = ()
    facts: Mapping[str, str | int | bool | None] = field(default_factory=dict)
    declares: tuple[Declaration, ...] = ()
    effective_ms: int | None = None
    content: bytes = field(init=False, repr=False, compare=False)
    request_hash: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (_ID.fullmatch(self.entry_id) and _KIND.fullmatch(self.kind)):
            raise BadEntry("an entry's id or kind is malformed")
        if len(self.transfers) > ENTRY_TRANSFERS_MAX:
            raise BadEntry("an entry has too many transfers", transfers_max=ENTRY_TRANSFERS_MAX)
        for transfer in self.transfers:
            _check_transfer(transfer)
        _check_facts(self.facts)
        try:
            content = _content(self)
        except (TypeError, ValueError) as error:
            raise BadEntry("an entry holds a value without a canonical form") from error
        object.__setattr__(self, "content", content)
        object.__setattr__(self, "request_hash", hashlib.sha256(content).hexdigest())

    def body(self) -> dict[str, Any]:
        """The entry as plain values."""
        body: dict[str, Any] = {"id": self.entry_id, "kind": self.kind}
        if self.transfers:
            body["transfers"] = [transfer.body() for transfer in self.transfers]
        if self.facts:
            body["facts"] = dict(self.facts)
        if self.declares:
            body["declares"] = [item.body() for item in self.declares]
        if self.effective_ms is not None:
            body["effective_ms"] = self.effective_ms
        return body


def _content(entry: Entry) -> bytes:
    """`canonical(entry.body())`, put together from its parts: entries are made by the ten thousand a second.

    Names are written in the order of the alphabet by hand; what may hold anything goes through `canonical`.
    """
    parts = []
    if entry.declares:
        parts.append(b'"declares":%b,' % canonical([item.body() for item in entry.declares]))
    if entry.effective_ms is not None:
        parts.append(b'"effective_ms":%b,' % canonical(entry.effective_ms))
    if entry.facts:
        facts = ",".join([f"{_key(key)}:{_fact(value)}" for key, value in sorted(entry.facts.items())])
        parts.append(f'"facts":{{{facts}}},'.encode())
    parts.append(f'"id":"{entry.entry_id}","kind":"{entry.kind}"'.encode())
    if entry.transfers:
        parts.append(f',"transfers":[{",".join([_WRITTEN[item.phase](item) for item in entry.transfers])}]'.encode())
    return b"{%b}" % b"".join(parts)


def _key(text: str) -> str:
    if not text.isascii():
        raise BadEntry("a fact's name is ASCII")
    return encode_basestring(text)


def _fact(value: str | int | bool | None) -> str:
    return encode_basestring(value) if type(value) is str else canonical(value).decode()


def _written(item: Transfer) -> str:
    """A transfer that says all of itself: amount and accounts."""
    assert item.debit is not None, "it was checked"
    assert item.credit is not None, "it was checked"
    credit, debit = encode_basestring(":".join(item.credit)), encode_basestring(":".join(item.debit))
    end = "" if item.phase is Phase.SINGLE else f',"timeout_s":{"null" if item.timeout_s is None else item.timeout_s}'
    return f'{{"amount":{item.amount},"credit":{credit},"debit":{debit}{end}}}'


def _written_of_pending(item: Transfer) -> str:
    return canonical(item.body()).decode()


_WRITTEN: Mapping[Phase, Callable[[Transfer], str]] = {
    Phase.SINGLE: _written,
    Phase.PENDING: _written,
    Phase.POST: _written_of_pending,
    Phase.VOID: _written_of_pending,
}


def leaf_bytes(content: bytes, recorded_us: int, seq: int) -> bytes:
    """The canonical JSON that the log's Merkle tree hashes: an entry's body, its place and its time."""
    return b'{"body":%b,"recorded_us":%d,"seq":%d}' % (content, recorded_us, seq)


def _check_transfer(transfer: Transfer) -> None:
    if transfer.phase >= Phase.POST:
        if transfer.pending is None or not (transfer.amount is None or _is_amount(transfer.amount)):
            raise BadEntry("a post or void is malformed")
        return
    debit, credit = transfer.debit, transfer.credit
    if debit is None or credit is None or not _is_amount(transfer.amount):
        raise BadEntry("a transfer needs two accounts and an amount above zero")
    if debit == credit or debit.asset != credit.asset:
        raise BadEntry("a transfer moves one asset between two different accounts")
    if transfer.timeout_s is not None and not _is_timeout(transfer.timeout_s):
        raise BadEntry("a timeout is out of range")


def _check_facts(facts: Mapping[str, Any]) -> None:
    if not all(type(key) is str and type(value) in _FACTS for key, value in facts.items()):
        raise BadEntry("a fact is a plain value with a name")
    if sum(len(key) + len(str(value)) for key, value in facts.items()) > ENTRY_FACTS_CHARS_MAX:
        raise BadEntry("an entry's facts are too long", chars_max=ENTRY_FACTS_CHARS_MAX)


def _is_timeout(timeout_s: int) -> bool:
    return type(timeout_s) is int and 0 < timeout_s <= TIMEOUT_S_MAX


def _is_amount(amount: int | None) -> bool:
    return type(amount) is int and 0 < amount <= AMOUNT_MAX
