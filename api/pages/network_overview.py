"""The network as it is now: Cells and Nodes, what is under way, what became of it. A script asks for the part that moves."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.auth import Principal
from api.deps import ServicesDep
from api.network_access import ViewerDep, whose
from api.pages.faults import PageRoute
from api.pages.network_view import network_shown
from api.pages.render import page, part

router = APIRouter(route_class=PageRoute, include_in_schema=False)

SUBJECTS: tuple[tuple[str, str, str], ...] = (
    ("nodes:read", "Network", "Every cell and node that works for this hub, and what they are doing."),
    ("institution", "Network", "The cells of your institution, and where your own studies’ work is being done."),
    ("", "Your machines", "What the machines that you contribute are doing, and what comes of it."),
)
"""Scope, title and sentence: the first that the reader's role has."""


@router.get("/network")
def network(request: Request, services: ServicesDep, principal: ViewerDep) -> Response:
    """The page."""
    shown = network_shown(services, whose(principal))
    title, sentence = subject(principal)
    return page(request, "network.html", here="network", title=title, sentence=sentence, shown=shown)


@router.get("/network/state")
def state(services: ServicesDep, principal: ViewerDep) -> Response:
    """The part of it that moves."""
    return part("network_state.html", shown=network_shown(services, whose(principal)), principal=principal)


def subject(principal: Principal) -> tuple[str, str]:
    """Title and sentence of the page, by who reads it."""
    return next((title, text) for scope, title, text in SUBJECTS if not scope or scope in principal.scopes)
