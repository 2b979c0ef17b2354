"""The outbox events that the economy takes, read and checked."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any, Self

from bithive.errors import BadInput
from bithive.ids import is_id

WORK_UNITS_MAX = 10**12
_NAME = re.compile(r"(?=[^.]*[A-Za-z])(?![0-9A-Fa-f]{32,}\Z)[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){0,3}([+-][A-Za-z][A-Za-z0-9.-]{0,31})?")
"""A name has a letter before its first point and a version few numbers: neither is a UID, a day of birth or a digest."""


class BadEvent(BadInput):
    code, title = "bad-event", "An event for the ledger is malformed"


class _Event:
    """An event's members, each checked by its name."""

    __slots__ = ()

    @classmethod
    def read(cls, body: dict[str, Any]) -> Self:
        """Read an outbox event's body. Raises `BadEvent`."""
        return cls(**_members(body, _names(cls)))


@dataclass(frozen=True, slots=True)
class OfferOpened(_Event):
    """An institution asks for work."""

    offer_id: str
    institution: str
    bundle: str
    bundle_version: str
    work_units: int
    deadline_ms: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class AttemptAccepted(_Event):
    """A node did it, and its Receipt was checked.

    Attributes
    ----------
    interval_ms
        From lease to findings on the network side's own clock; None from a network that does not tell.
    quality_bp
        What the network side holds of the findings, in hundredths of a percent; 10,000 for those that passed all checks.
    """

    offer_id: str
    attempt_id: str
    institution: str
    cell: str
    node: str
    operator: str
    bundle: str
    bundle_version: str
    work_units: int
    receipt_digest: str
    at_ms: int
    interval_ms: int | None = None
    quality_bp: int = 10_000


@dataclass(frozen=True, slots=True)
class NodeOnline(_Event):
    """How much of the time that a node's contributor declared for a stretch it was there."""

    node: str
    operator: str
    from_ms: int
    to_ms: int
    declared_ms: int
    kept_ms: int
    at_ms: int

    def __post_init__(self) -> None:
        if not self.kept_ms <= self.declared_ms <= self.to_ms - self.from_ms:
            raise BadEvent("more time was kept than declared, or declared than there was")


@dataclass(frozen=True, slots=True)
class NodeCaught(_Event):
    """A node's Attempt was found wrong by independent recomputation, or forged."""

    node: str
    operator: str
    attempt_id: str
    reason: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class OfferClosed(_Event):
    """Nobody will do it any more."""

    offer_id: str
    reason: str
    at_ms: int


def _names(event: type[Any]) -> dict[str, bool]:
    """Members of an event, and whether each must be there."""
    return {field.name: field.default is MISSING for field in fields(event)}


def _members(body: dict[str, Any], names: dict[str, bool]) -> dict[str, Any]:
    if not isinstance(body, dict) or not all(name in body for name, needed in names.items() if needed):
        raise BadEvent("a member is missing")
    there = [name for name in names if name in body]
    for name in there:
        if not _CHECKS[name](body[name]):
            raise BadEvent(f"member {name} is malformed")
    return {name: body[name] for name in there}


def _id(prefix: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and is_id(value, prefix)


def _integer(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200


def _name(value: Any) -> bool:
    return _text(value) and _NAME.fullmatch(value) is not None


def _version(value: Any) -> bool:
    return _text(value) and _VERSION.fullmatch(value) is not None


def _digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef")


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "offer_id": _id("off"),
    "attempt_id": _id("att"),
    "institution": _id("ins"),
    "cell": _id("cel"),
    "node": _id("nod"),
    "operator": _text,
    "bundle": _name,
    "bundle_version": _version,
    "work_units": _integer(1, WORK_UNITS_MAX),
    "deadline_ms": _integer(0, 2**53 - 1),
    "at_ms": _integer(0, 2**53 - 1),
    "interval_ms": _integer(0, 2**53 - 1),
    "quality_bp": _integer(0, 10_000),
    "from_ms": _integer(0, 2**53 - 1),
    "to_ms": _integer(0, 2**53 - 1),
    "declared_ms": _integer(0, 2**53 - 1),
    "kept_ms": _integer(0, 2**53 - 1),
    "receipt_digest": _digest,
    "reason": _name,
}
