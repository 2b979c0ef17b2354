"""Instances and whole series as files, for a person's disk. Programs use WADO-RS."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi import Path as InPath
from starlette.responses import Response, StreamingResponse

from api.auth import Principal, require
from api.deps import ServicesDep
from api.pages.faults import PageRoute
from api.pages.gather import institution_of
from bithive.blobs import Blobs
from clinic.access_log import Access
from clinic.errors import InstanceAbsent, SeriesAbsent
from clinic.instance import InstanceRow

router = APIRouter(route_class=PageRoute, include_in_schema=False)
Exporter = Annotated[Principal, Depends(require("dicom:read"))]
Uid = Annotated[str, InPath(pattern=r"^[0-9.]{1,64}$")]
CHUNK_BYTES = 1024 * 1024


@router.get("/studies/{study_uid}/instances/{sop_uid}/download")
def instance_file(services: ServicesDep, principal: Exporter, study_uid: Uid, sop_uid: Uid) -> Response:
    """One instance as a DICOM Part 10 file, named by its UID."""
    institution = institution_of(principal)
    row = services.archive.instance(institution, sop_uid)
    if row is None or row.study_uid != study_uid:
        raise InstanceAbsent
    services.access_log.record(institution, principal.account, Access.EXPORTED, study_uid)
    return StreamingResponse(
        _chunks(services.blobs, row),
        media_type="application/dicom",
        headers=_named(f"{sop_uid}.dcm") | {"Content-Length": str(row.size_bytes)},
    )


@router.get("/studies/{study_uid}/series/{series_uid}/download")
def series_file(services: ServicesDep, principal: Exporter, study_uid: Uid, series_uid: Uid) -> Response:
    """A whole series as a zip of DICOM Part 10 files, streamed."""
    institution = institution_of(principal)
    rows = services.archive.series(institution, series_uid)
    if not rows or rows[0].study_uid != study_uid:
        raise SeriesAbsent
    services.access_log.record(institution, principal.account, Access.EXPORTED, study_uid)
    return StreamingResponse(
        _zipped(services.blobs, rows), media_type="application/zip", headers=_named(f"{series_uid}.zip")
    )


def _named(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}


def _chunks(blobs: Blobs, row: InstanceRow) -> Iterator[bytes]:
    with blobs.open(row.blob) as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


class _Pipe:
    """What `zipfile` writes to and a response reads from; it cannot seek, so nothing is ever rewritten."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._place = 0

    def write(self, content: bytes, /) -> int:
        self._pieces.append(bytes(content))
        self._place += len(content)
        return len(content)

    def tell(self) -> int:
        return self._place

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Nothing to let go of."""

    def take(self) -> bytes:
        content, self._pieces = b"".join(self._pieces), []
        return content


def _zipped(blobs: Blobs, rows: list[InstanceRow]) -> Iterator[bytes]:
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
        for place, row in enumerate(rows, 1):
            entry = zipfile.ZipInfo(f"{place:05d}.dcm")
            with archive.open(entry, "w", force_zip64=row.size_bytes >= zipfile.ZIP64_LIMIT) as member:
                for chunk in _chunks(blobs, row):
                    member.write(chunk)
                    yield pipe.take()
    yield pipe.take()
