"""Signing in: a one-time link becomes a session cookie.

The link's secret stands in the address's fragment (`/enter#...`), which a browser never sends, so that no log, proxy
or referrer can hold it; the page at `/enter` posts it. Looking at a link (a preview, a scanner) does not spend it.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from api.auth import Principal, check_origin, cookie_name, identify, is_secure
from api.deps import ServicesDep
from api.pages.render import STATIC, page
from bithive.errors import Unauthenticated
from bithive.limits import SESSION_LIFETIME_S

router = APIRouter()


class SessionRequest(BaseModel):
    """What `POST /session` takes."""

    model_config = ConfigDict(extra="forbid")

    token: str = Field(min_length=1, max_length=200)


def enter_path(link: str, following: str = "/") -> str:
    """The path of a one-time link that goes on to `following`."""
    return f"/enter#token={link}&next={following}"


@router.get("/enter", include_in_schema=False)
def enter(request: Request) -> Response:
    """The page that a one-time link opens."""
    return page(request, "enter.html", here="sign-in")


@router.get("/enter.js", include_in_schema=False)
def enter_script() -> Response:
    return Response((STATIC / "enter.js").read_bytes(), media_type="text/javascript")


@router.post("/session")
async def open_session(
    body: SessionRequest, request: Request, response: Response, services: ServicesDep
) -> dict[str, Any]:
    """Exchange a one-time link for a session cookie; the link is spent."""
    if "origin" in request.headers or "sec-fetch-site" in request.headers:
        check_origin(request)
    secret, principal = await run_in_threadpool(services.accounts.open_session, body.token)
    response.set_cookie(
        cookie_name(request),
        secret,
        max_age=round(SESSION_LIFETIME_S),
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="strict",
    )
    return _shown(principal)


@router.get("/session")
async def show_session(principal: Annotated[Principal | None, Depends(identify)]) -> dict[str, Any]:
    """Who is signed in."""
    if principal is None:
        raise Unauthenticated
    return _shown(principal)


@router.delete("/session", status_code=204)
async def close_session(request: Request, services: ServicesDep) -> Response:
    """End the session and forget the cookie."""
    await identify(request)
    session = request.cookies.get(cookie_name(request))
    if session:
        await run_in_threadpool(services.accounts.close_session, session)
    response = Response(status_code=204)
    response.delete_cookie(cookie_name(request), path="/", secure=is_secure(request), httponly=True, samesite="strict")
    return response


def _shown(principal: Principal) -> dict[str, Any]:
    return {"name": principal.name, "role": principal.role, "scopes": sorted(principal.scopes)}
