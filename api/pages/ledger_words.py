"""How the ledger's numbers, parties and seals are put for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from api.pages.words import grouped
from bithive.clock import as_utc
from economy.entry import Asset
from economy.money import decimal_text
from economy.store import Snapshot

_MINUS = "\N{MINUS SIGN}"

KINDS: dict[str, str] = {
    "institution": "Institution",
    "operator": "Operator",
    "node": "Node",
    "hub": "This hub",
    "protocol": "Protocol",
    "network": "Network",
}
"""Kinds of party, as said to a reader."""

ACCOUNTS: dict[str, str] = {
    "credit": "Credit",
    "credit-issue": "Credit lines granted",
    "receivable": "Owed",
    "clearing": "Clearing",
    "payable": "Shares of charges",
    "expense": "Own expenses",
    "revenue": "Revenue",
    "work-issue": "Work measured",
    "work": "Work not yet paid",
    "work-retired": "Work paid",
    "issuance": "Issuance",
    "pool": "Epoch pool",
    "earned": "Earned",
    "reserve": "Reserve",
}
"""Account codes as headings; a code without one stands for itself."""

UNITS: dict[str, str] = {"WU": "reference work units", "RU": "reward units"}


def amount(value: int, asset: Asset) -> str:
    """An amount with all of its asset's places, thousands apart, a real minus: columns of it line up."""
    text = decimal_text(abs(value), asset.scale)
    whole, dot, part = text.partition(".")
    return f"{_MINUS if value < 0 else ''}{grouped(int(whole))}{dot}{part}"


def heading(code: str) -> str:
    """An account code as a heading."""
    return ACCOUNTS.get(code, code.replace("-", " ").capitalize())


def unit(asset: Asset) -> str:
    """What an asset's amounts count."""
    return UNITS.get(asset.code, asset.code)


def kind(name: str) -> str:
    """A kind of party as said to a reader."""
    return KINDS.get(name, name.capitalize())


def brief(party_id: str) -> str:
    """The end of a party's random id, enough to tell parties apart on one page."""
    return "\N{HORIZONTAL ELLIPSIS}" + party_id[-6:]


def day(ms: int) -> str:
    """A date in UTC."""
    return as_utc(ms).strftime("%Y-%m-%d")


def booked(us: int) -> str:
    """Date and time in UTC, to the second."""
    return as_utc(us // 1000).strftime("%Y-%m-%d %H:%M:%S")


def kinds_of(snapshot: Snapshot, parties: Iterable[str]) -> dict[str, str]:
    """The kind of each party."""
    return {item.party_id: item.kind for item in snapshot.parties(set(parties)).values()}


def party(party_id: str, kinds: Mapping[str, str], own: str | None) -> str:
    """A party as a reader sees it: `you`, or its kind with the end of its random id."""
    if party_id == own:
        return "you"
    name = kinds.get(party_id, "")
    return kind(name) if name in {"hub", "protocol", "network"} else f"{kind(name)} {brief(party_id)}".strip()
