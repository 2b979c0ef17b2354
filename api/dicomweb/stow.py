"""STOW-RS (PS3.18 section 10.5): store instances.

`200` all were stored, `202` some failed or were stored with a warning, `409` none were stored. The answer leaves after
everything it calls stored is durable.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api.deps import ServicesDep
from api.dicomweb import accept
from api.dicomweb.deps import Writer, base_url, instance_url, institution_of, warning_header
from api.dicomweb.errors import BadMultipart, BadUid, UnsupportedMediaType
from api.dicomweb.multipart import Mark, MultipartReader, parameters
from bithive import limits
from bithive.errors import BadInput
from clinic.batch import BACKLOG_BYTES_MAX, Batch, Part, StoreOutcome
from clinic.errors import DiskFull, NoInstances, NoSpace, RequestTooLarge
from clinic.instance import is_uid
from clinic.intake import Intake

router = APIRouter(prefix="/dicomweb", tags=["STOW-RS"])


@router.post("/studies")
async def store(request: Request, services: ServicesDep, principal: Writer) -> Response:
    """Store instances of any studies."""
    return await _store(request, services.intake, institution_of(principal), None)


@router.post("/studies/{study_uid}")
async def store_in_study(request: Request, services: ServicesDep, principal: Writer, study_uid: str) -> Response:
    """Store instances of one study; those of others are refused."""
    if not is_uid(study_uid):
        raise BadUid
    return await _store(request, services.intake, institution_of(principal), study_uid)


async def _store(request: Request, intake: Intake, institution: str, study_uid: str | None) -> Response:
    media_type = accept.wants_json(request)
    reader = _reader(request.headers.get("content-type", ""))
    size_bytes = _announced(request)
    batch = await run_in_threadpool(intake.begin, institution, study_uid, size_bytes)
    try:
        await _receive(request, reader, batch)
        outcomes = await run_in_threadpool(intake.commit, batch, study_uid)
    except ClientDisconnect:
        await run_in_threadpool(batch.discard)
        raise BadMultipart("the connection ended before the request did") from None
    except BaseException:
        await run_in_threadpool(batch.discard)
        raise
    if all(outcome.code == NoSpace.code for outcome in outcomes):
        raise DiskFull
    return _answer(outcomes, base_url(request), media_type)


def _reader(content_type: str) -> MultipartReader | None:
    """How to read the body: as parts, or None for one bare instance.

    Raises
    ------
    UnsupportedMediaType
        If it is neither.
    BadMultipart
        If there is no boundary.
    """
    media_type, names = parameters(content_type)
    if media_type == accept.DICOM:
        return None
    if media_type != accept.MULTIPART or names.get("type", accept.DICOM).lower() != accept.DICOM:
        raise UnsupportedMediaType('instances come as multipart/related; type="application/dicom"')
    if "boundary" not in names:
        raise BadMultipart("the Content-Type names no boundary")
    return MultipartReader(names["boundary"])


def _announced(request: Request) -> int | None:
    text = request.headers.get("content-length")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise BadInput("the Content-Length is malformed")
    return int(text)


async def _receive(request: Request, reader: MultipartReader | None, batch: Batch) -> None:
    """Hand the body over as it arrives, never holding more than the backlog allows."""
    received = 0
    part: Part | None = None if reader else batch.part()
    async for chunk in request.stream():
        received += len(chunk)
        if received > limits.REQUEST_BYTES_MAX:
            raise RequestTooLarge(limit=limits.REQUEST_BYTES_MAX)
        for event in reader.feed(chunk) if reader else (memoryview(chunk),):
            if event is Mark.BEGIN:
                part = batch.part()
            elif part is not None and event is Mark.END:
                part.end()
            elif part is not None and isinstance(event, memoryview):
                part.write(event)
        if batch.backlog_bytes > BACKLOG_BYTES_MAX:
            await run_in_threadpool(batch.wait)
    if reader:
        reader.finish()
    elif part:
        part.end()
    if not batch.parts or not received:
        raise NoInstances


def _answer(outcomes: list[StoreOutcome], base: str, media_type: str) -> Response:
    stored = [outcome for outcome in outcomes if outcome.stored]
    clean = len(stored) == len(outcomes) and not any(outcome.warning for outcome in outcomes)
    status = 200 if clean else 202 if stored else 409
    counts = Counter(outcome.code for outcome in outcomes if outcome.code)
    text = ", ".join(f"{code}={count}" for code, count in sorted(counts.items()))
    content = json.dumps(_dataset(outcomes, base), separators=(",", ":"))
    return Response(content, status, warning_header(text) if text else {}, media_type)


def _dataset(outcomes: Iterable[StoreOutcome], base: str) -> dict[str, Any]:
    """The Store Instances Response (PS3.18 Table 10.5.3-1). It names UIDs and reasons, never other values."""
    stored: list[Any] = []
    failed: list[Any] = []
    other: list[Any] = []
    studies: set[str] = set()
    for outcome in outcomes:
        item: dict[str, Any] = {}
        if outcome.sop_class:
            item["00081150"] = _element("UI", outcome.sop_class)
        if outcome.sop_uid:
            item["00081155"] = _element("UI", outcome.sop_uid)
        if not outcome.stored:
            item["00081197"] = _element("US", outcome.reason)
            (failed if len(item) == 3 else other).append(item)
            continue
        studies.add(outcome.study_uid)
        url = instance_url(base, outcome.study_uid, outcome.series_uid, outcome.sop_uid)
        item["00081190"] = _element("UR", url)
        if outcome.warning is not None:
            item["00081196"] = _element("US", outcome.warning)
        stored.append(item)
    answer: dict[str, Any] = {}
    if len(studies) == 1:
        answer["00081190"] = _element("UR", f"{base}/studies/{studies.pop()}")
    for tag, items in (
        ("00081198", failed),
        ("00081199", stored),
        ("0008119A", [_only_reason(item) for item in other]),
    ):
        if items:
            answer[tag] = {"vr": "SQ", "Value": items}
    return dict(sorted(answer.items()))


def _only_reason(item: dict[str, Any]) -> dict[str, Any]:
    """An item of Other Failures Sequence: what failed cannot be named."""
    return {"00081197": item["00081197"]}


def _element(vr: str, value: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}
