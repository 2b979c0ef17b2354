"""The study list and a study's page, and the parts of them that are replaced while things happen."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from api.auth import Principal, require
from api.deps import ServicesDep
from api.pages import gather
from api.pages.faults import PageRoute
from api.pages.model_card import cards
from api.pages.openings import openings
from api.pages.render import page, part
from api.pages.session import Form
from api.pages.viewing import ViewerChoices, choices
from api.services import Services

router = APIRouter(route_class=PageRoute, include_in_schema=False)
Reader = Annotated[Principal, Depends(require("studies:read"))]
Skip = Annotated[int, Query(ge=0, le=1_000_000)]
QUERY_CHARACTERS_MAX = 100


@router.get("/studies")
def studies(request: Request, services: ServicesDep, principal: Reader, skip: Skip = 0) -> Response:
    """The study list."""
    openings(request).searched(principal)
    return page(request, "studies.html", here="studies", page=_with_address(request, services, principal, skip))


@router.post("/studies")
def search(request: Request, services: ServicesDep, principal: Reader, form: Form) -> Response:
    """The study list, searched: words about patients never stand in an address."""
    openings(request).searched(principal)
    query = form.get("q", "").strip()[:QUERY_CHARACTERS_MAX]
    return page(request, "studies.html", here="studies", page=_with_address(request, services, principal, 0, query))


@router.post("/studies/rows")
def rows(request: Request, services: ServicesDep, principal: Reader, form: Form, skip: Skip = 0) -> Response:
    """The rows of the list alone."""
    openings(request).searched(principal, by_itself=not form.get("q"))
    query = form.get("q", "").strip()[:QUERY_CHARACTERS_MAX]
    shown = _with_address(request, services, principal, skip, query)
    return part("studies_rows.html", page=shown, principal=principal)


@router.get("/studies/{study_uid}/row")
def row(request: Request, services: ServicesDep, principal: Reader, study_uid: str) -> Response:
    """One row of the list."""
    openings(request).searched(principal, by_itself=True)
    return part("studies_row.html", study=gather.study_row(services, principal, study_uid))


@router.get("/studies/{study_uid}")
def study(request: Request, services: ServicesDep, principal: Reader, study_uid: str) -> Response:
    """A study's page."""
    found = gather.study_page(services, principal, study_uid)
    openings(request).opened(principal, study_uid)
    return page(request, "study.html", here="studies", **_shown(services, found))


@router.get("/studies/{study_uid}/state")
def state(request: Request, services: ServicesDep, principal: Reader, study_uid: str) -> Response:
    """What stands beside and below the image."""
    found = gather.study_page(services, principal, study_uid)
    openings(request).opened(principal, study_uid, by_itself=True)
    return part("study_state.html", principal=principal, **_shown(services, found))


def _with_address(
    request: Request, services: Services, principal: Principal, skip: int, query: str = ""
) -> gather.StudiesPage:
    base = services.settings.http.public_url or str(request.base_url)
    return gather.studies(services, principal, skip, query, base)


def _shown(services: Services, found: gather.StudyPage) -> dict[str, Any]:
    viewer: ViewerChoices | None = choices(found)
    return {
        "study": found.study,
        "analyses": found.analyses,
        "unmatched": found.unmatched,
        "series_list": found.series_list,
        "cards": cards(gather.bundles_of(services, found), services.repertoire().bundles),
        "viewer": viewer,
        "no_viewer": "No series of this study can be shown as an image here. Every object can be downloaded below.",
    }
