"""What a line of a statement was for, in words: from the entry's kind and facts alone.

A kind that has no words here is said by its name. What came from outside (a reason, a bundle's name) is cut short and
loses its control characters; it never stands first, so that no spreadsheet takes a line for a formula.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from economy.entry import Account, Phase
from economy.money import decimal_text

Facts = Mapping[str, Any]
_TEXT_MAX = 80
_BP_PLACES = 4

FLAGS: dict[str, str] = {
    "insufficient-funds": "owed, for lack of funds",
    "hold-expired": "owed, the hold had expired",
    "hold-released": "owed, the hold had been released",
    "above-hold": "above the hold, the rest is owed",
    "before-hold": "charged before anything was held",
}

REASONS: dict[str, str] = {
    "interval-unknown": "its duration was not told",
    "not-faster-than-the-reference": "not faster than the reference",
    "faster-than-the-reference": "faster than the reference",
    "bonus-capped": "faster than what is rewarded",
    "attempts": "enough further work was accepted",
    "time": "its time of waiting is over",
}

_SIDES: dict[tuple[str, str], str] = {
    ("charge.settled", "credit"): "Study charged",
    ("charge.settled", "receivable"): "Study charged, owed",
    ("charge.settled", "payable"): "Share of a study's charge",
    ("charge.settled", "revenue"): "Share of a study's charge",
    ("charge.settled", "clearing"): "Charge passed on",
    ("epoch.paid", "work"): "Work paid for and retired",
    ("epoch.paid", "work-retired"): "Work paid for and retired",
    ("epoch.paid", "earned"): "Reward",
    ("epoch.paid", "pool"): "Reward to a node",
    ("reward.settled", "pool"): "Reward to a node settled",
    ("reward.voided", "pool"): "Reward to a node voided",
    ("reward.voided", "reserve"): "Voided reward",
}
"""The same entry means another thing on each account that it touches."""

_KINDS: dict[str, str] = {
    "asset.declared": "Asset made known",
    "party.declared": "Party made known",
    "policy.declared": "Policy made known",
    "key.declared": "Key made known",
    "key.revoked": "Key revoked",
    "credit.granted": "Credit line granted",
    "charge.held": "Held for a study",
    "charge.unsecured": "Nothing held, for lack of funds",
    "charge.released": "Hold released",
    "charge.settled": "Study charged",
    "work.measured": "Work accepted",
    "epoch.opened": "Emission",
    "epoch.paid": "Reward",
    "epoch.closed": "Emission that no work earned",
    "epoch.settled": "All rewards settled",
    "reward.settled": "Reward settled",
    "reward.voided": "Reward voided",
    "claims.published": "Claims published",
    "node.caught": "Node caught",
    "node.online": "Online time noted",
    "entry.corrected": "Correction",
    "pending.expired": "Hold expired",
    "period.closed": "Period closed",
}

_PHASES: dict[Phase, str] = {Phase.PENDING: "held", Phase.VOID: "released"}


def words(kind: str, facts: Facts, account: Account, phase: Phase) -> str:
    """One line's purpose.

    Parameters
    ----------
    kind, facts
        Of its entry.
    account
        Whose statement it is on.
    phase
        Of its transfer: a pending reward is said to be held.
    """
    head = _SIDES.get((kind, account.code)) or _KINDS.get(kind) or kind.replace(".", " ").capitalize()
    if kind in ("epoch.paid", "credit.granted") and phase in _PHASES:
        head = f"{head}, {_PHASES[phase]}"
    said = [text for say in _PARTS if (text := say(facts))]
    return f"{head}: {', '.join(said)}" if said else head


def plain(value: Any) -> str:
    """A fact as one short line of printable text."""
    text = "".join(char if char.isprintable() else " " for char in str(value)).strip()
    return text if len(text) <= _TEXT_MAX else f"{text[: _TEXT_MAX - 1]}\u2026"


def ratio(bp: int) -> str:
    """Ten-thousandths as a decimal: `12_500` is `1.25`."""
    text = decimal_text(bp, _BP_PLACES).rstrip("0")
    return f"{text}0" if text.endswith(".") else text


def _units(value: Any) -> str:
    return f"{value:,} work unit{'' if value == 1 else 's'}".replace(",", "\u202f")


def _times(name: str) -> Callable[[Any], str]:
    return lambda value: f"{name} {ratio(value)}" if type(value) is int else ""


def _bundle(facts: Facts) -> str:
    return " ".join(plain(facts[name]) for name in ("bundle", "bundle_version") if facts.get(name))


def _named(name: str, say: Callable[[Any], str]) -> Callable[[Facts], str]:
    return lambda facts: say(facts[name]) if facts.get(name) is not None else ""


_PARTS: tuple[Callable[[Facts], str], ...] = (
    _named("epoch", lambda value: f"epoch {plain(value)}"),
    _named("work_units", lambda value: _units(value) if type(value) is int else ""),
    _bundle,
    _named("quality_bp", _times("quality")),
    _named("speed_bp", _times("speed")),
    _named("flag", lambda value: FLAGS.get(str(value), plain(value))),
    _named("corrects", lambda value: f"of {plain(value)}"),
    _named("reason", lambda value: REASONS.get(str(value), plain(value).replace("-", " "))),
)
"""What facts say to a reader, in the order in which it is said."""
