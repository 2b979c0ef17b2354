"""What is measured of nodes, as entries: their work, their time online, and that they were caught.

=============================  ===========================================  =============
entry id                       transfers                                    kind
=============================  ===========================================  =============
``receipt/<digest>``           network:work-issue -> node:work (RU)         work.measured
``online/<party>/<from_ms>``   none                                         node.online
``caught/<attempt>``           none                                         node.caught
=============================  ===========================================  =============

A Receipt's digest is its entry's id: measured once, for ever. What it counts for is decided here, by the rule in force
when it was accepted, and recorded with its reason; nothing is decided again when an epoch closes.
"""

from __future__ import annotations

from collections.abc import Mapping

from economy.entry import AMOUNT_MAX, Account, Entry, move
from economy.events import AttemptAccepted, BadEvent, NodeCaught, NodeOnline
from economy.money import RU
from economy.rewards import RewardRule

Facts = Mapping[str, str | int | bool | None]


def receipt_id(receipt_digest: str) -> str:
    return f"receipt/{receipt_digest}"


def online_id(node: str, from_ms: int) -> str:
    return f"online/{node}/{from_ms}"


def caught_id(attempt_id: str) -> str:
    return f"caught/{attempt_id}"


def work(event: AttemptAccepted, node: str, operator: str, network: str, rule: RewardRule) -> Entry:
    """The node's work, weighed.

    Parameters
    ----------
    node, operator, network
        Party ids.

    Raises
    ------
    BadEvent
        If the work is more than an entry can hold.
    """
    weighed = rule.weigh(event.work_units, event.quality_bp, event.interval_ms)
    if weighed.units > AMOUNT_MAX:
        raise BadEvent("the work is out of range")
    facts: Facts = {
        "attempt": event.attempt_id,
        "bundle": event.bundle,
        "bundle_version": event.bundle_version,
        "node": node,
        "offer": event.offer_id,
        "operator": operator,
        "work_units": event.work_units,
        "quality_bp": weighed.quality_bp,
        "speed_bp": weighed.speed_bp,
        "reason": str(weighed.reason),
        "reward_rule": rule.version,
    }
    issue, earned = Account(network, "work-issue", RU.code), Account(node, "work", RU.code)
    legs = (move(issue, earned, weighed.units),) if weighed.units else ()
    return Entry(receipt_id(event.receipt_digest), "work.measured", legs, facts, effective_ms=event.at_ms)


def online(event: NodeOnline, node: str, operator: str) -> Entry:
    """What a node kept of the time that was declared for it. The first word on a stretch stands."""
    facts: Facts = {
        "node": node,
        "operator": operator,
        "from_ms": event.from_ms,
        "to_ms": event.to_ms,
        "declared_ms": event.declared_ms,
        "kept_ms": event.kept_ms,
    }
    return Entry(online_id(node, event.from_ms), "node.online", facts=facts, effective_ms=event.at_ms)


def caught(event: NodeCaught, node: str, operator: str) -> Entry:
    """A node's Attempt was found wrong: what it has not been settled is forfeited (`economy.settlement`)."""
    facts: Facts = {"attempt": event.attempt_id, "node": node, "operator": operator, "reason": event.reason}
    return Entry(caught_id(event.attempt_id), "node.caught", facts=facts, effective_ms=event.at_ms)
