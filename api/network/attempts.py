"""Attempts: what a cell asks and says while it has a Lease."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from api.deps import ServicesDep
from api.network.wire import CellDep, FencingDep, read_json, receive, send_file
from cluster.attempt import AttemptState
from cluster.errors import BadMessage
from cluster.protocol import RECEIPT_HEADER, Heartbeat, decode_receipt, members, whole
from cluster.stage_times import STAGES_HEADER

router = APIRouter()


@router.get("/attempts/{attempt_id}/payload")
async def get_payload(
    attempt_id: str, request: Request, services: ServicesDep, cell: CellDep, token: FencingDep
) -> Response:
    """The sealed payload, or the rest of it that is asked for."""
    path = await run_in_threadpool(services.broker.payload, cell, attempt_id, token)
    return await send_file(request, path)


@router.post("/attempts/{attempt_id}/heartbeat")
async def heartbeat(attempt_id: str, request: Request, services: ServicesDep, cell: CellDep) -> Response:
    """A sign of life; the Lease is renewed."""
    beat = Heartbeat.from_json(await read_json(request))
    expires_ms = await run_in_threadpool(services.broker.heartbeat, cell, attempt_id, beat)
    return JSONResponse({"expires_ms": expires_ms})


@router.post("/attempts/{attempt_id}/findings")
async def post_findings(
    attempt_id: str,
    request: Request,
    services: ServicesDep,
    cell: CellDep,
    token: FencingDep,
    encoded: Annotated[str, Header(alias=RECEIPT_HEADER)],
    stages: Annotated[str, Header(alias=STAGES_HEADER)] = "",
) -> Response:
    """Hand in sealed findings with their Receipt; the answer holds the counter-receipt. Repeating it changes nothing."""
    receipt, broker = decode_receipt(encoded), services.broker
    incoming = await run_in_threadpool(broker.receive_findings, cell, attempt_id, token, receipt)
    await receive(request, incoming)
    state = AttemptState.ACCEPTED
    if stages:
        services.traces.heard(attempt_id, stages)
    if incoming is not None:
        state = await run_in_threadpool(broker.accept, cell, attempt_id, token, receipt, incoming)
    counter = await run_in_threadpool(broker.counter_of, cell, attempt_id)
    return JSONResponse({"state": str(state), "counter": counter.to_json() if counter is not None else None})


@router.post("/attempts/{attempt_id}/failure", status_code=204)
async def post_failure(attempt_id: str, request: Request, services: ServicesDep, cell: CellDep) -> Response:
    """Say that it cannot be done, and why."""
    body = members(await read_json(request), {"fencing_token", "code"})
    if not isinstance(body["code"], str):
        raise BadMessage("code is no text")
    token = whole(body["fencing_token"])
    await run_in_threadpool(services.broker.fail, cell, attempt_id, token, body["code"])
    return Response(status_code=204)
