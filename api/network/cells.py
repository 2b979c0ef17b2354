"""Cells: who they are, and asking for work."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from api.auth import Principal, require
from api.deps import ServicesDep
from api.network.wire import CellDep, read_json, wait_for, wait_s
from bithive.errors import Forbidden
from cluster.broker import WORK
from cluster.protocol import Hello, bundles, members

router = APIRouter()


@router.post("/cells/hello")
async def hello(
    request: Request, services: ServicesDep, cell: CellDep, principal: Annotated[Principal, Depends(require("cell"))]
) -> Response:
    """A cell introduces itself and its Nodes. Whose own cell it is, its account says."""
    said = Hello.from_json(await read_json(request))
    welcome = await run_in_threadpool(services.broker.hello, cell, principal.institution, said)
    return JSONResponse(welcome.to_json())


@router.post("/leases")
async def lease(request: Request, services: ServicesDep, cell: CellDep) -> Response:
    """Ask for an Attempt, and wait for one; 204 when there was none.

    `warm` says which bundles are loaded, by SHA-256: of equally urgent Offers the cell rather gets one of these.
    """
    body = members(await read_json(request), {"cell", "warm", "wait_s"})
    if body["cell"] != cell:
        raise Forbidden("the credential is another cell's")
    warm = bundles(body["warm"])
    broker, seconds = services.broker, wait_s(body["wait_s"])
    grant = await wait_for(request, broker.bell, WORK, seconds, lambda: broker.lease(cell, warm))
    if grant is None:
        return Response(status_code=204)
    return JSONResponse(grant.to_json(), headers={"Cache-Control": "no-store"})
