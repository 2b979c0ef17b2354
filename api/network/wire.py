"""How messages and sealed content cross HTTP: small JSON bodies whole, large content in big pieces, waiting without asking.

Sealed content is handed to the disk in pieces of a MiB or more: a thread each for every 64 KiB that a socket gives would
cost more than the copying.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Message

from api.auth import Principal, require
from api.network.signed import BodyCheck, cell, version_of
from bithive.errors import BadInput, Forbidden, LimitExceeded
from bithive.limits import JSON_BODY_BYTES_MAX, LONG_POLL_S_MAX, MIB
from cluster.bell import Bell
from cluster.errors import BadMessage, PayloadSizeDiffers, ProtocolUnsupported
from cluster.protocol import TOKEN_HEADER, VERSION_HEADER, VERSIONS
from cluster.spool import Incoming

_WRITE_BYTES = 2 * MIB
_READ_BYTES = 4 * MIB
_RANGE = re.compile(r"bytes=([0-9]{1,15})-([0-9]{1,15})?")

T = TypeVar("T")


def speaks(request: Request, said: Annotated[str | None, Header(alias=VERSION_HEADER)] = None) -> None:
    """Refuse another version of the protocol than the address is for, or none. Raises `ProtocolUnsupported`."""
    version = version_of(request)
    if said != version:
        raise ProtocolUnsupported(f"send {VERSION_HEADER}: {version}", protocol=version, spoken=", ".join(VERSIONS))


def institution(principal: Annotated[Principal, Depends(require("institution"))]) -> str:
    """Who asks, as an institution."""
    if principal.institution is None:
        raise Forbidden("the account belongs to no institution")
    return principal.institution


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
    SignatureRefused
        When the request is signed, and the body is another.
    BadInput
        When it is no JSON.
    """
    body, check = bytearray(), BodyCheck(request)
    async for chunk in request.stream():
        body += chunk
        check.feed(chunk)
        if len(body) > JSON_BODY_BYTES_MAX:
            raise LimitExceeded("a message is too long", size_bytes_max=JSON_BODY_BYTES_MAX)
    check.finish()
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise BadInput("the body is not JSON") from None


async def receive(request: Request, incoming: Incoming | None) -> None:
    """Take the body into a file, or read and drop it where there is none; on any failure the file is discarded."""
    pieces: list[bytes] = []
    held = 0
    try:
        check = BodyCheck(request)
        async for chunk in request.stream():
            if incoming is None or not chunk:
                continue
            pieces.append(chunk)
            held += len(chunk)
            if held >= _WRITE_BYTES:
                await run_in_threadpool(_take, incoming, check, pieces)
                pieces, held = [], 0
        if incoming is not None:
            await run_in_threadpool(_take, incoming, check, pieces)
            check.finish()
    except ClientDisconnect:
        _discard(incoming)
        raise PayloadSizeDiffers("the body broke off") from None
    except BaseException:
        _discard(incoming)
        raise


def _take(incoming: Incoming, check: BodyCheck, pieces: list[bytes]) -> None:
    for piece in pieces:
        check.feed(piece)
    if pieces:
        incoming.write(pieces)


def _discard(incoming: Incoming | None) -> None:
    if incoming is not None:
        incoming.discard()


async def send_file(request: Request, path: Path, headers: dict[str, str] | None = None) -> Response:
    """A file's content, or the rest of it that is asked for (RFC 9110 section 14): a broken download goes on.

    It is opened now, so that deleting it meanwhile does no harm. Its entity tag is good for `If-Range`: another file
    under the same name has another.
    """
    file = await run_in_threadpool(path.open, "rb", buffering=0)
    status = os.fstat(file.fileno())
    tag = f'"{status.st_size:x}-{status.st_mtime_ns:x}"'
    common = {"Cache-Control": "no-store", "Accept-Ranges": "bytes", "ETag": tag, **(headers or {})}
    first, end = _range(request, tag, status.st_size)
    if first >= max(end, 1):
        await run_in_threadpool(file.close)
        return Response(status_code=416, headers={**common, "Content-Range": f"bytes */{status.st_size}"})
    part = (first, end) != (0, status.st_size)
    if part:
        common["Content-Range"] = f"bytes {first}-{end - 1}/{status.st_size}"

    async def content() -> AsyncIterator[bytes]:
        left = end - first
        with file:
            await run_in_threadpool(file.seek, first)
            while left and (chunk := await run_in_threadpool(file.read, min(left, _READ_BYTES))):
                left -= len(chunk)
                yield chunk

    common["Content-Length"] = str(end - first)
    return StreamingResponse(content(), 206 if part else 200, media_type="application/octet-stream", headers=common)


def _range(request: Request, tag: str, size_bytes: int) -> tuple[int, int]:
    """Where to begin and end. The whole, where nothing or something else than one range from a byte on is asked for."""
    found = _RANGE.fullmatch(request.headers.get("range", ""))
    if found is None or request.headers.get("if-range", tag) != tag:
        return 0, size_bytes
    first, last = int(found.group(1)), found.group(2)
    return first, min(int(last) + 1, size_bytes) if last else size_bytes


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
