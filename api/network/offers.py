"""Offers: what institutions ask of the network."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from api.deps import ServicesDep
from api.network.wire import InstitutionDep, read_json, receive, send_file
from bithive.offer import Offer, OfferKeys
from cluster.protocol import PLAIN_SIZE_HEADER, members, whole

router = APIRouter()


@router.post("/offers", status_code=201)
async def make(request: Request, services: ServicesDep, institution: InstitutionDep) -> Response:
    """Make an Offer. 201 when it is new, 200 when this very one was made before."""
    body = members(await read_json(request), {"offer", "keys", "payload_sealed_bytes"})
    offer, keys = Offer.from_json(body["offer"]), OfferKeys.from_json(body["keys"])
    sealed_bytes = whole(body["payload_sealed_bytes"])
    new = await run_in_threadpool(services.broker.offer, institution, offer, keys, sealed_bytes)
    return JSONResponse({"offer_id": offer.offer_id}, 201 if new else 200)


@router.put("/offers/{offer_id}/payload", status_code=204)
async def put_payload(offer_id: str, request: Request, services: ServicesDep, institution: InstitutionDep) -> Response:
    """Send the sealed payload; the Offer opens."""
    incoming = await run_in_threadpool(services.broker.receive_payload, institution, offer_id)
    await receive(request, incoming)
    if incoming is not None:
        await run_in_threadpool(services.broker.store_payload, institution, offer_id, incoming)
    return Response(status_code=204)


@router.post("/offers/{offer_id}/withdraw", status_code=204)
async def withdraw(offer_id: str, services: ServicesDep, institution: InstitutionDep) -> Response:
    """Take an Offer back."""
    await run_in_threadpool(services.broker.withdraw, institution, offer_id)
    return Response(status_code=204)


@router.post("/offers/{offer_id}/acknowledge", status_code=204)
async def acknowledge(offer_id: str, services: ServicesDep, institution: InstitutionDep) -> Response:
    """Say that the findings were taken: payload, findings and keys are destroyed."""
    await run_in_threadpool(services.broker.acknowledge, institution, offer_id)
    return Response(status_code=204)


@router.get("/attempts/{attempt_id}/findings")
async def get_findings(
    attempt_id: str, request: Request, services: ServicesDep, institution: InstitutionDep
) -> Response:
    """The sealed findings of an accepted Attempt."""
    file = await run_in_threadpool(services.broker.findings, institution, attempt_id)
    return await send_file(request, file.path, {PLAIN_SIZE_HEADER: str(file.plain_size_bytes)})
