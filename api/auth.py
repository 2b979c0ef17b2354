"""Who is asking, and what they may do.

A machine shows a bearer token (RFC 6750); a person's browser shows a session cookie that a one-time link was exchanged
for. A cookie alone never changes anything from another origin. Usage in a router::

    principal: Annotated[Principal, Depends(require("dicom:write"))]
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.deps import get_services
from api.errors import OtherOrigin
from bithive.errors import Forbidden, Unauthenticated

AccountRole = Literal[
    "clinician", "pacs", "researcher", "cell", "institution", "contributor", "auditor", "monitor", "administrator"
]

SCOPES: dict[str, frozenset[str]] = {
    "clinician": frozenset({"studies:read", "studies:write", "studies:review", "dicom:read", "dicom:write"}),
    "pacs": frozenset({"dicom:read", "dicom:write"}),
    "researcher": frozenset({"dicom:write", "public:write"}),
    "cell": frozenset({"cell"}),
    "institution": frozenset({"institution", "ledger:own", "nodes:own"}),
    "contributor": frozenset({"nodes:own", "ledger:own"}),
    "auditor": frozenset({"ledger:read", "ledger:own", "access:read", "nodes:read", "nodes:own"}),
    "monitor": frozenset({"metrics:read"}),
    "administrator": frozenset(
        {
            "accounts:write",
            "access:read",
            "ledger:read",
            "ledger:own",
            "ledger:write",
            "metrics:read",
            "nodes:read",
            "nodes:own",
            "public:write",
            "studies:read",
            "studies:write",
            "studies:delete",
            "dicom:read",
            "dicom:write",
        }
    ),
}

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking.

    Attributes
    ----------
    account, name, role
        The account's id (`acc_...`), name and role.
    scopes
        What it may do.
    institution
        Whose patients it may see, for whom it offers work, or whose own cell it is (`ins_...`); none for others.
    cell
        Which Cell it is (`cel_...`), for accounts of cells; whose contributor it is, for one of those.
    """

    account: str
    name: str
    role: str
    scopes: frozenset[str]
    institution: str | None
    cell: str | None


def require(scope: str) -> Callable[[Request], Awaitable[Principal]]:
    """A FastAPI dependency that gives the Principal, if it holds the scope.

    Parameters
    ----------
    scope
        One of the words in `SCOPES`.

    Raises
    ------
    Unauthenticated
        (401) No valid credential.
    Forbidden
        (403) A valid credential without this scope; `OtherOrigin` when a foreign page tries.
    """
    assert any(scope in scopes for scopes in SCOPES.values()), f"unknown scope {scope!r}"

    async def permitted(request: Request) -> Principal:
        principal = await identify(request)
        if principal is None:
            raise Unauthenticated
        if scope not in principal.scopes:
            raise Forbidden("the account's role does not include this", scope=scope)
        return principal

    return permitted


async def identify(request: Request) -> Principal | None:
    """Who is asking, or None when no credential is shown.

    Raises
    ------
    Unauthenticated
        A bearer token is shown and is not valid.
    OtherOrigin
        A cookie is shown, the method changes something, and the page is not ours.
    """
    known = getattr(request.state, "principal", None)
    if isinstance(known, Principal):
        return known
    accounts = get_services(request).accounts
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme:
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("only bearer tokens are taken")
        principal = await run_in_threadpool(accounts.by_token, token.strip())
        if principal is None:
            raise Unauthenticated("the token is not valid")
    else:
        session = request.cookies.get(cookie_name(request))
        principal = await run_in_threadpool(accounts.by_session, session) if session else None
        if principal is not None and request.method not in SAFE_METHODS:
            check_origin(request)
    request.state.principal = principal
    return principal


def cookie_name(request: Request) -> str:
    """The session cookie's name: bound to this host where there is TLS (RFC 6265bis, `__Host-`)."""
    return "__Host-bithive" if is_secure(request) else "bithive"


def is_secure(request: Request) -> bool:
    """Whether the browser reached us by TLS, directly or by the proxy that the settings trust."""
    return request.url.scheme == "https" or get_services(request).settings.http.trust_proxy


def check_origin(request: Request) -> None:
    """Refuse an unsafe request that a page of another origin caused. Raises `OtherOrigin`."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site != "same-origin":
            raise OtherOrigin
        return
    origin = request.headers.get("origin")
    if origin is None or urlsplit(origin).netloc != request.headers.get("host"):
        raise OtherOrigin
