"""From the network's news to DICOM in the archive: each Attempt's Findings are taken once.

Findings are checked again here, whatever the network side says: signature, digests, geometry. Objects are archived
first, under UIDs that repeat; then one transaction completes the Workitem, names them and marks the Attempt as taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from typing import Any

from bithive import tracing
from bithive.envelope import open_all
from bithive.keys import keyed_digest
from bithive.log import get
from bithive.offer import Offer
from bithive.receipt import Receipt
from clinic import traced, writers
from clinic.checking import check_findings
from clinic.means import Means, keys_of
from clinic.network import NetworkEvent
from clinic.offering import opened
from clinic.refusals import FindingsRefused, OfferExhausted, ResultsNotStored
from clinic.statements import measured_of, remarks_of, statements_of
from clinic.uids import ResultUids
from clinic.workitem import Duty, Event, Reference, State, Workitem
from clinic.workitem_store import Change, Kind, StudyEvent, Which
from clinic.writers import Context, Written
from inference.findings import Findings
from pipelines.spec import Pipeline

LEASED, CHECKED = "leased", "checked"
LEASE_EXPIRED, PAYLOAD_LOST = "lease-expired", "payload-lost"


def hear(means: Means, institution: str, event: NetworkEvent) -> Workitem | None:
    """Take one event of the network's stream; the place in the stream is stored with what it changes.

    Returns
    -------
    Workitem or None
        The Workitem if something is owed for it now.
    """
    cursor = (institution, event.seq)
    found = means.store.find(Which(institution=institution, offer_id=event.offer_id))
    step = _STEPS.get(event.topic)
    if not found or step is None:
        means.store.commit(Change(cursor=cursor))
        return None
    return step(means, found[0], event, cursor)


def take(means: Means, item: Workitem) -> None:
    """Fetch, check and write the Findings of an accepted Attempt, and complete the Workitem. May be repeated.

    Raises
    ------
    FindingsRefused, BadReceipt, BadSignature, BadFindings, BadEnvelope
        They are not what was asked for.
    NetworkUnreachable, NetworkForbids, ResultsNotStored
        Try again later.
    """
    with traced.taking(item):
        _take_traced(means, item)


def _take_traced(means: Means, item: Workitem) -> None:
    start_s = means.clock.monotonic_s()
    pipeline, _ = means.pipeline(item)
    receipt = check_receipt(item)
    source = means.source(item)
    with tracing.child("findings.fetched", size_bytes=receipt.output_size_bytes):
        content = _fetch(means, item, receipt)
    findings = Findings.from_bytes(content, source.grid.shape)
    there = check_findings(findings, pipeline, source)
    output = hashlib.sha256(content).hexdigest()
    context = Context(
        pipeline=pipeline,
        bundle_sha256=receipt.bundle_sha256,
        node=receipt.node,
        institution_name=means.institution_name,
        at_ms=item.accepted_ms or item.changed_ms,
        uids=ResultUids(means.site_key, item.input_digest, receipt.bundle_sha256, output),
        label_maps=means.label_maps,
    )
    with tracing.child("objects.encoded"):
        written = writers.write(source, findings, context, there)
    with tracing.child("objects.stored", objects=len(written)):
        store(means, item.institution, written)
    _complete(means, item, told(pipeline, findings, there, source.age_years), written)
    spent_ms = round((means.clock.monotonic_s() - start_s) * 1000)
    get().info("workitem.completed", workitem=item.workitem_id, attempt=item.attempt_id, duration_ms=spent_ms)


def check_receipt(item: Workitem) -> Receipt:
    """The Receipt of an accepted Attempt, if it holds for this Workitem's Offer.

    Raises
    ------
    BadReceipt, BadSignature, FindingsRefused
        If it does not.
    """
    receipt = Receipt.from_stored(item.receipt)
    receipt.check_signature()
    offer = Offer.from_stored(item.offer)
    pairs = (
        (receipt.attempt_id, item.attempt_id),
        (receipt.offer_id, offer.offer_id),
        (receipt.bundle, offer.bundle),
        (receipt.bundle_version, offer.bundle_version),
        (receipt.bundle_sha256, offer.bundle_sha256),
        (receipt.input_digest, offer.payload_digest),
        (receipt.input_size_bytes, offer.payload_size_bytes),
    )
    if any(stated != ours for stated, ours in pairs):
        raise FindingsRefused("the Receipt is of another Attempt, bundle or payload")
    return receipt


def told(pipeline: Pipeline, findings: Findings, there: Collection[str], age_years: float | None) -> dict[str, Any]:
    """What a Workitem says of its Findings: `measured`, `statements` and `remarks`, as pages show them."""
    remarks = remarks_of(pipeline, age_years)
    return {
        "measured": measured_of(pipeline, findings, there),
        "statements": statements_of(pipeline, findings, remarks),
        "remarks": remarks,
    }


def store(means: Means, institution: str, written: list[Written]) -> None:
    """Archive written objects durably. Raises `ResultsNotStored` unless each of them is."""
    outcomes = means.intake.store_results(institution, [item.content for item in written])
    refused = [outcome.code for outcome in outcomes if not outcome.stored]
    if refused:
        raise ResultsNotStored(refused=refused[0])


def _fetch(means: Means, item: Workitem, receipt: Receipt) -> bytearray:
    """The plain Findings, checked against the Receipt's digest."""
    keys = keys_of(item)
    with means.network(item.institution).findings(receipt.attempt_id) as sealed:
        if sealed.plain_size_bytes != receipt.output_size_bytes:
            raise FindingsRefused("the findings are longer or shorter than the Receipt says")
        content = open_all(keys.payload_key, receipt.fencing_token, sealed.plain_size_bytes, sealed.chunks)
    if keyed_digest(keys.digest_key, content) != receipt.output_digest:
        raise FindingsRefused("the findings are not those that the Receipt names")
    return content


