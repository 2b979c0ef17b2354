"""What each step changes: pure functions from records and the time to a `Change`. They decide; `broker` asks and stores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bithive.limits import ATTEMPTS_MAX, HEARTBEAT_PERIOD_S, LEASE_DURATION_S, RETRY_PAUSE_S
from bithive.outbox import Event
from bithive.receipt import Receipt
from cluster import attempt as attempts
from cluster import offers
from cluster.attempt import Attempt, AttemptEvent, AttemptState
from cluster.cell_record import CellRecord
from cluster.duplicates import REPEATED
from cluster.failures import EXPIRED, FAILURES, OVERDUE, WITHDRAWN, Fate
from cluster.offers import OfferEvent, OfferRecord, OfferState
from cluster.store import Change, Notice

CHECKED_QUALITY_BP = 10_000
"""Findings that passed every check count whole; independent recomputation may say less."""


@dataclass(frozen=True, slots=True)
class Durations:
    """How long things take before they count as lost.

    Attributes
    ----------
    lease_s, heartbeat_s
        Length of a Lease, and how often a cell renews it.
    retry_pause_s
        Pause after a failed Attempt, doubled with each further one.
    attempts_max
        Tries before an Offer is exhausted.
    """

    lease_s: float = LEASE_DURATION_S
    heartbeat_s: float = HEARTBEAT_PERIOD_S
    retry_pause_s: float = RETRY_PAUSE_S
    attempts_max: int = ATTEMPTS_MAX

    def expires_ms(self, deadline_ms: int, now_ms: int) -> int:
        """When a Lease given or renewed now ends: never later than one Lease beyond the deadline, as the hold."""
        return min(now_ms, deadline_ms) + round(self.lease_s * 1000)

    def ready_ms(self, tries: int, now_ms: int) -> int:
        """When an Offer may be leased again after that many failed tries."""
        return now_ms + round(self.retry_pause_s * 1000 * 2.0 ** (tries - 1))


def opened(record: OfferRecord, now_ms: int) -> Change:
    """Its payload has come."""
    after = _step(record, OfferEvent.STORE_PAYLOAD, opened=True)
    offer = record.offer
    body = {
        "offer_id": offer.offer_id,
        "institution": offer.institution,
        "bundle": offer.bundle,
        "bundle_version": offer.bundle_version,
        "work_units": offer.work_units,
        "deadline_ms": offer.deadline_ms,
        "at_ms": now_ms,
    }
    # Without a payload nothing was held; one that comes a second time changes nothing for the ledger.
    events = () if record.opened else (Event("offer.opened", offer.offer_id, body),)
    return Change(after, None, events, (_notice(record, "offer.opened", now_ms),))


def payload_lost(record: OfferRecord, now_ms: int) -> Change:
    """Its stored payload is absent or no good: the institution is asked for it again."""
    return Change(_step(record, OfferEvent.LOSE_PAYLOAD), None, (), (_notice(record, "offer.payload-lost", now_ms),))


def leased(record: OfferRecord, attempt_id: str, cell: str, now_ms: int, durations: Durations) -> Change:
    """A cell takes it."""
    token = record.fencing_token + 1
    expires_ms = durations.expires_ms(record.offer.deadline_ms, now_ms)
    offer = record.offer
    attempt = Attempt(attempt_id, offer.offer_id, offer.institution, cell, token, now_ms, expires_ms)
    after = _step(record, OfferEvent.LEASE, fencing_token=token, attempt_id=attempt_id)
    return Change(after, attempt, (), (_notice(record, "attempt.leased", now_ms, attempt),))


def renewed(
    record: OfferRecord, attempt: Attempt, stage: str, fraction: float, node: str, now_ms: int, durations: Durations
) -> Change:
    """The cell is alive."""
    news = stage != attempt.stage or node != attempt.node or fraction >= attempt.fraction + 0.05
    after = replace(
        _end(attempt, AttemptEvent.HEARTBEAT),
        expires_ms=max(attempt.expires_ms, durations.expires_ms(record.offer.deadline_ms, now_ms)),
        stage=stage,
        fraction=fraction if news else attempt.fraction,
        node=node,
    )
    told = {"stage": stage, "fraction": fraction}
    notices = (_notice(record, "attempt.progressed", now_ms, after, **told),) if news else ()
    return Change(None, after, (), notices)


def accepted(record: OfferRecord, attempt: Attempt, receipt: Receipt, cell: CellRecord, now_ms: int) -> Change:
    """Receipt and findings hold."""
    after = replace(_end(attempt, AttemptEvent.ACCEPT), ended_ms=now_ms, receipt=receipt, node=receipt.node)
    body = {
        "offer_id": attempt.offer_id,
        "attempt_id": attempt.attempt_id,
        "institution": attempt.institution,
        "cell": attempt.cell,
        "node": receipt.node,
        "operator": cell.operator,
        "bundle": record.offer.bundle,
        "bundle_version": record.offer.bundle_version,
        "work_units": record.offer.work_units,
        "receipt_digest": receipt.digest,
        "interval_ms": max(now_ms - attempt.leased_ms, 0),
        "quality_bp": CHECKED_QUALITY_BP,
        "at_ms": now_ms,
    }
    event = Event("attempt.accepted", attempt.attempt_id, body)
    notice = _notice(record, "attempt.accepted", now_ms, after, receipt=receipt.to_json())
    return Change(_step(record, OfferEvent.ACCEPT), after, (event,), (notice,))


def repeated(change: Change, first: Attempt, now_ms: int) -> Change:
    """Findings that were accepted before for another input: both Attempts are to be recomputed for certain.

    Parameters
    ----------
    change
        What `accepted` gave.
    first
        The Attempt that had them first.
    """
    assert change.attempt is not None, "an acceptance changes the Attempt"
    new = replace(change.attempt, flag=REPEATED)
    others = (*change.others, replace(first, flag=REPEATED, revision=first.revision + 1)) if not first.flag else ()
    flagged = (new, *others)
    return replace(
        change,
        attempt=new,
        others=others,
        events=(*change.events, *(_flagged(attempt, now_ms) for attempt in flagged)),
        notices=(*change.notices, *(_flag_notice(attempt, now_ms) for attempt in flagged)),
    )


def caught(attempt: Attempt, node: str, operator: str, code: str, now_ms: int) -> Event:
    """A Node signed what cannot be true and cannot have come about by accident (`cluster.strikes_words`)."""
    body = {"node": node, "operator": operator, "attempt_id": attempt.attempt_id, "reason": code, "at_ms": now_ms}
    return Event("node.caught", attempt.attempt_id, body)


def expired(record: OfferRecord, attempt: Attempt, now_ms: int, durations: Durations) -> Change:
    """The Lease ran out: the next cell may have it at once."""
    after = replace(_end(attempt, AttemptEvent.EXPIRE), ended_ms=now_ms, code=EXPIRED)
    notice = _notice(record, "attempt.expired", now_ms, after)
    return _again(record, after, notice, Fate.RETRY, now_ms, now_ms, durations)


def failed(record: OfferRecord, attempt: Attempt, code: str, now_ms: int, durations: Durations) -> Change:
    """The cell says that it cannot."""
    return _unsuccessful(record, attempt, AttemptEvent.FAIL, code, FAILURES[code], now_ms, durations)


def refused(record: OfferRecord, attempt: Attempt, code: str, now_ms: int, durations: Durations) -> Change:
    """Receipt or findings do not hold."""
    return _unsuccessful(record, attempt, AttemptEvent.REFUSE, code, Fate.RETRY, now_ms, durations)


def overdue(record: OfferRecord, now_ms: int) -> Change:
    """Nobody has it, and its deadline has passed."""
    return _exhausted(record, None, (), OVERDUE, now_ms)


def withdrawn(record: OfferRecord, attempt: Attempt | None, now_ms: int) -> Change:
    """The institution takes it back."""
    after = _step(record, OfferEvent.WITHDRAW, keys=None)
    if after.state is OfferState.ACKNOWLEDGED:
        return Change(after)
    gone = None
    if attempt is not None and attempt.live:
        gone = replace(_end(attempt, AttemptEvent.WITHDRAW), ended_ms=now_ms, code=WITHDRAWN)
    return Change(
        after, gone, _closed(record, "withdrawn", now_ms), (_notice(record, "offer.withdrawn", now_ms, gone),)
    )


def acknowledged(record: OfferRecord) -> Change:
    """The institution has what it wanted."""
    return Change(_step(record, OfferEvent.ACKNOWLEDGE, keys=None))


def spared(record: OfferRecord, attempt: Attempt, now_ms: int, durations: Durations) -> Change:
    """The network side was away: no cell could renew its Lease, so none is held against it."""
    expires_ms = max(attempt.expires_ms, durations.expires_ms(record.offer.deadline_ms, now_ms))
    return Change(None, replace(attempt, expires_ms=expires_ms, revision=attempt.revision + 1))


def _unsuccessful(
    record: OfferRecord, attempt: Attempt, event: AttemptEvent, code: str, fate: Fate, now_ms: int, durations: Durations
) -> Change:
    after = replace(_end(attempt, event), ended_ms=now_ms, code=code)
    notice = _notice(record, "attempt.failed", now_ms, after, code=code)
    return _again(record, after, notice, fate, now_ms, durations.ready_ms(attempt.fencing_token, now_ms), durations)


def _again(
    record: OfferRecord, after: Attempt, notice: Notice, fate: Fate, now_ms: int, ready_ms: int, durations: Durations
) -> Change:
    if fate is Fate.FINAL or record.fencing_token >= durations.attempts_max:
        return _exhausted(record, after, (notice,), after.code, now_ms)
    if record.offer.deadline_ms <= now_ms:
        return _exhausted(record, after, (notice,), OVERDUE, now_ms)
    if fate is Fate.PAYLOAD:
        lost = _notice(record, "offer.payload-lost", now_ms)
        return Change(_step(record, OfferEvent.LOSE_PAYLOAD), after, (), (notice, lost))
    return Change(_step(record, OfferEvent.REQUEUE, ready_ms=ready_ms), after, (), (notice,))


def _exhausted(
    record: OfferRecord, attempt: Attempt | None, notices: tuple[Notice, ...], code: str, now_ms: int
) -> Change:
    after = _step(record, OfferEvent.EXHAUST, keys=None)
    notice = _notice(record, "offer.exhausted", now_ms, attempt, code=code)
    return Change(after, attempt, _closed(record, "exhausted", now_ms), (*notices, notice))


def _closed(record: OfferRecord, reason: str, now_ms: int) -> tuple[Event, ...]:
    if not record.opened or record.state not in offers.UNFINISHED:
        return ()
    offer_id = record.offer.offer_id
    return (Event("offer.closed", offer_id, {"offer_id": offer_id, "reason": reason, "at_ms": now_ms}),)


def _step(record: OfferRecord, event: OfferEvent, **changes: Any) -> OfferRecord:
    return replace(record, state=offers.after(record.state, event), revision=record.revision + 1, **changes)


def _end(attempt: Attempt, event: AttemptEvent) -> Attempt:
    state: AttemptState = attempts.after(attempt.state, event)
    return replace(attempt, state=state, revision=attempt.revision + 1)


def _flagged(attempt: Attempt, now_ms: int) -> Event:
    """For whoever recomputes: its node is the last that may do it."""
    body = {
        "offer_id": attempt.offer_id,
        "attempt_id": attempt.attempt_id,
        "cell": attempt.cell,
        "node": attempt.node,
        "code": attempt.flag,
        "at_ms": now_ms,
    }
    return Event("attempt.flagged", attempt.attempt_id, body)


def _flag_notice(attempt: Attempt, now_ms: int) -> Notice:
    body = {"attempt_id": attempt.attempt_id, "cell": attempt.cell, "node": attempt.node, "code": attempt.flag}
    return Notice(attempt.institution, attempt.offer_id, "attempt.flagged", now_ms, body)


def _notice(record: OfferRecord, topic: str, now_ms: int, attempt: Attempt | None = None, **body: Any) -> Notice:
    if attempt is not None:
        body = {"attempt_id": attempt.attempt_id, "cell": attempt.cell, "node": attempt.node, **body}
    return Notice(record.offer.institution, record.offer.offer_id, topic, now_ms, body)
