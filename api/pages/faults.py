"""Errors as pages: the same dress, the same codes, plain words."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from api.auth import identify
from api.errors import Internal, InvalidRequest
from api.pages.explain import is_explained
from api.pages.render import page
from api.problems import BY_STATUS
from bithive.errors import BitHiveError, Unauthenticated
from bithive.log import get

MACHINES = ("/dicomweb", "/network/v", "/api/", "/health", "/session")
"""Addresses that are read by programs: their errors stay problem documents."""

WORDS: dict[int, tuple[str, str]] = {
    403: ("Not yours to see", "Your account’s role does not include this. Ask an administrator if it should."),
    404: ("Nothing here", "There is no such page or study, or it is not yours to see."),
    405: ("Not that way", "This address does not take what the browser asked of it."),
    500: ("Something failed here", "A defect of ours. Nothing that was acknowledged is lost; the log says where."),
    503: ("Not right now", "This part is not available at the moment. Try again in a little while."),
}
"""Title and sentence by status, where the error's own are written for programs."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def wants_page(request: Request) -> bool:
    """Whether a person's browser asked for a page."""
    path = request.url.path
    return "text/html" in request.headers.get("accept", "") and not path.startswith(MACHINES)


def error_page(request: Request, error: BitHiveError) -> Response:
    """The page for an error; without a credential, the way to sign in and back."""
    if isinstance(error, Unauthenticated) and request.method in {"GET", "HEAD"} and not is_part(request):
        target = request.url.path
        query = f"?next={target}" if target.startswith("/") and target != "/" else ""
        return RedirectResponse(f"/sign-in{query}", 303, headers={"Cache-Control": "no-store"})
    title, sentence = WORDS.get(error.status, (error.title, ""))
    detail = error.detail if error.detail not in (error.title, type(error).title) else ""
    if error.status in {400, 409, 413, 415, 422}:
        title = error.title
    ways = [("/studies", "To the studies"), ("/about", "About BitHive")]
    if error.status == 401:
        title, sentence, ways = "Sign in first", "The session is over, or there was none.", [("/sign-in", "Sign in")]
    said = " ".join(part for part in (sentence, _sentence(detail)) if part)
    return page(
        request,
        "message.html",
        status=error.status,
        code=error.code,
        title=title,
        detail=said,
        ways=ways,
        explained=is_explained(error.code),
    )


def is_part(request: Request) -> bool:
    """Whether a script of ours asked, rather than a person."""
    return request.headers.get("sec-fetch-mode", "navigate") != "navigate"


def as_error(error: Exception) -> BitHiveError:
    """Any exception as one of the tree; what nobody foresaw becomes `Internal`."""
    if isinstance(error, BitHiveError):
        return error
    if isinstance(error, RequestValidationError):
        return InvalidRequest()
    if isinstance(error, HTTPException):
        kind = BY_STATUS.get(error.status_code, Internal)
        return kind()
    return Internal()


class PageRoute(APIRoute):
    """A route whose errors are pages. What nobody foresaw is logged by type and place."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except Exception as error:  # noqa: BLE001 - every error of a page is answered as a page
                known = as_error(error)
                if known.status >= 500:
                    get().error("page.failed", code=known.code, status=known.status, exc_info=error)
                return error_page(request, known)

        return handled


def install(app: FastAPI) -> None:
    """Answer a browser with pages where programs get problem documents: for addresses of no page's own, too."""
    for kind in (BitHiveError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _or_page(app.exception_handlers[kind]))


def _or_page(answer: Callable[[Request, Exception], Any]) -> Callable[[Request, Exception], Any]:
    async def handled(request: Request, error: Exception) -> Response:
        if not wants_page(request):
            response: Response = await answer(request, error)
            return response
        if getattr(request.state, "principal", None) is None:
            await look(request)
        return error_page(request, as_error(error))

    return handled


async def look(request: Request) -> None:
    """Find out who asks, for the page's navigation; whatever goes wrong, nobody is known."""
    with suppress(BitHiveError):
        await identify(request)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}" if text else ""
