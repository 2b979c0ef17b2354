"""What BitHive is and is not, what its models are for, what its codes mean."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from api.auth import Principal, identify
from api.deps import ServicesDep
from api.pages import explain, markdown
from api.pages.faults import PageRoute, look
from api.pages.model_card import cards
from api.pages.model_page import model_lines, model_page
from api.pages.render import page
from bithive.errors import NotFound
from models.bundle import NAME
from models.errors import BundleAbsent

router = APIRouter(route_class=PageRoute, include_in_schema=False, dependencies=[Depends(identify)])
Known = Annotated[Principal | None, Depends(identify)]


@router.get("/about")
def about(request: Request, services: ServicesDep) -> Response:
    """Intended use, words, the models that are here, keyboard."""
    return page(request, "about.html", here="about", bundles=cards(bundles=services.repertoire().bundles))


@router.get("/models")
def models(request: Request, services: ServicesDep) -> Response:
    """Every model: whether it can run here, and whether it was evaluated."""
    return page(request, "models.html", here="models", models=model_lines(services))


@router.get("/models/{name}")
def model(request: Request, services: ServicesDep, name: str) -> Response:
    """The card of one bundle.

    Raises
    ------
    BundleAbsent
        If there is none of that name here.
    """
    found = model_page(services, name) if NAME.fullmatch(name) else None
    if found is None:
        raise BundleAbsent("there is no bundle of that name here")
    return page(request, "model.html", here="models", card=found.card, model=found)


@router.get("/docs/errors")
def error_codes(request: Request) -> Response:
    """Every code that is explained."""
    return page(request, "error_codes.html", codes=explain.codes())


async def error_document(request: Request, code: str) -> Response:
    """The page of one code, as a page. Served by `api.problems` at `/docs/errors/<code>`.

    Raises
    ------
    NotFound
        If there is none.
    """
    text = explain.explanation(code)
    if text is None:
        raise NotFound("there is no such code")
    await look(request)
    back = ("/docs/errors", "All error codes")
    return page(request, "document.html", title=explain.title(code) or code, body=markdown.render(text), back=back)
