"""Version 2's requests of a running cell: hello, work for all of its Nodes, and a sign of life for all of its Attempts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from api.auth import Principal, require
from api.deps import ServicesDep
from api.network.signed import signer
from api.network.wire import CellDep, read_json, wait_for, wait_s
from bithive.errors import Forbidden
from cluster.broker import WORK
from cluster.protocol import Hello
from cluster.protocol_lease import Pulse, WorkRequest, grants_to_json

router = APIRouter()

_VERSION = "2"


@router.post("/cells/hello")
async def hello(
    request: Request, services: ServicesDep, cell: CellDep, principal: Annotated[Principal, Depends(require("cell"))]
) -> Response:
    """A cell introduces itself and its Nodes. What it was admitted for, its account and its invite say."""
    said = Hello.from_json(await read_json(request), _VERSION)
    welcome = await run_in_threadpool(services.broker.hello, cell, principal.institution, said, signer(request))
    return JSONResponse(welcome.to_json(_VERSION))


@router.post("/leases")
async def work(request: Request, services: ServicesDep, cell: CellDep) -> Response:
    """Ask for as many Attempts as the cell has free slots, and wait for the first.

    The answer comes at once and empty when the same cell asks again, or says that a Node's state has changed.
    """
    asked = WorkRequest.from_json(await read_json(request))
    if asked.cell != cell:
        raise Forbidden("the credential is another cell's")
    seconds, broker = wait_s(asked.wait_s), services.broker
    turn = await run_in_threadpool(lambda: broker.stand(cell, asked.nodes, anew=True, serial=asked.serial))

    def look() -> dict[str, object] | None:
        grants = broker.work(asked, turn)
        return None if grants == () else grants_to_json(grants or ())

    found = await wait_for(request, broker.bell, WORK, seconds, look)
    return JSONResponse(found or grants_to_json(()), headers={"Cache-Control": "no-store"})


@router.post("/cells/pulse")
async def pulse(request: Request, services: ServicesDep, cell: CellDep) -> Response:
    """A sign of life: Leases are renewed, and what has changed holds from now on."""
    said = Pulse.from_json(await read_json(request))
    renewed = await run_in_threadpool(services.broker.pulse, cell, said)
    return JSONResponse(renewed.to_json())
