"""Signing in and out by pages. The exchange itself is `api.sessions`."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from api.accounts import Accounts
from api.auth import Principal, check_origin, cookie_name, identify, is_secure
from api.deps import ServicesDep
from api.pages.faults import PageRoute
from api.pages.render import page
from bithive.errors import BadInput, LimitExceeded
from bithive.limits import SESSION_LIFETIME_S

FORM_BYTES_MAX = 64 * 1024
TOKEN_LENGTH_MAX = 200
router = APIRouter(route_class=PageRoute, include_in_schema=False)
Known = Annotated[Principal | None, Depends(identify)]


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form as a browser encodes it; the last of each name.

    Raises
    ------
    BadInput
        If it is not a URL-encoded form.
    LimitExceeded
        If it is larger than a page of ours makes one.
    """
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise BadInput("the form is not in the encoding that this page sends")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES_MAX:
            raise LimitExceeded("the form is too large", size_bytes_max=FORM_BYTES_MAX)
    try:
        fields = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=32, errors="strict")
    except ValueError as error:
        raise BadInput("the form cannot be read") from error
    return {name: found[-1] for name, found in fields.items()}


Form = Annotated[dict[str, str], Depends(form_of)]


def own_path(text: str) -> str:
    """A path on this host to go on to; the front page for anything else."""
    return text if re.fullmatch(r"/(?![/\\])[A-Za-z0-9._~/-]*", text) else "/"


@router.get("/")
async def front(principal: Known) -> Response:
    """Where somebody begins, by what they may do."""
    return RedirectResponse(_begin(principal), 303, headers={"Cache-Control": "no-store"})


@router.get("/sign-in")
async def sign_in_page(request: Request, principal: Known, next: str = "/") -> Response:  # noqa: A002
    """The form for an access token."""
    if principal is not None:
        return RedirectResponse(own_path(next), 303, headers={"Cache-Control": "no-store"})
    return page(request, "sign_in.html", here="sign-in", next=own_path(next), complaint="")


@router.post("/sign-in")
async def sign_in(request: Request, services: ServicesDep) -> Response:
    """Exchange an access token for a session cookie."""
    check_origin(request)
    fields = await form_of(request)
    token, following = fields.get("token", "").strip(), own_path(fields.get("next", "/"))
    secret = await run_in_threadpool(_session_for, services.accounts, token[:TOKEN_LENGTH_MAX]) if token else None
    if secret is None:
        complaint = "This token is not valid here. It may have been replaced by a newer one."
        return page(request, "sign_in.html", here="sign-in", status=401, next=following, complaint=complaint)
    response = RedirectResponse(following, 303, headers={"Cache-Control": "no-store"})
    response.set_cookie(
        cookie_name(request),
        secret,
        max_age=round(SESSION_LIFETIME_S),
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="strict",
    )
    return response


@router.post("/sign-out")
async def sign_out(request: Request, services: ServicesDep) -> Response:
    """End the session and forget the cookie."""
    check_origin(request)
    secret = request.cookies.get(cookie_name(request))
    if secret:
        await run_in_threadpool(services.accounts.close_session, secret)
    response = RedirectResponse("/sign-in", 303, headers={"Cache-Control": "no-store", "Clear-Site-Data": '"cache"'})
    response.delete_cookie(cookie_name(request), path="/", secure=is_secure(request), httponly=True, samesite="strict")
    return response


def _begin(principal: Principal | None) -> str:
    if principal is None:
        return "/sign-in"
    if "studies:read" in principal.scopes:
        return "/studies"
    if "access:read" in principal.scopes:
        return "/access-log"
    if "nodes:own" in principal.scopes and principal.cell is not None:
        return "/network"
    return "/ledger/statements/own" if "ledger:own" in principal.scopes else "/about"


def _session_for(accounts: Accounts, token: str) -> str | None:
    """A session for whoever the token is: by way of a link, which is spent at once."""
    principal = accounts.by_token(token)
    if principal is None:
        return None
    secret, _ = accounts.open_session(accounts.link(accounts.named(principal.name)))
    return secret
