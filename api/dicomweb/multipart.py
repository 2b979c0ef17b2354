"""multipart/related (RFC 2387, RFC 2046): read as a stream in bounded memory, and written."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from email.message import Message
from enum import Enum

from api.dicomweb.errors import BadMultipart
from bithive import limits

_BOUNDARY_LENGTH_MAX = 200


class Mark(Enum):
    """Where a part begins and ends."""

    BEGIN = "begin"
    END = "end"


class _State(Enum):
    PREAMBLE = "preamble"
    BOUNDARY = "boundary"
    HEADERS = "headers"
    CONTENT = "content"
    EPILOGUE = "epilogue"


class MultipartReader:
    """Splits a stream into parts.

    Parameters
    ----------
    boundary
        From the Content-Type.

    Attributes
    ----------
    head
        The header lines of the part that began last.
    """

    def __init__(self, boundary: str) -> None:
        if not 0 < len(boundary) <= _BOUNDARY_LENGTH_MAX or not boundary.isascii():
            raise BadMultipart("the boundary is missing or too long")
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._state = _State.PREAMBLE
        self._waiting = b"\r\n"
        self._skipped = 0
        self.head = b""

    def feed(self, chunk: bytes) -> Iterator[Mark | memoryview]:
        """Take the next bytes: `BEGIN` of a part, views of its content, `END`. Exhaust it before feeding more.

        Raises
        ------
        BadMultipart
            If it is malformed, or headers or what stands before the first part are over `PART_HEADER_BYTES_MAX`.
        """
        content = self._waiting + chunk if self._waiting else chunk
        view, position = memoryview(content), 0
        steps = {
            _State.PREAMBLE: self._preamble,
            _State.BOUNDARY: self._boundary,
            _State.HEADERS: self._headers,
            _State.CONTENT: self._content,
        }
        while self._state in steps:
            events, position, more = steps[self._state](content, view, position)
            yield from events
            if not more:
                break
        self._waiting = b"" if self._state is _State.EPILOGUE else content[position:]

    def finish(self) -> None:
        """There is no more. Raises `BadMultipart` unless the last boundary was seen."""
        if self._state is not _State.EPILOGUE:
            raise BadMultipart("the request ends before its last boundary")

    def _preamble(self, content: bytes, _view: memoryview, position: int) -> _Step:
        found = content.find(self._delimiter, position)
        if found < 0:
            keep = max(position, len(content) - len(self._delimiter))
            self._skipped += keep - position
            if self._skipped > limits.PART_HEADER_BYTES_MAX:
                raise BadMultipart("no boundary was found")
            return [], keep, False
        self._state = _State.BOUNDARY
        return [], found + len(self._delimiter), True

    def _boundary(self, content: bytes, _view: memoryview, position: int) -> _Step:
        """What follows a boundary: `--` at the end of all, else the rest of a line."""
        if content.startswith(b"--", position):
            self._state = _State.EPILOGUE
            return [], len(content), True
        end = content.find(b"\r\n", position)
        if end < 0:
            if len(content) - position > limits.PART_HEADER_BYTES_MAX:
                raise BadMultipart("a boundary line is too long")
            return [], position, False
        if content[position:end].strip(b" \t"):
            raise BadMultipart("a boundary line is malformed")
        self._state = _State.HEADERS
        return [], end, True

    def _headers(self, content: bytes, _view: memoryview, position: int) -> _Step:
        end = content.find(b"\r\n\r\n", position)
        if end < 0 or end - position > limits.PART_HEADER_BYTES_MAX:
            if len(content) - position > limits.PART_HEADER_BYTES_MAX:
                raise BadMultipart("the headers of a part are too long")
            return [], position, False
        self._state, self.head = _State.CONTENT, content[position:end].lstrip(b"\r\n")
        return [Mark.BEGIN], end + 4, True

    def _content(self, content: bytes, view: memoryview, position: int) -> _Step:
        found = content.find(self._delimiter, position)
        if found < 0:
            keep = max(position, len(content) - len(self._delimiter))
            return ([view[position:keep]] if keep > position else []), keep, False
        after = found + len(self._delimiter)
        events: list[Mark | memoryview] = [view[position:found]] if found > position else []
        if after == len(content):
            return events, found, False
        if content[after : after + 1] not in _FOLLOWERS:
            return [view[position:after]], after, True
        self._state = _State.BOUNDARY
        return [*events, Mark.END], after, True


_Step = tuple[list[Mark | memoryview], int, bool]
_FOLLOWERS = frozenset({b" ", b"\t", b"\r", b"-"})


def parameters(content_type: str) -> tuple[str, dict[str, str]]:
    """A media type in lower case, and its parameters.

    Parameters
    ----------
    content_type
        Value of a Content-Type header.
    """
    message = Message()
    message["Content-Type"] = content_type
    found = message.get_params(failobj=[], header="content-type", unquote=True)
    names = {name.lower(): value for name, value in found[1:]}
    return (found[0][0].lower() if found else ""), names


def new_boundary() -> str:
    """A boundary that no content holds."""
    return f"bithive-{secrets.token_hex(16)}"


def part_head(boundary: str, content_type: str, size_bytes: int | None = None, location: str = "") -> bytes:
    """What stands before the content of a part."""
    lines = [f"--{boundary}", f"Content-Type: {content_type}"]
    lines += [f"Content-Length: {size_bytes}"] if size_bytes is not None else []
    lines += [f"Content-Location: {location}"] if location else []
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def closing(boundary: str) -> bytes:
    """What stands after the last part."""
    return f"--{boundary}--\r\n".encode()
