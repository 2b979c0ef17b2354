"""What people do with an analysis: repeat it, accept or reject its findings, look at its slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from api.auth import Principal, require
from api.deps import ServicesDep
from api.services import Services
from api.studies import Reading, workitem_json
from clinic.access_log import Access
from clinic.planes import Plane, PlaneCount
from clinic.refusals import NoPlane
from clinic.workitem import Workitem

router = APIRouter(prefix="/api")
REASON_LENGTH_MAX = 500
Writing = Annotated[Principal, Depends(require("studies:write"))]
Reviewing = Annotated[Principal, Depends(require("studies:review"))]


class Verdict(BaseModel):
    """What a clinician may add to a verdict."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field("", max_length=REASON_LENGTH_MAX)


async def _judge(
    services: Services,
    judge: Callable[[str, str, str, str], Workitem],
    workitem_id: str,
    principal: Principal,
    body: Verdict | None,
) -> dict[str, Any]:
    reason = body.reason if body else ""
    item = await run_in_threadpool(judge, principal.institution or "", workitem_id, principal.name, reason)
    return workitem_json(item, services)


@router.post("/workitems/{workitem_id}/rerun", status_code=201)
async def rerun(workitem_id: str, services: ServicesDep, principal: Writing) -> dict[str, Any]:
    """Repeat an analysis that was canceled; the new Workitem."""
    item = await run_in_threadpool(services.flow.rerun, principal.institution or "", workitem_id)
    services.wake()
    return workitem_json(item, services)


@router.post("/workitems/{workitem_id}/accept")
async def accept(
    workitem_id: str, services: ServicesDep, principal: Reviewing, body: Verdict | None = None
) -> dict[str, Any]:
    """Accept findings: a VERIFIED report is archived under the caller's name."""
    return await _judge(services, services.reviews.accept, workitem_id, principal, body)


@router.post("/workitems/{workitem_id}/reject")
async def reject(
    workitem_id: str, services: ServicesDep, principal: Reviewing, body: Verdict | None = None
) -> dict[str, Any]:
    """Reject findings: a rejection note takes back everything that was written."""
    return await _judge(services, services.reviews.reject, workitem_id, principal, body)


@router.get("/series/{series_uid}/planes")
async def planes(series_uid: str, services: ServicesDep, principal: Reading) -> dict[str, Any]:
    """How many planes of each kind a series has. Logged as opening its study, once for all its planes."""
    institution = principal.institution or ""

    def count() -> Sequence[PlaneCount]:
        rows = services.archive.series(institution, series_uid)
        if not rows:
            raise NoPlane
        services.access_log.record(institution, principal.account, Access.OPENED, rows[0].study_uid)
        return services.volumes.planes(institution, series_uid)

    found = await run_in_threadpool(count)
    return {
        "planes": [
            {
                "plane": str(item.plane),
                "count": item.count,
                "spacing_mm": item.spacing_mm,
                "width_mm": item.width_mm,
                "height_mm": item.height_mm,
            }
            for item in found
        ]
    }


@router.get("/series/{series_uid}/planes/{plane}/{index}")
async def plane_image(
    series_uid: str,
    plane: Plane,
    index: int,
    services: ServicesDep,
    principal: Reading,
    overlay: Annotated[str | None, Query(max_length=40)] = None,
) -> Response:
    """One plane as PNG; `overlay` is a Workitem whose segments are drawn over it."""
    institution = principal.institution or ""

    def draw() -> bytes:
        item = services.workitems.workitem(institution, overlay) if overlay else None
        return services.volumes.plane(institution, series_uid, plane, index, item)

    return Response(await run_in_threadpool(draw), media_type="image/png")
