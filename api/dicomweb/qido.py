"""QIDO-RS (PS3.18 section 10.6): search. An empty answer is `200` with `[]`, which every client reads."""

from __future__ import annotations

import json
from dataclasses import replace

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from api.deps import get_services
from api.dicomweb import accept
from api.dicomweb.deps import Reader, base_url, instance_url, institution_of, warning_header
from clinic import query
from clinic.access_log import NO_STUDY, Access
from clinic.attributes import Level
from clinic.instance import Header

router = APIRouter(prefix="/dicomweb", tags=["QIDO-RS"])

_CAPPED = "The number of results exceeded the maximum supported by the server. Additional results can be requested."


@router.get("/studies")
async def studies(request: Request, principal: Reader) -> Response:
    """Search for studies."""
    return await _search(request, principal, Level.STUDY)


@router.get("/series")
async def series(request: Request, principal: Reader) -> Response:
    """Search for series."""
    return await _search(request, principal, Level.SERIES)


@router.get("/instances")
async def instances(request: Request, principal: Reader) -> Response:
    """Search for instances."""
    return await _search(request, principal, Level.INSTANCE)


@router.get("/studies/{study_uid}/series")
async def series_of_study(request: Request, principal: Reader, study_uid: str) -> Response:
    """Search for series of a study."""
    return await _search(request, principal, Level.SERIES, study_uid)


@router.get("/studies/{study_uid}/instances")
async def instances_of_study(request: Request, principal: Reader, study_uid: str) -> Response:
    """Search for instances of a study."""
    return await _search(request, principal, Level.INSTANCE, study_uid)


@router.get("/studies/{study_uid}/series/{series_uid}/instances")
async def instances_of_series(request: Request, principal: Reader, study_uid: str, series_uid: str) -> Response:
    """Search for instances of a series."""
    return await _search(request, principal, Level.INSTANCE, study_uid, series_uid)


async def _search(
    request: Request, principal: Reader, level: Level, study_uid: str | None = None, series_uid: str | None = None
) -> Response:
    media_type = accept.wants_json(request)
    wanted = query.parse(level, request.query_params.multi_items(), query.by_uid(study_uid, series_uid))
    institution, services = institution_of(principal), get_services(request)
    base = base_url(request)

    def answer() -> tuple[str, bool]:
        kind = Access.OPENED if study_uid else Access.SEARCHED
        services.access_log.record(institution, principal.account, kind, study_uid or NO_STUDY)
        assert wanted.limit is not None, "a parsed query has a limit"
        found = services.archive.search(institution, level, replace(wanted, limit=wanted.limit + 1))
        items = [_located(found_one, wanted, base) for found_one in found[: wanted.limit]]
        return json.dumps(items, separators=(",", ":")), len(found) > wanted.limit

    content, more = await run_in_threadpool(answer)
    notes = (*wanted.notes, *((_CAPPED,) if more and wanted.capped else ()))
    return Response(content, 200, warning_header(*notes), media_type)


def _located(found: query.Found, wanted: query.Query, base: str) -> Header:
    """One answer, with the address it can be retrieved at."""
    url = f"{base}/studies/{found.study.study_uid}"
    if found.instance and found.series:
        url = instance_url(base, found.study.study_uid, found.series.series_uid, found.instance.sop_uid)
    elif found.series:
        url += f"/series/{found.series.series_uid}"
    return dict(sorted({**query.to_json(found, wanted), "00081190": {"vr": "UR", "Value": [url]}}.items()))
