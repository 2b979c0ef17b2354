"""The ledger over HTTP: post an entry, read what is recorded and sealed, take proofs, hand in cosignatures."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, PlainTextResponse, Response

from api.deps import ServicesDep
from api.ledger_access import OwnerDep, ReaderDep, WriterDep, visible_account, visible_entry, visible_party
from bithive.errors import BadInput, LimitExceeded, Unsupported
from bithive.limits import JSON_BODY_BYTES_MAX, NOTE_BYTES_MAX
from economy.book import Seal
from economy.cosigning import accept_cosignature, witness_keys
from economy.entry_json import read_entry
from economy.epoch import claims_id
from economy.ledger import Recorded
from economy.seal import log_keys

router = APIRouter(prefix="/ledger")
SEALS_A_PAGE = 100
SealDep = Annotated[int | None, Query(ge=1, lt=2**53, alias="seal")]
SizeDep = Annotated[int, Query(ge=1, lt=2**53)]


@router.post("/entries")
async def post_entry(request: Request, services: ServicesDep, _principal: WriterDep) -> Response:
    """Record an entry, under the id that its client made.

    201 when it was recorded now, 200 with `Idempotency-Replayed: true` when it had been recorded with this content, 409
    while the same id is being recorded, 422 when the id is taken by another content or a rule refuses it.
    """
    entry = read_entry(_decoded(await _body(request, "application/json", JSON_BODY_BYTES_MAX)))
    recorded: Recorded = await run_in_threadpool(services.ledger.post, entry)
    body = {"seq": recorded.seq, "recorded_us": recorded.recorded_us, "replayed": recorded.replayed}
    headers = {"Location": f"/ledger/entries/{quote(entry.entry_id)}"}
    if recorded.replayed:
        return JSONResponse(body, 200, headers | {"Idempotency-Replayed": "true"})
    return JSONResponse(body, 201, headers)


@router.get("/entries/{entry_id:path}")
def entry(services: ServicesDep, principal: OwnerDep, entry_id: str) -> dict[str, Any]:
    """A recorded entry, word for word, and the first seal that covers it."""
    row = visible_entry(services, principal, entry_id)
    with services.ledger.store.reading() as snapshot:
        seal = snapshot.seal_covering(row.seq)
    return {
        "seq": row.seq,
        "recorded_us": row.recorded_us,
        "request_hash": row.request_hash,
        "leaf_hash": row.leaf_hash,
        "seal": seal.seal_id if seal else None,
        "body": json.loads(row.content),
    }


@router.get("/seals")
def seals(
    services: ServicesDep, _principal: ReaderDep, after: Annotated[int, Query(ge=0, lt=2**53)] = 0
) -> dict[str, Any]:
    """Seals in order, each with the cosignatures below it."""
    with services.ledger.store.reading() as snapshot:
        found = snapshot.seals_after(after, SEALS_A_PAGE)
        cosigned = snapshot.cosignatures([seal.seal_id for seal in found]) if found else []
    lines: dict[int, list[dict[str, Any]]] = {}
    for item in cosigned:
        said = {"public_key": item.public_key, "witnessed_ms": item.witnessed_ms}
        lines.setdefault(item.seal_id, []).append(said)
    listed = [_seal_body(seal, lines.get(seal.seal_id, [])) for seal in found]
    return {"seals": listed, "next": found[-1].seal_id if len(found) == SEALS_A_PAGE else None}


def _seal_body(seal: Seal, cosignatures: list[dict[str, Any]]) -> dict[str, Any]:
    return {**seal._asdict(), "cosignatures": cosignatures}


@router.get("/checkpoint")
def checkpoint(services: ServicesDep, seal_id: SealDep = None) -> Response:
    """A seal as a signed note with all cosignatures, the newest unless `seal` says which. Open to anybody."""
    return _note(services.desk.proofs(services.ledger.store).checkpoint(seal_id))


@router.get("/keys")
def keys(services: ServicesDep) -> Response:
    """The log's public keys as verifier keys, one a line, the oldest first. Open to anybody."""
    with services.ledger.store.reading() as snapshot:
        found = log_keys(snapshot)
    return _note("".join(f"{key}\n" for key in found))


