"""Declaring studies public, before they are sent: work for which any contributed machine will do."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool

from api.auth import Principal, require
from api.deps import ServicesDep
from api.network.wire import read_json
from clinic.public_sets import BadPublicSet, Basis

router = APIRouter(prefix="/api")
_MEMBERS = {"name", "licence", "basis", "study_uids"}


@router.post("/public-sets", status_code=201)
async def declare(
    request: Request, services: ServicesDep, principal: Annotated[Principal, Depends(require("public:write"))]
) -> dict[str, Any]:
    """Declare studies of the caller's institution public (data class P0). The access log keeps who said so."""
    body = await read_json(request)
    if not isinstance(body, dict) or set(body) != _MEMBERS:
        raise BadPublicSet(f"the members are exactly {', '.join(sorted(_MEMBERS))}")
    if not isinstance(body["name"], str) or not isinstance(body["licence"], str) or body["basis"] not in list(Basis):
        raise BadPublicSet("name, licence or basis is malformed")
    uids = body["study_uids"]
    if not isinstance(uids, list) or not all(isinstance(uid, str) for uid in uids):
        raise BadPublicSet("study_uids is no list of texts")
    made = await run_in_threadpool(
        services.public_sets.declare,
        principal.institution or "",
        principal.account,
        uids,
        body["name"],
        body["licence"],
        Basis(body["basis"]),
        services.access_log,
    )
    return {"studies": [item.study_uid for item in made]}
