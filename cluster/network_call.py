"""One request to the network side: signed where the cell has a key, and its problems as errors."""

from __future__ import annotations

import json
import secrets
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from bithive.clock import Clock, SystemClock
from bithive.keys import SigningKey
from cluster import protocol
from cluster.errors import (
    AttemptAbsent,
    CellUnknown,
    LeaseLost,
    NetworkRefused,
    NetworkUnreachable,
    ProtocolUnsupported,
    SignatureReplayed,
)
from cluster.signing import DIGEST, Message, content_digest, sign

TIMEOUT_S = 20.0
_PIECE_BYTES = 256 * 1024
_ERRORS: dict[str, type[LeaseLost | AttemptAbsent | CellUnknown]] = {
    error.code: error for error in (LeaseLost, AttemptAbsent, CellUnknown)
}

Pace = Callable[[int], None]
"""Told how many bytes were moved; may wait, so that no more than a bound is moved in a second."""


def trusting(certificate: Path | None) -> ssl.SSLContext | bool:
    """For `httpx2.Client(verify=...)`: the authority in a PEM file, or the system's own."""
    return ssl.create_default_context(cafile=str(certificate)) if certificate else True


class Caller:
    """Sends requests to one hub.

    Parameters
    ----------
    url
        Of the hub, without a path.
    token
        Credential of the cell; None for requests that need none.
    key
        What the cell signs with, from version 2 on; without it the cell speaks version 1.
    certificate
        PEM file with the authority that signed the hub's certificate; the system's own authorities when absent.
    transport
        How connections are made; it then sees to TLS itself, and `certificate` is not used.
    pace
        Bounds how fast content is moved.
    clock
        When a signature is made.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        key: SigningKey | None = None,
        certificate: Path | None = None,
        transport: httpx2.BaseTransport | None = None,
        pace: Pace | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._key, self._pace, self._clock = key, pace or _at_once, clock or SystemClock()
        self._ahead_ms = 0
        self._version = "" if key is not None else protocol.VERSION
        # Credentials of the environment (.netrc, proxies) are none of a cell's business.
        self._client = httpx2.Client(
            base_url=url.rstrip("/"),
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=TIMEOUT_S,
            verify=trusting(None if transport is not None else certificate),
            transport=transport,
            trust_env=False,
        )

    @property
    def version(self) -> str:
        """The highest version of the protocol that both sides speak; asked once.

        Raises
        ------
        ProtocolUnsupported
            There is none.
        """
        if not self._version:
            answer = self._sent(self._client.build_request("GET", protocol.VERSIONS_PATH))
            if answer.status_code == 404:  # a hub from before there was anything to choose
                theirs = [protocol.VERSION]
            elif answer.status_code == 200:
                theirs = [str(word) for word in answer.json()["versions"]]
            else:
                raise problem(answer)
            common = [version for version in protocol.VERSIONS if version in theirs]
            if not common:
                spoken = ", ".join(protocol.VERSIONS)
                raise ProtocolUnsupported("no version is spoken on both sides", ours=spoken, theirs=", ".join(theirs))
            self._version = common[-1]
        return self._version

    def post(self, path: str, body: dict[str, Any], timeout_s: float = TIMEOUT_S) -> httpx2.Response:
        """Send a message."""
        return self.send("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"}, timeout_s)

    def get(self, path: str) -> httpx2.Response:
        """Ask for an answer without a body."""
        return self.send("GET", path, b"", {}, TIMEOUT_S)

    def send(
        self, method: str, path: str, content: bytes, headers: dict[str, str], timeout_s: float
    ) -> httpx2.Response:
        """Send a request; its answer. Raises `NetworkUnreachable`, `NetworkRefused`, or one of `_ERRORS`."""

        def attempt() -> httpx2.Response:
            request = self._request(method, path, content, headers, timeout_s)
            answer = self._sent(request)
            if answer.status_code >= 300:
                raise self._learnt(answer)
            return answer

        return self._again(attempt)

    @contextmanager
    def stream(self, path: str, headers: dict[str, str]) -> Iterator[httpx2.Response]:
        """Ask for content that is read as it comes; 200, 206 or 416."""

        def attempt() -> httpx2.Response:
            answer = self._sent(self._request("GET", path, b"", headers, TIMEOUT_S), stream=True)
            if answer.status_code not in (200, 206, 416):
                answer.read()
                raise self._learnt(answer)
            return answer

        answer = self._again(attempt)
        try:
            yield answer
        except httpx2.HTTPError as error:
            raise NetworkUnreachable from error
        finally:
            answer.close()

    def moved(self, size_bytes: int) -> None:
        """Content was moved; waits where that was too fast."""
        self._pace(size_bytes)

    def close(self) -> None:
        """Close every connection; requests that are waiting fail."""
        self._client.close()

    def _request(
        self, method: str, path: str, content: bytes, headers: dict[str, str], timeout_s: float
    ) -> httpx2.Request:
        version = self.version
        fields = {protocol.VERSION_HEADER: version, **headers}
        body: bytes | Iterator[bytes] | None = content or None
        if content and self._pace is not _at_once:
            body, fields["Content-Length"] = self._paced(content), str(len(content))
        address = protocol.ROOTS[version] + path
        if self._key is not None and version != protocol.VERSION:
            if content:
                fields[DIGEST] = content_digest(content)
            raw_path, _, query = self._client.build_request(method, address).url.raw_path.partition(b"?")
            names = {name.lower(): value for name, value in fields.items()}
            message = Message(method, raw_path.decode(), query.decode(), names)
            created_s = (self._clock.now_ms() + self._ahead_ms) // 1000
            fields |= sign(message, self._key, created_s, secrets.token_urlsafe(16))
        return self._client.build_request(method, address, content=body, headers=fields, timeout=timeout_s)

    def _paced(self, content: bytes) -> Iterator[bytes]:
        for first in range(0, len(content), _PIECE_BYTES):
            piece = content[first : first + _PIECE_BYTES]
            self._pace(len(piece))
            yield piece

    def _sent(self, request: httpx2.Request, *, stream: bool = False) -> httpx2.Response:
        try:
            return self._client.send(request, stream=stream)
        except (httpx2.HTTPError, RuntimeError) as error:  # RuntimeError: the client was closed meanwhile
            raise NetworkUnreachable from error

    def _again(self, attempt: Callable[[], httpx2.Response]) -> httpx2.Response:
        """Once more with the hub's own time, when it says that our clock is wrong."""
        try:
            return attempt()
        except NetworkRefused as error:
            if error.answer != SignatureReplayed.code:
                raise
            return attempt()

    def _learnt(self, answer: httpx2.Response) -> Exception:
        error = problem(answer)
        if isinstance(error, NetworkRefused) and error.answer == SignatureReplayed.code:
            now_ms = answer.json().get("context", {}).get("now_ms")
            if type(now_ms) is int:
                self._ahead_ms = now_ms - self._clock.now_ms()
        return error


def problem(answer: httpx2.Response) -> Exception:
    """What an answer that is none means."""
    try:
        code = str(answer.json().get("code", ""))[:64]
    except (ValueError, AttributeError):
        code = ""
    if code in _ERRORS:
        return _ERRORS[code]()
    if answer.status_code >= 500:
        return NetworkUnreachable(answer_status=answer.status_code)
    return NetworkRefused(code or "unknown", answer.status_code)


def _at_once(_size_bytes: int) -> None:
    """No bound."""
