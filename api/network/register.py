"""Joining, and changing keys (version 2)."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from api.deps import ServicesDep
from api.invites import CONTRIBUTOR_SUFFIX
from api.network.signed import accept, message_of
from api.network.wire import CellDep, read_json
from api.services import Services
from api.sessions import enter_path
from cluster.errors import SignatureRefused
from cluster.protocol_join import Joined, JoinRequest, Rotation
from cluster.protocol_words import members, text
from cluster.register import InviteRecord
from cluster.signing import check

router = APIRouter()


@router.post("/cells/join", status_code=201)
async def join(request: Request, services: ServicesDep) -> Response:
    """Use an invite. Its secret is the credential; the signature proves that the cell holds the key that it names.

    Only what an invite lets in is remembered as seen: nobody fills that memory from outside.
    """
    shown = check(message_of(request))
    request.state.signed = shown
    asked = JoinRequest.from_json(await read_json(request))
    if asked.cell_key != shown.key:
        raise SignatureRefused("the cell signs with the key that it names")
    invite = await run_in_threadpool(services.broker.registrar.admit, asked.secret, asked.cell_key)
    accept(services, request, shown)
    joined = await run_in_threadpool(_joined, services, invite)
    return JSONResponse(joined.to_json(), 201, headers={"Cache-Control": "no-store"})


def _joined(services: Services, invite: InviteRecord) -> Joined:
    broker, accounts = services.broker, services.accounts
    account = accounts.named(invite.account)
    contributor = accounts.ensure(invite.account + CONTRIBUTOR_SUFFIX, "contributor", cell=invite.cell)
    path = enter_path(accounts.link(contributor), "/network")
    key = getattr(getattr(broker, "network_key", None), "public_hex", "")
    return Joined(invite.cell, accounts.token(account), invite.terms, invite.operator, key, path)


@router.post("/cells/rotate", status_code=204)
async def rotate(request: Request, services: ServicesDep, cell: CellDep) -> Response:
    """Put a new key in the place of an old one: a Node's, or the cell's own. Both keys sign their exchange."""
    rotation = Rotation.from_json(await read_json(request))
    await run_in_threadpool(services.broker.registrar.rotate, cell, rotation)
    return Response(status_code=204)


@router.post("/cells/revoke", status_code=204)
async def revoke(request: Request, services: ServicesDep, cell: CellDep) -> Response:
    """Refuse everything that one of the cell's own Nodes signs, from now on."""
    node = text(members(await read_json(request), {"node"})["node"], 40)
    await run_in_threadpool(services.broker.registrar.revoke_node, node, cell)
    return Response(status_code=204)


@router.post("/cells/contributor")
async def contributor(services: ServicesDep, cell: CellDep) -> Response:
    """A new one-time path that signs the cell's contributor in, in a browser."""
    path = await run_in_threadpool(_contributor_path, services, cell)
    return JSONResponse({"path": path}, headers={"Cache-Control": "no-store"})


def _contributor_path(services: Services, cell: str) -> str:
    account = next(known for known in services.accounts.all() if known.cell == cell and known.role == "cell")
    holder = services.accounts.ensure(account.name + CONTRIBUTOR_SUFFIX, "contributor", cell=cell)
    return enter_path(services.accounts.link(holder), "/network")
