"""Events: what institutions are told about their Offers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from api.deps import ServicesDep
from api.network.wire import InstitutionDep, wait_for
from bithive.limits import LONG_POLL_S_MAX

router = APIRouter()


@router.get("/events")
async def events(
    request: Request,
    services: ServicesDep,
    institution: InstitutionDep,
    after: Annotated[int, Query(ge=0, lt=2**53)] = 0,
    wait_s: Annotated[float, Query(ge=0, le=LONG_POLL_S_MAX)] = 0.0,
) -> Response:
    """The institution's events beyond a place, at most 100; waits for the first when there is none yet."""
    broker = services.broker
    found = await wait_for(request, broker.bell, institution, wait_s, lambda: broker.notices(institution, after))
    return JSONResponse({"events": [notice.to_json() for notice in found or ()]})
