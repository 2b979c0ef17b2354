"""The outbox events that the economy takes, read and checked."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from bithive.errors import BadInput
from bithive.ids import is_id

WORK_UNITS_MAX = 10**12
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class BadEvent(BadInput):
    code, title = "bad-event", "An event for the ledger is malformed"


@dataclass(frozen=True, slots=True)
class OfferOpened:
    """An institution asks for work."""

    offer_id: str
    institution: str
    bundle: str
    bundle_version: str
    work_units: int
    deadline_ms: int
    at_ms: int

    @classmethod
    def read(cls, body: dict[str, Any]) -> Self:
        return cls(**_members(body, tuple(cls.__dataclass_fields__)))


@dataclass(frozen=True, slots=True)
class AttemptAccepted:
    """A node did it, and its Receipt was checked."""

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

    @classmethod
    def read(cls, body: dict[str, Any]) -> Self:
        return cls(**_members(body, tuple(cls.__dataclass_fields__)))


@dataclass(frozen=True, slots=True)
class OfferClosed:
    """Nobody will do it any more."""

    offer_id: str
    reason: str
    at_ms: int

    @classmethod
    def read(cls, body: dict[str, Any]) -> Self:
        return cls(**_members(body, tuple(cls.__dataclass_fields__)))


def _members(body: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(body, dict) or not all(name in body for name in names):
        raise BadEvent("a member is missing")
    for name in names:
        if not _CHECKS[name](body[name]):
            raise BadEvent(f"member {name} is malformed")
    return {name: body[name] for name in names}


def _id(prefix: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and is_id(value, prefix)


def _integer(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200


def _name(value: Any) -> bool:
    return _text(value) and _NAME.fullmatch(value) is not None


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
    "bundle_version": _name,
    "work_units": _integer(1, WORK_UNITS_MAX),
    "deadline_ms": _integer(0, 2**53 - 1),
    "at_ms": _integer(0, 2**53 - 1),
    "receipt_digest": _digest,
    "reason": _name,
}
