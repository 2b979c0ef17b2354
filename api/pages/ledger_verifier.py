"""Serves the auditor's page. Open to anybody: it holds nothing."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from api.pages.faults import PageRoute
from api.pages.render import HEADERS
from api.pages.verifier_page import verifier_html, verifier_policy

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/ledger/verify")
def verifier() -> Response:
    """The page as it is written by `bithive ledger export verifier`, byte for byte."""
    return HTMLResponse(verifier_html(), headers=HEADERS | {"Content-Security-Policy": verifier_policy()})
