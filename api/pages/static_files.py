"""Our scripts, styles and drawings, served by this process under an address that changes with them."""

from __future__ import annotations

import hashlib
import re

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.pages.render import STATIC, static_digest
from bithive.errors import NotFound

router = APIRouter()
_NAME = re.compile(r"[a-z0-9_]+\.(?:css|js|svg)")
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@router.get("/static/{digest}/{name}", include_in_schema=False)
def static_file(digest: str, name: str, request: Request) -> Response:
    """One file. Under today's digest it may be kept for ever; under another it is only for now."""
    path = STATIC / name
    if not _NAME.fullmatch(name) or not path.is_file():
        raise NotFound
    content = path.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    kept = "public, max-age=31536000, immutable" if digest == static_digest() else "no-cache"
    headers = _HEADERS | {"ETag": tag, "Cache-Control": kept}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=TYPES[path.suffix], headers=headers)


@router.get("/favicon.ico", include_in_schema=False)
def favicon() -> Response:
    """Browsers ask for it by themselves."""
    return Response(
        (STATIC / "logo.svg").read_bytes(),
        media_type=TYPES[".svg"],
        headers=_HEADERS | {"Cache-Control": "max-age=86400"},
    )
