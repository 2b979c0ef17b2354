"""What a contributor is told before its machine starts: how fast bytes come and go, and what work was paid with lately.

For a cell that has joined, by its bearer token; nothing is changed, so nothing is signed.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from api.auth import Principal, require
from api.deps import ServicesDep
from api.services import Services
from bithive.errors import LimitExceeded
from bithive.limits import PROBE_BYTES_MAX
from cluster.likely import Rates
from economy.book import facts_of
from economy.epoch import end_id, opened_epochs

router = APIRouter()

_HOUR_MS = 3_600_000
_STRETCH_MS = 7 * 24 * _HOUR_MS
_REWARD_UNIT = 10_000
_ASSET = "BTT"
_NO_STORE = {"Cache-Control": "no-store"}

JoinedDep = Annotated[Principal, Depends(require("cell"))]


@router.get("/probe/{size_bytes}")
def probe(size_bytes: Annotated[int, Path(ge=1, le=PROBE_BYTES_MAX)], _principal: JoinedDep) -> Response:
    """So many bytes that do not compress."""
    return Response(secrets.token_bytes(size_bytes), media_type="application/octet-stream", headers=_NO_STORE)


@router.post("/probe")
async def take(request: Request, _principal: JoinedDep) -> dict[str, int]:
    """Take bytes and say how many there were. Raises `LimitExceeded`."""
    size_bytes = 0
    async for chunk in request.stream():
        size_bytes += len(chunk)
        if size_bytes > PROBE_BYTES_MAX:
            raise LimitExceeded("a probe is small", size_bytes_max=PROBE_BYTES_MAX)
    return {"size_bytes": size_bytes}


@router.get("/rates")
async def rates(services: ServicesDep, _principal: JoinedDep) -> dict[str, Any]:
    """What the work of the epochs that closed within the last week was paid with."""
    return (await run_in_threadpool(_rates, services)).to_json()


def _rates(services: Services) -> Rates:
    now_ms = services.clock.now_ms()
    pool, units, length_ms = 0, 0, 0
    with services.ledger.store.reading() as snapshot:
        lately = [epoch for epoch in opened_epochs(snapshot) if epoch.to_ms > now_ms - _STRETCH_MS]
        ends = snapshot.find([end_id(epoch.number) for epoch in lately]) if lately else {}
        for epoch in lately:
            row = ends.get(end_id(epoch.number))
            if row is not None:
                facts = facts_of(row)
                pool, units = pool + int(facts["paid"]), units + int(facts.get("units", 0))
                length_ms += epoch.to_ms - epoch.from_ms
    here = sum(state == "up" for state in services.broker.presence.states(now_ms).values())
    return Rates(_ASSET, max(1, length_ms // _HOUR_MS), pool, units // _REWARD_UNIT, here)
