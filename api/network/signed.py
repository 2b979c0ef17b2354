"""Signed requests of version 2: who signed, that nobody repeats it, and that the body is the one that was signed."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from api.auth import Principal, require
from api.deps import ServicesDep
from api.services import Services
from bithive.errors import Forbidden
from cluster.errors import CellUnknown, KeyRevoked, SignatureRefused, SignatureRequired
from cluster.protocol import ROOTS
from cluster.signing import DIGEST, Message, Signed, check, digest_value, is_digest

_HELLO = "/cells/hello"


def version_of(request: Request) -> str:
    """The version of the protocol at whose address a request came."""
    return next(version for version, root in ROOTS.items() if request.url.path.startswith(f"{root}/"))


async def cell(
    request: Request, services: ServicesDep, principal: Annotated[Principal, Depends(require("cell"))]
) -> str:
    """Who asks, as a cell: by its token, and from version 2 by its key as well.

    Raises
    ------
    SignatureRequired
        Nothing is signed, and this cell signs.
    SignatureRefused, SignatureReplayed
        The signature is not the cell's, or was seen before.
    KeyRevoked
        The cell's key was revoked.
    CellUnknown
        No key is known yet: say hello first.
    """
    if principal.cell is None:
        raise Forbidden("the account belongs to no cell")
    registration = await run_in_threadpool(services.broker.register.registration, principal.cell)
    if version_of(request) == "1":
        if registration is not None:
            raise SignatureRequired("this cell has a key of its own: speak version 2")
        return principal.cell
    shown = check(message_of(request))
    if registration is not None:
        if registration.revoked_ms:
            raise KeyRevoked
        if registration.cell_key != shown.key:
            raise SignatureRefused("another key is registered for this cell")
    elif not request.url.path.endswith(_HELLO):
        raise CellUnknown
    accept(services, request, shown)
    return principal.cell


def accept(services: Services, request: Request, shown: Signed) -> None:
    """Take a signature that holds, once; the body is compared with it as it is read. Raises `SignatureReplayed`."""
    services.broker.seen.take(shown)
    request.state.signed = shown


def signer(request: Request) -> str:
    """The key that signed a request; empty in version 1."""
    shown = getattr(request.state, "signed", None)
    return shown.key if isinstance(shown, Signed) else ""


class BodyCheck:
    """Compares a body, as it is read, with the digest that was signed (RFC 9530); does nothing where nobody signed.

    Raises
    ------
    SignatureRefused
        When made: there is a signature, and the digest is of another form.
    """

    def __init__(self, request: Request) -> None:
        self._expected = request.headers.get(DIGEST)
        self._hash = hashlib.sha256() if signer(request) else None
        if self._hash is not None and self._expected is not None and not is_digest(self._expected):
            raise SignatureRefused("the body's digest is of another form")

    def feed(self, chunk: bytes) -> None:
        """The next bytes."""
        if self._hash is not None:
            self._hash.update(chunk)

    def finish(self) -> None:
        """The body is whole. Raises `SignatureRefused` when it is another, or was not signed."""
        if self._hash is None:
            return
        found = digest_value(self._hash.digest())
        if self._expected is None or not hmac.compare_digest(found, self._expected):
            raise SignatureRefused("the body is not the one that was signed")


def message_of(request: Request) -> Message:
    """What of a request is signed. Raises `SignatureRefused` when a header field comes twice."""
    fields: dict[str, str] = {}
    for name, value in request.headers.items():
        if name in fields and name.startswith(("bithive-", "content-digest", "signature", "range", "if-range")):
            raise SignatureRefused("a signed header field comes twice")
        fields[name] = value
    path = request.scope.get("raw_path") or request.scope["path"].encode()
    return Message(request.method, path.decode("latin-1"), request.scope["query_string"].decode("latin-1"), fields)
