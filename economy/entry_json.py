"""Reads an entry that somebody else wrote as JSON: the inverse of `Entry.body`, and as strict as it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bithive.canonical import canonical
from economy.entry import (
    Account,
    Asset,
    Declaration,
    Entry,
    Key,
    Party,
    PendingRef,
    PeriodClose,
    Phase,
    Policy,
    Transfer,
)
from economy.errors import BadEntry

_BODY = {"id", "kind", "transfers", "facts", "declares", "effective_ms"}
_TIME_MS_MAX = 2**53 - 1
_LEG_MAX = 2**15 - 1


def read_entry(body: Any) -> Entry:
    """The entry whose body this is.

    Parameters
    ----------
    body
        Decoded JSON, from anywhere.

    Raises
    ------
    BadEntry
        If a member is missing, unknown or malformed. A number with a decimal point is malformed: amounts are integers.
    """
    members = _object(body, {"id", "kind"}, _BODY, "an entry")
    transfers = tuple(_transfer(item) for item in _list(members.get("transfers", []), "transfers"))
    declares = tuple(_declaration(item) for item in _list(members.get("declares", []), "declares"))
    facts = members.get("facts", {})
    if not isinstance(facts, dict):
        raise BadEntry("facts are an object")
    effective_ms = members.get("effective_ms")
    if effective_ms is not None and not _is_integer(effective_ms, 0, _TIME_MS_MAX):
        raise BadEntry("effective_ms is out of range")
    return Entry(_text(members, "id"), _text(members, "kind"), transfers, facts, declares, effective_ms)


def _object(value: Any, needed: set[str], known: set[str], what: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not needed <= value.keys() <= known:
        raise BadEntry(f"{what} has members that are missing or unknown")
    return value


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadEntry(f"{name} is a list")
    return value


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise BadEntry(f"{name} is a text")
    return value


def _is_integer(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _integer(members: Mapping[str, Any], name: str, low: int = 0, high: int = _TIME_MS_MAX) -> int:
    value = members.get(name)
    if not _is_integer(value, low, high):
        raise BadEntry(f"{name} is an integer in range")
    return int(value)  # type: ignore[arg-type]  # it was looked at in the line before


def _transfer(value: Any) -> Transfer:
    if isinstance(value, dict) and "void" in value:
        return Transfer(Phase.VOID, pending=_pending(_object(value, {"void"}, {"void"}, "a void")["void"]))
    if isinstance(value, dict) and "post" in value:
        members = _object(value, {"amount", "post"}, {"amount", "post"}, "a post")
        amount = members["amount"]
        return Transfer(Phase.POST, amount=amount, pending=_pending(members["post"]))
    names = {"amount", "credit", "debit"}
    members = _object(value, names, {*names, "timeout_s"}, "a transfer")
    debit, credit = (Account.parse(_text(members, name)) for name in ("debit", "credit"))
    if "timeout_s" not in members:
        return Transfer(Phase.SINGLE, debit, credit, members["amount"])
    timeout_s = members["timeout_s"]
    if timeout_s is not None and type(timeout_s) is not int:
        raise BadEntry("timeout_s is an integer, or null")
    return Transfer(Phase.PENDING, debit, credit, members["amount"], timeout_s)


def _pending(value: Any) -> PendingRef:
    if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)):
        raise BadEntry("a pending transfer is named by its entry's id and its leg")
    if not _is_integer(value[1], 0, _LEG_MAX):
        raise BadEntry("a leg is an integer in range")
    return PendingRef(value[0], value[1])


def _asset(members: dict[str, Any]) -> Declaration:
    _object(members, {"asset", "kind", "scale"}, {"asset", "kind", "scale", "caip19"}, "an asset")
    caip19 = None if "caip19" not in members else _text(members, "caip19")
    return Asset(_text(members, "asset"), _integer(members, "scale"), _text(members, "kind"), caip19)


def _party(members: dict[str, Any]) -> Declaration:
    _object(members, {"kind", "party"}, {"kind", "party"}, "a party")
    return Party(_text(members, "party"), _text(members, "kind"))


def _policy(members: dict[str, Any]) -> Declaration:
    names = {"content", "effective_from_ms", "policy", "version"}
    _object(members, names, names, "a policy")
    try:
        content = canonical(members["content"]).decode()
    except (TypeError, ValueError) as error:
        raise BadEntry("a policy's content has no canonical form") from error
    return Policy(
        _text(members, "policy"), _integer(members, "version"), _integer(members, "effective_from_ms"), content
    )


def _key(members: dict[str, Any]) -> Declaration:
    names = {"key", "party", "purpose"}
    _object(members, names, {*names, "revoked"}, "a key")
    if members.get("revoked", True) is not True:
        raise BadEntry("a key that is not revoked does not say so")
    return Key(_text(members, "key"), _text(members, "purpose"), _text(members, "party"), "revoked" in members)


def _period(members: dict[str, Any]) -> Declaration:
    names = {"period_closed_until_ms"}
    return PeriodClose(_integer(_object(members, names, names, "a period's close"), "period_closed_until_ms"))


_DECLARATIONS: dict[str, Callable[[dict[str, Any]], Declaration]] = {
    "asset": _asset,
    "policy": _policy,
    "key": _key,
    "period_closed_until_ms": _period,
    "party": _party,
}
"""By the member that names each; `party` last, because a key names its party too."""


def _declaration(value: Any) -> Declaration:
    if isinstance(value, dict):
        for name, reader in _DECLARATIONS.items():
            if name in value:
                return reader(value)
    raise BadEntry("what an entry declares is an asset, a party, a policy, a key or a period's close")
