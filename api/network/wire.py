"""How messages and sealed content cross HTTP: small JSON bodies whole, large content in big pieces, waiting without asking.

Sealed content is handed to the disk in pieces of a MiB or more: a thread each for every 64 KiB that a socket gives would
cost more than the copying.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Message

from api.auth import Principal, require
from bithive.errors import BadInput, Forbidden, LimitExceeded
from bithive.limits import JSON_BODY_BYTES_MAX, LONG_POLL_S_MAX, MIB
from cluster.bell import Bell
from cluster.errors import BadMessage, PayloadSizeDiffers, ProtocolUnsupported
from cluster.protocol import TOKEN_HEADER, VERSION, VERSION_HEADER
from cluster.spool import Incoming

_WRITE_BYTES = 2 * MIB
_READ_BYTES = 4 * MIB

T = TypeVar("T")


def speaks(version: Annotated[str | None, Header(alias=VERSION_HEADER)] = None) -> None:
    """Refuse another version of the protocol, or none. Raises `ProtocolUnsupported`."""
    if version != VERSION:
        raise ProtocolUnsupported(f"send {VERSION_HEADER}: {VERSION}", protocol=VERSION)


def institution(principal: Annotated[Principal, Depends(require("institution"))]) -> str:
    """Who asks, as an institution."""
    if principal.institution is None:
        raise Forbidden("the account belongs to no institution")
    return principal.institution


def cell(principal: Annotated[Principal, Depends(require("cell"))]) -> str:
    """Who asks, as a cell."""
    if principal.cell is None:
        raise Forbidden("the account belongs to no cell")
    return principal.cell


InstitutionDep = Annotated[str, Depends(institution)]
CellDep = Annotated[str, Depends(cell)]


def fencing_token(value: Annotated[str | None, Header(alias=TOKEN_HEADER)] = None) -> int:
    """The fencing token of a request without a JSON body. Raises `BadMessage`."""
    if value is None or not value.isascii() or not value.isdigit() or len(value) > 15:
        raise BadMessage(f"{TOKEN_HEADER} is missing or no integer")
    return int(value)


FencingDep = Annotated[int, Depends(fencing_token)]


async def read_json(request: Request) -> Any:
    """The JSON body of a request.

    Raises
    ------
    LimitExceeded
        Beyond `JSON_BODY_BYTES_MAX`, before it is read.
    BadInput
        When it is no JSON.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > JSON_BODY_BYTES_MAX:
            raise LimitExceeded("a message is too long", size_bytes_max=JSON_BODY_BYTES_MAX)
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise BadInput("the body is not JSON") from None


async def receive(request: Request, incoming: Incoming | None) -> None:
    """Take the body into a file, or read and drop it where there is none; on any failure the file is discarded."""
    pieces: list[bytes] = []
    held = 0
    try:
        async for chunk in request.stream():
            if incoming is None or not chunk:
                continue
            pieces.append(chunk)
            held += len(chunk)
            if held >= _WRITE_BYTES:
                await run_in_threadpool(incoming.write, pieces)
                pieces, held = [], 0
        if incoming is not None and pieces:
            await run_in_threadpool(incoming.write, pieces)
    except ClientDisconnect:
        _discard(incoming)
        raise PayloadSizeDiffers("the body broke off") from None
    except BaseException:
        _discard(incoming)
        raise


def _discard(incoming: Incoming | None) -> None:
    if incoming is not None:
        incoming.discard()


async def send_file(path: Path, headers: dict[str, str] | None = None) -> StreamingResponse:
    """A file's content. It is opened now, so that deleting it meanwhile does no harm."""
    file = await run_in_threadpool(path.open, "rb", buffering=0)
    size_bytes = os.fstat(file.fileno()).st_size

    async def content() -> AsyncIterator[bytes]:
        with file:
            while chunk := await run_in_threadpool(file.read, _READ_BYTES):
                yield chunk

    headers = {"Content-Length": str(size_bytes), "Cache-Control": "no-store", **(headers or {})}
    return StreamingResponse(content(), media_type="application/octet-stream", headers=headers)


def wait_s(value: Any) -> float:
    """How long a request may wait. Raises `BadMessage`."""
    if type(value) not in (int, float) or not 0 <= value <= LONG_POLL_S_MAX:
        raise BadMessage("wait_s is out of range", wait_s_max=LONG_POLL_S_MAX)
    return float(value)


async def wait_for(request: Request, bell: Bell, name: str, seconds: float, look: Callable[[], T]) -> T | None:
    """Look, and look again each time the bell rings, until there is something, time is up, or nobody listens any more.

    Parameters
    ----------
    look
        Runs in a thread; what it gives ends the waiting when it is true.
    """
    loop = asyncio.get_running_loop()
    end_s = loop.time() + seconds
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        while not gone.done():
            seen = bell.count(name)
            if found := await run_in_threadpool(look):
                return found
            left_s = end_s - loop.time()
            if left_s <= 0 or bell.closed:
                return None
            rings = asyncio.ensure_future(bell.wait(name, seen, left_s))
            await asyncio.wait((rings, gone), return_when=asyncio.FIRST_COMPLETED)
            rings.cancel()
            with suppress(asyncio.CancelledError):
                await rings
        return None
    finally:
        gone.cancel()


async def _disconnected(request: Request) -> None:
    """Ends when the one who asked has hung up: a Lease given to nobody would only have to run out."""
    while True:
        message: Message = await request.receive()
        if message["type"] == "http.disconnect":
            return