def _complete(means: Means, item: Workitem, said: dict[str, Any], written: list[Written]) -> None:
    references = tuple(Reference(one.kind, one.sop_class, one.series_uid, one.sop_uid) for one in written)
    events = (
        means.event(item, Kind.WRITTEN, objects=len(written)),
        means.event(item, Kind.COMPLETED, attempt_id=item.attempt_id),
    )

    def step(now: Workitem) -> Workitem | None:
        if now.state is not State.IN_PROGRESS or now.attempt_id != item.attempt_id:
            return None
        members = {"duty": Duty.ACKNOWLEDGE, "due_ms": 0, "stage": None, "fraction": 1.0}
        return now.after(Event.COMPLETE, means.clock.now_ms(), references=references, **said, **members)

    means.update(item, step, *events, taken=item.attempt_id)


def _report(
    means: Means, item: Workitem, cursor: tuple[str, int], events: tuple[StudyEvent, ...], **members: object
) -> Workitem | None:
    """Change what is known of a Workitem that has not ended; it begins with the first Attempt."""

    def step(now: Workitem) -> Workitem | None:
        if not now.active or now.offer_id != item.offer_id:
            return None
        event = Event.CLAIM if now.state is State.SCHEDULED else Event.REPORT
        return now.after(event, means.clock.now_ms(), **members)

    return means.update(item, step, *events, cursor=cursor)


def _opened(means: Means, item: Workitem, _event: NetworkEvent, cursor: tuple[str, int]) -> None:
    opened(means, item, cursor)


def _leased(means: Means, item: Workitem, event: NetworkEvent, cursor: tuple[str, int]) -> None:
    told = means.event(item, Kind.LEASED, attempt_id=event.attempt_id, cell=event.cell)
    members: dict[str, object] = {"attempt_id": event.attempt_id, "cell": event.cell, "node": event.node}
    members |= {"stage": LEASED, "fraction": 0.0, "waiting": None}
    _report(means, item, cursor, (told,), **members)


def _progressed(means: Means, item: Workitem, event: NetworkEvent, cursor: tuple[str, int]) -> None:
    members = {"stage": event.stage, "fraction": event.fraction or 0.0, "node": event.node, "cell": event.cell}
    told = means.event(item, Kind.RUNNING, attempt_id=event.attempt_id, **members)
    _report(means, item, cursor, (told,), attempt_id=event.attempt_id, **members)


def _lost(means: Means, item: Workitem, event: NetworkEvent, cursor: tuple[str, int]) -> None:
    code = event.code or LEASE_EXPIRED
    told = means.event(item, Kind.WAITING, attempt_id=event.attempt_id, code=code)
    _report(means, item, cursor, (told,), stage=None, fraction=0.0, waiting=code)


def _payload_lost(means: Means, item: Workitem, _event: NetworkEvent, cursor: tuple[str, int]) -> Workitem | None:
    told = means.event(item, Kind.WAITING, code=PAYLOAD_LOST)
    return _report(means, item, cursor, (told,), duty=Duty.OFFER, due_ms=0, stage=None, fraction=0.0)


def _accepted(means: Means, item: Workitem, event: NetworkEvent, cursor: tuple[str, int]) -> Workitem | None:
    if item.accepted_ms is not None:
        means.store.commit(Change(cursor=cursor))
        return None
    members = {"attempt_id": event.attempt_id, "node": event.node or item.node, "cell": event.cell or item.cell}
    told = means.event(item, Kind.CHECKED, **members)
    accepted = {"receipt": event.receipt, "accepted_ms": event.at_ms, "stage": CHECKED, "fraction": 1.0}
    owed = {"duty": Duty.TAKE, "due_ms": 0, "tries": 0, "waiting": None}
    return _report(means, item, cursor, (told,), **members, **accepted, **owed)


def _ended(means: Means, item: Workitem, event: NetworkEvent, cursor: tuple[str, int]) -> Workitem | None:
    code = event.code or OfferExhausted.code

    def step(now: Workitem) -> Workitem | None:
        if not now.active or now.offer_id != event.offer_id or now.accepted_ms is not None:
            return None
        return now.canceled(code, means.clock.now_ms(), duty=Duty.ACKNOWLEDGE, due_ms=0, stage=None)

    return means.update(item, step, means.event(item, Kind.FAILED, code=code), cursor=cursor)


_Step = Callable[[Means, Workitem, NetworkEvent, tuple[str, int]], Workitem | None]
_STEPS: dict[str, _Step] = {
    "offer.opened": _opened,
    "offer.payload-lost": _payload_lost,
    "attempt.leased": _leased,
    "attempt.progressed": _progressed,
    "attempt.expired": _lost,
    "attempt.failed": _lost,
    "attempt.accepted": _accepted,
    "offer.exhausted": _ended,
    "offer.withdrawn": _ended,
}
