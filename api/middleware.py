"""What every request passes: a limit on bodies, and the headers that keep a browser safe."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import InvalidRequest
from api.problems import problem
from bithive.clock import Clock
from bithive.errors import LimitExceeded
from bithive.limits import JSON_BODY_BYTES_MAX

STREAMED = ("/dicomweb/", "/network/v1/", "/network/v2/", "/api/upload")
"""Addresses that take large bodies as a stream and hold limits of their own."""

UNROUTED = "none"
"""Stands for every address that is none of ours: what strangers ask for makes no labels."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
"""Set where a response does not set its own."""


class BodyLimit:
    """Refuses a body over `JSON_BODY_BYTES_MAX` where no stream is expected, announced or not."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        is_json = headers.get("content-type", "").startswith("application/json")
        if scope["path"].startswith(STREAMED) and not is_json:
            await self._app(scope, receive, send)
            return
        announced = headers.get("content-length", "0")
        if not announced.isdigit():
            await problem(InvalidRequest("Content-Length is not a number"), scope["path"])(scope, receive, send)
            return
        if int(announced) > JSON_BODY_BYTES_MAX:
            refusal = LimitExceeded("the body is too large", size_bytes_max=JSON_BODY_BYTES_MAX)
            await problem(refusal, scope["path"])(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > JSON_BODY_BYTES_MAX:
                raise HTTPException(413)
            return message

        await self._app(scope, counted, send)


class SafeHeaders:
    """Adds `HEADERS`, and Strict-Transport-Security where there is TLS."""

    def __init__(self, app: ASGIApp, *, tls: bool) -> None:
        self._app = app
        self._headers = HEADERS | ({"Strict-Transport-Security": "max-age=31536000"} if tls else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, dressed)


class Counted:
    """Counts every request by the template of its address, and how long its answer took to begin.

    Parameters
    ----------
    answered
        `api.instruments.Metrics.answered`.
    clock
        Time.
    """

    def __init__(self, app: ASGIApp, *, answered: Callable[[str, str, int, float], None], clock: Clock) -> None:
        self._app, self._answered, self._clock = app, answered, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun_s, status, took_s = self._clock.monotonic_s(), 500, None

        async def watched(message: Message) -> None:
            nonlocal status, took_s
            if message["type"] == "http.response.start":
                status, took_s = message["status"], self._clock.monotonic_s() - begun_s
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            spent_s = self._clock.monotonic_s() - begun_s if took_s is None else took_s
            self._answered(scope["method"], getattr(scope.get("route"), "path", UNROUTED), status, spent_s)
