"""Sending a folder or zip of DICOM files to a hub by STOW-RS (PS3.18 10.5), as a PACS would."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from bithive.errors import BadInput, BitHiveError, Unavailable
from bithive.ids import Ids

CHUNK_BYTES = 1024 * 1024
_PREAMBLE_BYTES = 128
TIMEOUT_S = 600.0


class NothingToSend(BadInput):
    code, title = "nothing-to-send", "There is no DICOM file there"


class SendingFailed(BitHiveError):
    code, title, status = "sending-failed", "The hub did not take the study", 502


@dataclass(frozen=True, slots=True)
class Source:
    """One file to send: a file of its own, or an entry of a zip.

    Attributes
    ----------
    path, entry
        The file, or the zip and the name in it.
    size_bytes
        Uncompressed.
    """

    path: Path
    entry: str | None
    size_bytes: int

    def read(self) -> Iterator[bytes]:
        """Its bytes, in chunks."""
        if self.entry is None:
            with self.path.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk
        else:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.entry) as member:
                while chunk := member.read(CHUNK_BYTES):
                    yield chunk


@dataclass(frozen=True, slots=True)
class Answer:
    """What the hub said.

    Attributes
    ----------
    stored, refused
        Counts of instances.
    study_uids
        The studies they belong to.
    reasons
        Failure Reason (0008,1197) of each refused instance.
    """

    stored: int
    refused: int
    study_uids: tuple[str, ...]
    reasons: tuple[int, ...]


def collect(path: Path) -> list[Source]:
    """The DICOM files (PS3.10: `DICM` after 128 bytes) under a folder or in a zip, sorted by name.

    Raises
    ------
    NothingToSend
        If there is none.
    """
    if path.is_dir():
        candidates = [Source(file, None, file.stat().st_size) for file in sorted(path.rglob("*")) if file.is_file()]
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            candidates = [
                Source(path, entry.filename, entry.file_size)
                for entry in sorted(archive.infolist(), key=lambda entry: entry.filename)
                if not entry.is_dir()
            ]
    elif path.is_file():
        candidates = [Source(path, None, path.stat().st_size)]
    else:
        candidates = []
    found = [source for source in candidates if _is_dicom(source)]
    if not found:
        raise NothingToSend("give a DICOM file, a folder of them, or a zip")
    return found


def _is_dicom(source: Source) -> bool:
    if source.size_bytes < _PREAMBLE_BYTES + 4:
        return False
    head = next(source.read(), b"")
    return head[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] == b"DICM"


def send(
    client: httpx2.Client, sources: list[Source], ids: Ids, on_bytes: Callable[[int], None] = lambda _count: None
) -> Answer:
    """Send files in one STOW-RS request.

    Parameters
    ----------
    client
        With the hub's address and a bearer token that holds `dicom:write`.
    sources
        What `collect` found.
    ids
        Gives the boundary.
    on_bytes
        Called with the number of bytes sent since the last call.

    Raises
    ------
    SendingFailed
        If the hub answers anything but 200, 202 or 409 with a STOW document.
    Unavailable
        If it cannot be reached.
    """
    boundary = ids.token(16).hex()
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    tail = f"--{boundary}--\r\n".encode()
    size_bytes = sum(len(head) + source.size_bytes + 2 for source in sources) + len(tail)

    def body() -> Iterator[bytes]:
        for source in sources:
            yield head
            for chunk in source.read():
                yield chunk
                on_bytes(len(chunk))
            yield b"\r\n"
        yield tail

    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Content-Length": str(size_bytes),
        "Accept": "application/dicom+json",
    }
    try:
        response = client.post("/dicomweb/studies", content=body(), headers=headers, timeout=TIMEOUT_S)
    except httpx2.TransportError as error:
        raise Unavailable("the hub cannot be reached") from error
    is_stow = response.headers.get("content-type", "").startswith("application/dicom+json")
    if response.status_code not in {200, 202, 409} or not is_stow:
        raise SendingFailed(f"the hub answered {response.status_code}: {said(response)}", status=response.status_code)
    return _answer(response.json())


def said(response: httpx2.Response) -> str:
    """Why the hub declined, in its words."""
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return "without a reason"


def _answer(document: Any) -> Answer:
    """Read the response document of PS3.18 10.5.3."""
    document = document[0] if isinstance(document, list) else document
    stored = document.get("00081199", {}).get("Value", [])
    refused = document.get("00081198", {}).get("Value", [])
    urls = [item["00081190"]["Value"][0] for item in stored if "00081190" in item]
    studies = {url.split("/studies/", 1)[1].split("/", 1)[0] for url in urls if "/studies/" in url}
    reasons = tuple(item["00081197"]["Value"][0] for item in refused if "00081197" in item)
    return Answer(len(stored), len(refused), tuple(sorted(studies)), reasons)
