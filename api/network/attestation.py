"""Attestation (version 2): a cell asks for a nonce, and hands in evidence that names it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from api.deps import ServicesDep
from api.network.wire import CellDep, read_json
from cluster.attestation import Evidence
from cluster.protocol_words import members

router = APIRouter()

_NO_STORE = {"Cache-Control": "no-store"}


@router.post("/cells/challenge")
async def challenge(request: Request, services: ServicesDep, cell: CellDep) -> Response:
    """A nonce for this cell, good once and for a minute."""
    members(await read_json(request), set())
    nonce = await run_in_threadpool(services.broker.challenge, cell)
    return JSONResponse({"nonce": nonce}, headers=_NO_STORE)


@router.post("/cells/evidence")
async def evidence(request: Request, services: ServicesDep, cell: CellDep) -> Response:
    """Judge evidence: until when it counts. What the cell had shown before is void, whatever comes of it."""
    shown = Evidence.from_json(await read_json(request))
    attested_ms = await run_in_threadpool(services.broker.attest, cell, shown)
    return JSONResponse({"attested_ms": attested_ms}, headers=_NO_STORE)