@router.get("/proofs/entry/{entry_id:path}")
def entry_proof(services: ServicesDep, principal: OwnerDep, entry_id: str, seal_id: SealDep = None) -> Response:
    """Proof that an entry is in the log, as a file that needs nothing else."""
    row = visible_entry(services, principal, entry_id)
    text = services.desk.proofs(services.ledger.store).entry(row.entry_id, seal_id)
    return _proof(text, f"entry-{row.seq}")


@router.get("/proofs/balance/{account}")
def balance_proof(services: ServicesDep, principal: OwnerDep, account: str, seal_id: SealDep = None) -> Response:
    """Proof of an account's totals at a seal."""
    name = visible_account(services, principal, account)
    text = services.desk.proofs(services.ledger.store).balance(name, seal_id)
    return _proof(text, f"balance-{name.owner}-{name.code}-{name.asset}")


@router.get("/proofs/consistency")
def consistency_proof(
    services: ServicesDep, start: Annotated[int, Query(ge=1, lt=2**53, alias="from")], to: SizeDep | None = None
) -> Response:
    """Proof that the log of size `to` begins with the log of size `from`, unchanged. Open to anybody."""
    return _proof(services.desk.proofs(services.ledger.store).consistency(start, to), f"consistency-{start}-{to or ''}")


@router.get("/proofs/claim/{epoch}/{party}")
def claim_proof(
    services: ServicesDep, principal: OwnerDep, epoch: Annotated[int, Path(ge=1, lt=2**53)], party: str
) -> Response:
    """Proof of what a party may claim of the tree that an epoch published."""
    owner, store = visible_party(services, principal, party), services.ledger.store
    proof = services.desk.claims(store, epoch).proof(owner)
    leaf, path = proof.claim.leaf().decode(), list(proof.path)
    text = services.desk.proofs(store).claim(claims_id(epoch), proof.place, leaf, proof.size, path)
    return _proof(text, f"claim-{epoch}-{owner}")


@router.post("/cosignatures")
async def cosignatures(request: Request, services: ServicesDep) -> Response:
    """Keep a witness's signature below a checkpoint. Its key is its credential: others are not taken."""
    text = await _body(request, "text/plain", NOTE_BYTES_MAX)
    witnesses = witness_keys(services.settings.network.witnesses)
    found = await run_in_threadpool(accept_cosignature, services.ledger.store, text, witnesses, services.clock)
    body = [{"seal": item.seal_id, "witness": item.witness, "witnessed_ms": item.witnessed_ms} for item in found]
    return JSONResponse(body[0] if len(body) == 1 else body, 201 if any(item.new for item in found) else 200)


async def _body(request: Request, media_type: str, bytes_max: int) -> bytes:
    """The body of a request of one media type, never more of it than is allowed."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != media_type:
        raise Unsupported(f"send {media_type}")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > bytes_max:
            raise LimitExceeded("the body is too long", size_bytes_max=bytes_max)
    return bytes(body)


def _decoded(body: bytes) -> Any:
    """JSON without repeated names and without numbers that have no one form."""
    try:
        return json.loads(body, object_pairs_hook=_once, parse_float=_refused, parse_constant=_refused)
    except (ValueError, RecursionError):
        raise BadInput("the body is not JSON as entries are written: no repeated names, whole numbers") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is repeated")
    return found


def _refused(_text: str) -> None:
    raise ValueError("only whole numbers are read")


def _note(text: str) -> Response:
    return PlainTextResponse(text, headers={"Cache-Control": "no-store"})


def _proof(text: str, name: str) -> Response:
    headers = {"Content-Disposition": f'inline; filename="{name}.json"', "Cache-Control": "no-store"}
    return Response(text, media_type="application/json", headers=headers)
