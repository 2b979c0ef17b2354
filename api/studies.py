"""Studies as JSON: what the demonstration, scripts and other programs read beside DICOMweb."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool

from api.auth import Principal, require
from api.deps import ServicesDep
from api.services import Services
from bithive.limits import QUERY_RESULTS_MAX
from clinic import query
from clinic.access_log import Access
from clinic.attributes import Level
from clinic.errors import StudyAbsent
from clinic.instance import SeriesRow, StudyRow, first
from clinic.workitem import Workitem
from clinic.workitem_store import EVENTS_READ_MAX, SeriesWatch, StudyEvent, Which
from economy.statement import OfferStatement, State, of_offer

router = APIRouter(prefix="/api")
Reading = Annotated[Principal, Depends(require("studies:read"))]
Deleting = Annotated[Principal, Depends(require("studies:delete"))]
PAGE = 60


@router.get("/studies")
async def studies(
    services: ServicesDep,
    principal: Reading,
    limit: Annotated[int, Query(ge=1, le=QUERY_RESULTS_MAX)] = PAGE,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> dict[str, Any]:
    """The institution's studies, newest first, each with its Workitems."""
    return await run_in_threadpool(_studies, services, principal, limit, offset)


def _studies(services: Services, principal: Principal, limit: int, offset: int) -> dict[str, Any]:
    institution = principal.institution or ""
    services.access_log.record(institution, principal.account, Access.SEARCHED)
    found = services.archive.search(institution, Level.STUDY, query.Query(limit=limit, offset=offset))
    return {"studies": [_brief(services, institution, item.study) for item in found]}


def _brief(services: Services, institution: str, row: StudyRow) -> dict[str, Any]:
    workitems = services.workitems.find(Which(institution=institution, study_uid=row.study_uid))
    return study_json(row) | {"workitems": [workitem_json(item, services) for item in workitems]}


@router.get("/studies/{study_uid}")
async def study(study_uid: str, services: ServicesDep, principal: Reading) -> dict[str, Any]:
    """One study: its series and why a pipeline does not take one, its Workitems, and what happened, in order."""
    return await run_in_threadpool(_study, services, principal, study_uid)


@router.delete("/studies/{study_uid}", status_code=204)
async def delete(study_uid: str, services: ServicesDep, principal: Deleting) -> None:
    """Remove a study and everything written into it, for good. The access log keeps who did it."""
    institution = principal.institution or ""
    await run_in_threadpool(
        services.intake.delete_study, institution, study_uid, principal.account, services.access_log
    )


def _study(services: Services, principal: Principal, study_uid: str) -> dict[str, Any]:
    institution = principal.institution or ""
    row = services.archive.study(institution, study_uid)
    if row is None:
        raise StudyAbsent
    services.access_log.record(institution, principal.account, Access.OPENED, study_uid)
    watched = {item.series_uid: item for item in services.workitems.watched(institution, study_uid)}
    found = services.archive.search(institution, Level.SERIES, query.by_uid(study_uid))
    series = [item.series for item in found if item.series is not None]
    return _brief(services, institution, row) | {
        "series_list": [series_json(item, watched.get(item.series_uid)) for item in series],
        "events": [event_json(item) for item in _events(services, institution, study_uid)],
    }


def _events(services: Services, institution: str, study_uid: str) -> Sequence[StudyEvent]:
    found: list[StudyEvent] = []
    while True:
        more = services.workitems.events_after(institution, found[-1].seq if found else 0, study_uid)
        found += more
        if len(more) < EVENTS_READ_MAX:
            return found


@router.get("/workitems/{workitem_id}")
async def workitem(workitem_id: str, services: ServicesDep, principal: Reading) -> dict[str, Any]:
    """One Workitem."""
    item = await run_in_threadpool(services.workitems.workitem, principal.institution or "", workitem_id)
    return workitem_json(item, services)


@router.get("/workitems/{workitem_id}/statement")
async def statement(workitem_id: str, services: ServicesDep, principal: Reading) -> dict[str, Any]:
    """What the ledger knows of a Workitem's Offer: hold, charge and its split, work units, the node's reward."""

    def read() -> OfferStatement:
        item = services.workitems.workitem(principal.institution or "", workitem_id)
        return of_offer(services.ledger, item.offer_id)

    return statement_json(await run_in_threadpool(read))


def study_json(row: StudyRow) -> dict[str, Any]:
    """A study's header."""
    return {
        "study_uid": row.study_uid,
        "patient_id": row.patient_id,
        "patient_name": first(row.attributes, "00100010"),
        "date": first(row.attributes, "00080020"),
        "description": first(row.attributes, "00081030"),
        "modalities": list(row.modalities),
        "series": row.series,
        "instances": row.instances,
        "created_ms": row.created_ms,
        "changed_ms": row.changed_ms,
    }


def series_json(row: SeriesRow, watch: SeriesWatch | None) -> dict[str, Any]:
    """A series, and the code of each pipeline's no."""
    return {
        "series_uid": row.series_uid,
        "modality": row.modality,
        "description": first(row.attributes, "0008103E"),
        "instances": row.instances,
        "pending": watch.pending if watch else False,
        "unmatched": watch.unmatched if watch else {},
        "geometry": watch.geometry if watch else "",
    }


def workitem_json(item: Workitem, services: Services) -> dict[str, Any]:
    """A Workitem without what never leaves the clinical side: its key."""
    pipeline = services.repertoire().pipelines.get(item.pipeline)
    return {
        "workitem_id": item.workitem_id,
        "study_uid": item.study_uid,
        "series_uid": item.series_uid,
        "pipeline": item.pipeline,
        "title": pipeline.title if pipeline else item.pipeline,
        "state": str(item.state),
        "urgency": str(item.urgency),
        "reason": item.reason,
        "waiting": item.waiting,
        "offer_id": item.offer_id,
        "attempt_id": item.attempt_id,
        "cell": item.cell,
        "node": item.node,
        "stage": item.stage,
        "fraction": item.fraction,
        "created_ms": item.created_ms,
        "changed_ms": item.changed_ms,
        "accepted_ms": item.accepted_ms,
        "measured": [asdict(measured) for measured in item.measured],
        "statements": [asdict(statement) for statement in item.statements],
        "remarks": list(item.remarks),
        "references": [asdict(reference) for reference in item.references],
        "receipt": item.receipt,
        "superseded_by": item.superseded_by,
        "review": str(item.review) if item.review else None,
        "reviewed_by": item.reviewed_by,
        "reviewed_ms": item.reviewed_ms,
    }


def event_json(event: StudyEvent) -> dict[str, Any]:
    """One entry of a study's log."""
    return {"seq": event.seq, "kind": str(event.kind), "at_ms": event.at_ms, **event.detail}


def statement_json(found: OfferStatement) -> dict[str, Any]:
    """A statement; amounts in the smallest unit, and written out under `text`."""
    return {
        "offer_id": found.offer_id,
        "state": str(found.state),
        "booked": found.state not in {State.NONE, State.HELD, State.UNSECURED},
        "currency": found.currency.code,
        "rate_card": found.rate_card,
        "hold": found.hold,
        "charge": found.charge,
        "flag": found.flag,
        "split": [{"label": item.label, "amount": item.amount, "asset": item.asset} for item in found.split],
        "work_units": found.work_units,
        "receipt": found.receipt,
        "reward": found.reward_btt,
        "reward_state": str(found.reward_state),
        "epoch": found.epoch,
        "text": {
            "hold": found.text(found.hold),
            "charge": found.text(found.charge),
            "split": {item.label: found.text(item.amount) for item in found.split},
            "reward": found.reward_text,
        },
    }
