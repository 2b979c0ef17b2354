"""Counter-receipts: what became of the Receipts that a cell handed in."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from api.deps import ServicesDep
from api.network.wire import CellDep
from bithive.limits import COUNTER_RECEIPTS_MAX

router = APIRouter()


@router.get("/counter-receipts")
async def counter_receipts(
    services: ServicesDep,
    cell: CellDep,
    subject: Annotated[str, Query(max_length=40)],
    after: Annotated[int, Query(ge=0, lt=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=COUNTER_RECEIPTS_MAX)] = 100,
) -> Response:
    """Those of the cell itself or of one of its Nodes, beyond a place in its chain, in order."""
    found = await run_in_threadpool(services.broker.counters, cell, subject, after, limit)
    return JSONResponse({"counter_receipts": [counter.to_json() for counter in found]})
