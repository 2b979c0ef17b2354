"""WADO-RS frames and rendered resources (PS3.18 sections 10.4.1.1.6 and 10.4.1.1.3).

Frames leave natively as octets, or in the stored compressed transfer syntax under its own media type. Rendered
resources of an instance show its first frame.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from api.deps import get_services
from api.dicomweb import accept
from api.dicomweb.deps import Reader
from api.dicomweb.errors import NotAcceptable
from api.dicomweb.wado import found, parts_response
from bithive import limits
from clinic import rendering, retrieve
from clinic.access_log import Access
from clinic.errors import BadFrameList
from clinic.instance import InstanceRow
from clinic.syntaxes import DECODABLE, EXPLICIT_LITTLE_ENDIAN, FRAME_MEDIA_TYPES, NATIVE

router = APIRouter(prefix="/dicomweb", tags=["WADO-RS"])

_INSTANCE = "/studies/{study_uid}/series/{series_uid}/instances/{sop_uid}"
_PICTURES = ("image/jpeg", "image/png")
_MULTIPARTS = frozenset({"multipart/related", "multipart/*"})
# Names that clients use for the same thing.
_SAME = {"image/x-dicom-rle": "image/dicom-rle", "image/x-jls": "image/jls", "image/x-jp2": "image/jp2"}


@dataclass(frozen=True, slots=True)
class _Form:
    """How frames leave: media type of each, its transfer syntax, as stored or decoded, and in parts or as one."""

    media_type: str
    syntax: str
    stored: bool
    multipart: bool

    @property
    def content_type(self) -> str:
        return f"{self.media_type}; transfer-syntax={self.syntax}"


@router.get(_INSTANCE + "/frames/{frames}")
async def get_frames(
    request: Request, principal: Reader, study_uid: str, series_uid: str, sop_uid: str, frames: str
) -> Response:
    """Frames by their numbers, separated by commas, counted from 1."""
    numbers = _numbers(frames)
    ranges = accept.ranges(request)

    def load() -> tuple[_Form, list[bytes]]:
        (row,) = found(request, principal, Access.OPENED, study_uid, series_uid, sop_uid)
        retrieve.check_frames(row, numbers)
        form = _form(ranges, row, len(numbers))
        blobs = get_services(request).blobs
        take = retrieve.stored_frame if form.stored else retrieve.native_frame
        return form, [take(blobs, row, number) for number in numbers]

    form, contents = await run_in_threadpool(load)
    if not form.multipart:
        return Response(contents[0], media_type=form.content_type)
    return parts_response([(form.content_type, content) for content in contents], form.media_type)


@router.get(_INSTANCE + "/rendered")
async def rendered(request: Request, principal: Reader, study_uid: str, series_uid: str, sop_uid: str) -> Response:
    """The first frame as a picture."""
    return await _rendered(request, principal, (study_uid, series_uid, sop_uid), 1)


@router.get(_INSTANCE + "/frames/{frames}/rendered")
async def rendered_frame(
    request: Request, principal: Reader, study_uid: str, series_uid: str, sop_uid: str, frames: str
) -> Response:
    """One frame as a picture."""
    numbers = _numbers(frames)
    if len(numbers) != 1:
        raise BadFrameList("a picture shows one frame")
    return await _rendered(request, principal, (study_uid, series_uid, sop_uid), numbers[0])


async def _rendered(request: Request, principal: Reader, uids: tuple[str, str, str], number: int) -> Response:
    media_type = accept.single(request, _PICTURES)
    wanted = rendering.look(dict(request.query_params))

    def load() -> bytes:
        (row,) = found(request, principal, Access.OPENED, *uids)
        return rendering.render(get_services(request).blobs, row, number, media_type, wanted)

    return Response(await run_in_threadpool(load), media_type=media_type)


def _numbers(text: str) -> list[int]:
    pieces = text.split(",", limits.FRAME_LIST_MAX)
    if len(pieces) > limits.FRAME_LIST_MAX or not all(
        piece.isascii() and piece.isdecimal() and len(piece) < 10 for piece in pieces
    ):
        raise BadFrameList("it is a list of numbers, separated by commas")
    return [int(piece) for piece in pieces]


def _form(ranges: list[accept.Range], row: InstanceRow, count: int) -> _Form:
    """The most wanted form that the frames can be given in. Raises `NotAcceptable`."""
    for item in ranges:
        multipart = item.takes_parts(accept.OCTETS) or item.media_type in _MULTIPARTS
        if not multipart and count > 1:
            continue
        part_type = item.part_type if multipart else item.media_type
        offer = _offer(item, _SAME.get(part_type, part_type), row)
        if offer is not None:
            return _Form(*offer, multipart=multipart)
    raise NotAcceptable


def _offer(item: accept.Range, part_type: str, row: InstanceRow) -> tuple[str, str, bool] | None:
    """Media type, transfer syntax, and whether as stored: what a part type and transfer syntax ask for."""
    octets = accept.matches(part_type, accept.OCTETS)
    own, native = row.transfer_syntax, (accept.OCTETS, EXPLICIT_LITTLE_ENDIAN)
    if own in NATIVE:
        return (*native, True) if octets and item.takes_syntax(EXPLICIT_LITTLE_ENDIAN) else None
    kind = FRAME_MEDIA_TYPES.get(own, accept.OCTETS)
    names_own = item.named and item.takes_syntax(own)
    names_kind = part_type != "*/*" and kind != accept.OCTETS and accept.matches(part_type, kind)
    if (names_kind and not item.named) or (names_own and (octets or names_kind)):
        return kind, own, True
    if octets and item.takes_syntax(EXPLICIT_LITTLE_ENDIAN) and own in DECODABLE:
        return (*native, False)
    return (kind, own, True) if part_type == "*/*" and not item.named else None
