"""Every error as `application/problem+json` (RFC 9457).

The kernel's tree, validation errors, the router's 404 and 405, and anything unforeseen take the same shape. A validation
answer names the place and the rule, never the value, which may be a patient's; an unforeseen error answers one fixed
sentence and is logged by type and place.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import Internal, InvalidRequest, MethodNotAllowed
from bithive.errors import BadInput, BitHiveError, Forbidden, LimitExceeded, NotFound, Unauthenticated, Unsupported
from bithive.log import get

MEDIA_TYPE = "application/problem+json"
PAGES = Path(__file__).resolve().parent.parent / "docs" / "errors"

BY_STATUS: dict[int, type[BitHiveError]] = {
    400: BadInput,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    405: MethodNotAllowed,
    413: LimitExceeded,
    415: Unsupported,
}

router = APIRouter()


def problem(error: BitHiveError, instance: str, headers: dict[str, str] | None = None, **members: Any) -> JSONResponse:
    """The answer for an error.

    Parameters
    ----------
    error
        What happened; its code, title, status, detail and context become members.
    instance
        The path that was asked for.
    headers
        Further response headers.
    members
        Further members of the document.
    """
    body = {
        "type": f"/docs/errors/{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "instance": instance,
        "code": error.code,
        **({"context": error.context} if error.context else {}),
        **members,
    }
    headers = dict(headers or {})
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="bithive"'
    if error.status == 503:
        headers.setdefault("Retry-After", "10")
    return JSONResponse(body, error.status, headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Give an application these answers. `CatchAll` is added by `create_app`, outermost."""
    app.add_exception_handler(BitHiveError, _on_ours)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.include_router(router)


async def _on_ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, BitHiveError)
    if error.status >= 500:
        get().error("request.failed", code=error.code, status=error.status, method=request.method, exc_info=error)
    return problem(error, request.url.path)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    places = [
        {"pointer": "/" + "/".join(str(part) for part in item["loc"]), "rule": item["type"]} for item in error.errors()
    ]
    return problem(InvalidRequest(), request.url.path, errors=places)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = BY_STATUS.get(error.status_code, Internal if error.status_code >= 500 else BadInput)
    return problem(kind(), request.url.path, dict(error.headers or {}))


class CatchAll:
    """The outermost layer: what nobody foresaw is answered by a fixed sentence and goes no further.

    The server would print the traceback, and a traceback may quote a data set.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # noqa: BLE001 - this is the last place that can answer
            get().error("request.failed", code=Internal.code, method=scope["method"], exc_info=error)
            if not started:
                await problem(Internal(), scope["path"])(scope, receive, send)


@router.get("/docs/errors/{code}", include_in_schema=False)
async def error_page(code: str, request: Request) -> Response:
    """What a code means and what to do about it: a page for a browser, else Markdown."""
    if not re.fullmatch(r"[a-z0-9-]{1,64}", code) or not (page := PAGES / f"{code}.md").is_file():
        raise NotFound
    if "text/html" in request.headers.get("accept", ""):
        from api.pages.about import error_document

        return await error_document(request, code)
    return PlainTextResponse(page.read_text("utf-8"), media_type="text/markdown; charset=utf-8")
