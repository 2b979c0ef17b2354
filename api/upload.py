"""Uploading from a page: files, a folder's files, or a zip, by the same intake that STOW-RS uses."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from email.message import Message
from email.utils import collapse_rfc2231_value
from pathlib import Path
from typing import IO, Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool

from api.auth import Principal, require
from api.deps import ServicesDep
from api.dicomweb.multipart import Mark, MultipartReader, parameters
from bithive.errors import BadInput, Unsupported
from bithive.limits import REQUEST_BYTES_MAX
from clinic.batch import BACKLOG_BYTES_MAX, Batch, Part, StoreOutcome
from clinic.errors import BadZip, DiskFull, NoInstances, RequestTooLarge
from clinic.zipped import is_zip, open_zip

router = APIRouter(prefix="/api")
FORM, ZIP, DICOM = "multipart/form-data", "application/zip", "application/dicom"
NAME_LENGTH_MAX = 512
_MAGIC_BYTES = 4


@router.post("/upload")
async def upload(
    request: Request, services: ServicesDep, principal: Annotated[Principal, Depends(require("studies:write"))]
) -> dict[str, Any]:
    """Take DICOM files into the archive of the caller's institution.

    The body is a form of files (each a DICOM file or a zip), one zip, or one DICOM file. The answer says for every file,
    zip entries included, what became of it. An upload whose zip is damaged or hostile is refused as a whole.
    """
    media_type, names = parameters(request.headers.get("content-type", ""))
    if media_type not in {FORM, ZIP, DICOM}:
        raise Unsupported(f"an upload is {FORM}, {ZIP} or {DICOM}")
    if media_type == FORM and "boundary" not in names:
        raise BadInput("the Content-Type names no boundary")
    announced = request.headers.get("content-length", "")
    size_bytes = int(announced) if announced.isascii() and announced.isdigit() else None
    batch = await run_in_threadpool(services.intake.begin, principal.institution or "", None, size_bytes)
    receiver = _Receiver(batch, services.settings.state / "uploads")
    try:
        await _receive(request, receiver, MultipartReader(names["boundary"]) if media_type == FORM else None)
        outcomes = await run_in_threadpool(services.intake.commit, batch)
    except BaseException as error:
        await run_in_threadpool(batch.discard)
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFull from error
        raise
    finally:
        receiver.close()
    return _answer(receiver.names, outcomes)


async def _receive(request: Request, receiver: _Receiver, reader: MultipartReader | None) -> None:
    received = 0
    if reader is None:
        receiver.begin("")
    async for chunk in request.stream():
        received += len(chunk)
        if received > REQUEST_BYTES_MAX:
            raise RequestTooLarge(limit=REQUEST_BYTES_MAX)
        for event in reader.feed(chunk) if reader else (memoryview(chunk),):
            if event is Mark.BEGIN and reader is not None:
                receiver.begin(file_name(reader.head))
            elif event is Mark.END:
                await run_in_threadpool(receiver.end)
            elif isinstance(event, memoryview) and receiver.take(event):
                await run_in_threadpool(receiver.write_zip, bytes(event))
        await run_in_threadpool(receiver.settle_backlog)
    if reader is not None:
        reader.finish()
    else:
        await run_in_threadpool(receiver.end)
    if not receiver.names:
        raise NoInstances


class _Receiver:
    """Sorts files into instances and zips as they arrive.

    Attributes
    ----------
    names
        Of each instance of the batch, in order, as the sender spelt them.
    """

    def __init__(self, batch: Batch, folder: Path) -> None:
        self.names: list[str] = []
        self._batch, self._folder = batch, folder
        self._name, self._head = "", b""
        self._part: Part | None = None
        self._zip: IO[bytes] | None = None
        self._skipping = False

    def begin(self, name: str | None) -> None:
        """A file begins; a field of the form that is no file has no name and is passed over."""
        self._name, self._head, self._part, self._zip = name or "", b"", None, None
        self._skipping = name is None

    def take(self, chunk: memoryview) -> bool:
        """Take bytes of the file; True when they belong to a zip and `write_zip` has to take them."""
        if self._skipping:
            return False
        if self._part is None and self._zip is None:
            self._head += bytes(chunk)
            if len(self._head) >= _MAGIC_BYTES:
                self._decide()
            return False
        if self._part is not None:
            self._part.write(chunk)
        return self._zip is not None

    def write_zip(self, chunk: bytes) -> None:
        """Take bytes of a zip."""
        assert self._zip is not None, "take said so"
        self._zip.write(chunk)

    def end(self) -> None:
        """The file ends; a zip is read now."""
        if self._skipping:
            return
        if self._part is None and self._zip is None:
            if not self._head and not self._name:
                return
            self._open_part(self._name).write(self._head)
        if self._part is not None:
            self._part.end()
        if self._zip is not None:
            with self._zip:
                self._expand(self._zip)
            self._zip = None

    def settle_backlog(self) -> None:
        """Wait while more was received than is written."""
        if self._batch.backlog_bytes > BACKLOG_BYTES_MAX:
            self._batch.wait()

    def close(self) -> None:
        """Forget a zip that was not read."""
        if self._zip is not None:
            self._zip.close()

    def _decide(self) -> None:
        if is_zip(self._head):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._zip = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed by end or close
            self._zip.write(self._head)
        else:
            self._open_part(self._name).write(self._head)

    def _open_part(self, name: str) -> Part:
        self._part = self._batch.part()
        self.names.append(name)
        return self._part

    def _expand(self, file: IO[bytes]) -> None:
        prefix = f"{self._name}/" if self._name else ""
        count = 0
        for name, chunks in open_zip(file):
            count += 1
            self._fill(self._open_part(prefix + name[:NAME_LENGTH_MAX]), chunks)
        if not count:
            raise BadZip("the zip archive is empty")

    def _fill(self, part: Part, chunks: Iterator[bytes]) -> None:
        for chunk in chunks:
            part.write(chunk)
            self.settle_backlog()
        part.end()


def file_name(head: bytes) -> str | None:
    """The file name in a part's Content-Disposition (RFC 7578), or None when the part is no file."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            message = Message()
            message["Content-Disposition"] = value.strip().decode("utf-8", "replace")
            found = message.get_param("filename", header="content-disposition")
            if found is None:
                return None
            return collapse_rfc2231_value(found)[:NAME_LENGTH_MAX]
    return None


def _answer(names: list[str], outcomes: list[StoreOutcome]) -> dict[str, Any]:
    files = [
        {
            "name": name,
            "stored": outcome.stored,
            "known": outcome.known,
            "code": outcome.code or None,
            "study_uid": outcome.study_uid or None,
            "sop_uid": outcome.sop_uid or None,
        }
        for name, outcome in zip(names, outcomes, strict=True)
    ]
    stored = [outcome for outcome in outcomes if outcome.stored]
    return {
        "stored": len(stored),
        "refused": len(outcomes) - len(stored),
        "studies": sorted({outcome.study_uid for outcome in stored}),
        "files": files,
    }
