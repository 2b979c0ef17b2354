"""WADO-RS (PS3.18 section 10.4): instances of a study, a series, or one; headers; bulk values.

Instances leave as they were stored when the client takes their transfer syntax, else as Explicit VR Little Endian, which
is what a request that names none asks for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from api.auth import Principal
from api.deps import get_services
from api.dicomweb import accept
from api.dicomweb.deps import Reader, base_url, instance_url, institution_of
from api.dicomweb.errors import NotAcceptable
from api.dicomweb.multipart import closing, new_boundary, part_head
from bithive.blobs import Blobs
from clinic import retrieve
from clinic.access_log import Access
from clinic.instance import InstanceRow
from clinic.syntaxes import EXPLICIT_LITTLE_ENDIAN

router = APIRouter(prefix="/dicomweb", tags=["WADO-RS"])

_STUDY = "/studies/{study_uid}"
_SERIES = _STUDY + "/series/{series_uid}"
_INSTANCE = _SERIES + "/instances/{sop_uid}"


@router.get(_STUDY)
async def study(request: Request, principal: Reader, study_uid: str) -> Response:
    """All instances of a study."""
    return await _instances(request, principal, study_uid)


@router.get(_SERIES)
async def series(request: Request, principal: Reader, study_uid: str, series_uid: str) -> Response:
    """All instances of a series."""
    return await _instances(request, principal, study_uid, series_uid)


@router.get(_INSTANCE)
async def instance(request: Request, principal: Reader, study_uid: str, series_uid: str, sop_uid: str) -> Response:
    """One instance."""
    return await _instances(request, principal, study_uid, series_uid, sop_uid)


@router.get(_STUDY + "/metadata")
async def study_metadata(request: Request, principal: Reader, study_uid: str) -> Response:
    """Headers of a study."""
    return await _metadata(request, principal, study_uid)


@router.get(_SERIES + "/metadata")
async def series_metadata(request: Request, principal: Reader, study_uid: str, series_uid: str) -> Response:
    """Headers of a series."""
    return await _metadata(request, principal, study_uid, series_uid)


@router.get(_INSTANCE + "/metadata")
async def instance_metadata(
    request: Request, principal: Reader, study_uid: str, series_uid: str, sop_uid: str
) -> Response:
    """Header of one instance."""
    return await _metadata(request, principal, study_uid, series_uid, sop_uid)


@router.get(_INSTANCE + "/bulkdata/{path:path}")
async def bulkdata(
    request: Request, principal: Reader, study_uid: str, series_uid: str, sop_uid: str, path: str
) -> Response:
    """One bulk value, as the header names it."""
    multipart = _octets(request)

    def load() -> list[bytes]:
        (row,) = found(request, principal, Access.OPENED, study_uid, series_uid, sop_uid)
        return retrieve.bulk(get_services(request).blobs, row, path)

    parts = await run_in_threadpool(load)
    if not multipart and len(parts) == 1:
        return Response(parts[0], media_type=accept.OCTETS)
    return parts_response([(accept.OCTETS, part) for part in parts], accept.OCTETS)


def found(
    request: Request,
    principal: Principal,
    kind: Access,
    study_uid: str,
    series_uid: str | None = None,
    sop_uid: str | None = None,
) -> list[InstanceRow]:
    """The instances that a path names; who asked for them is logged before they are given.

    Raises
    ------
    StudyAbsent, SeriesAbsent, InstanceAbsent
        If the principal's institution has no such thing.
    """
    services, institution = get_services(request), institution_of(principal)
    rows = retrieve.find(services.archive, institution, study_uid, series_uid, sop_uid)
    services.access_log.record(institution, principal.account, kind, study_uid)
    return rows


def parts_response(parts: Sequence[tuple[str, bytes]], part_type: str) -> Response:
    """A multipart of parts in memory, each with its Content-Type."""
    boundary = new_boundary()
    pieces = [part_head(boundary, kind, len(content)) + content + b"\r\n" for kind, content in parts]
    return Response(b"".join([*pieces, closing(boundary)]), media_type=_multipart(part_type, boundary))


async def _instances(
    request: Request, principal: Reader, study_uid: str, series_uid: str | None = None, sop_uid: str | None = None
) -> Response:
    ranges = [item for item in accept.ranges(request) if item.takes_parts(accept.DICOM) or item.takes(accept.DICOM)]
    if not ranges:
        raise NotAcceptable
    rows = await run_in_threadpool(found, request, principal, Access.EXPORTED, study_uid, series_uid, sop_uid)
    chosen = next((item for item in ranges if _suits(item, rows)), None)
    if chosen is None:
        raise NotAcceptable("the instances cannot be given in an accepted transfer syntax")
    blobs = get_services(request).blobs
    if chosen.takes_parts(accept.DICOM):
        return _stream(blobs, rows, chosen, base_url(request))
    (row,) = rows
    if not chosen.takes_syntax(row.transfer_syntax):
        return Response(await run_in_threadpool(retrieve.converted, blobs, row), media_type=accept.DICOM)
    if not retrieve.is_as_stored(row):
        return Response(await run_in_threadpool(retrieve.corrected, blobs, row), media_type=accept.DICOM)
    length = {"Content-Length": str(row.size_bytes)}
    return StreamingResponse(retrieve.file_chunks(blobs, row), 200, length, accept.DICOM)


def _suits(item: accept.Range, rows: Sequence[InstanceRow]) -> bool:
    form = item.takes_parts(accept.DICOM) or len(rows) == 1
    return form and all(retrieve.is_convertible(row, item.syntax) for row in rows)


def _stream(blobs: Blobs, rows: Sequence[InstanceRow], chosen: accept.Range, base: str) -> Response:
    boundary = new_boundary()
    heads = [_head(boundary, row, chosen, base) for row in rows]
    headers = {}
    if all(chosen.takes_syntax(row.transfer_syntax) and retrieve.is_as_stored(row) for row in rows):
        length = sum(len(head) + row.size_bytes + 2 for head, row in zip(heads, rows, strict=True))
        headers["Content-Length"] = str(length + len(closing(boundary)))

    def content() -> Iterator[bytes]:
        for head, row in zip(heads, rows, strict=True):
            if not chosen.takes_syntax(row.transfer_syntax):
                yield head + retrieve.converted(blobs, row) + b"\r\n"
            elif not retrieve.is_as_stored(row):
                yield head + retrieve.corrected(blobs, row) + b"\r\n"
            elif row.size_bytes <= retrieve.CHUNK_BYTES:
                yield b"".join([head, *retrieve.file_chunks(blobs, row), b"\r\n"])
            else:
                yield head
                yield from retrieve.file_chunks(blobs, row)
                yield b"\r\n"
        yield closing(boundary)

    return StreamingResponse(content(), 200, headers, _multipart(accept.DICOM, boundary))


def _head(boundary: str, row: InstanceRow, chosen: accept.Range, base: str) -> bytes:
    own = chosen.takes_syntax(row.transfer_syntax)
    syntax = row.transfer_syntax if own else EXPLICIT_LITTLE_ENDIAN
    location = instance_url(base, row.study_uid, row.series_uid, row.sop_uid)
    return part_head(boundary, f"{accept.DICOM}; transfer-syntax={syntax}", row.size_bytes if own else None, location)


async def _metadata(
    request: Request, principal: Reader, study_uid: str, series_uid: str | None = None, sop_uid: str | None = None
) -> Response:
    media_type = accept.wants_json(request)
    base = base_url(request)

    def content() -> str:
        rows = found(request, principal, Access.OPENED, study_uid, series_uid, sop_uid)
        headers = [
            retrieve.metadata(row, instance_url(base, row.study_uid, row.series_uid, row.sop_uid)) for row in rows
        ]
        return json.dumps(headers, separators=(",", ":"))

    return Response(await run_in_threadpool(content), media_type=media_type)


def _octets(request: Request) -> bool:
    """Whether octets leave as multipart (True) or as one part. Raises `NotAcceptable`."""
    for item in accept.ranges(request):
        if item.media_type != "*/*" and item.takes_parts(accept.OCTETS):
            return True
        if item.takes(accept.OCTETS):
            return False
    raise NotAcceptable


def _multipart(part_type: str, boundary: str) -> str:
    return f'{accept.MULTIPART}; type="{part_type}"; boundary={boundary}'
