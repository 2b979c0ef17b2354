"""What a clinician does on a study's page: accept or reject findings, run a failed analysis again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import RedirectResponse, Response

from api.auth import Principal, require
from api.deps import ServicesDep
from api.pages.faults import PageRoute
from api.pages.gather import institution_of
from api.pages.session import Form
from api.services import Services
from bithive.errors import BadInput
from clinic.refusals import WorkitemAbsent

router = APIRouter(route_class=PageRoute, include_in_schema=False)
REASON_CHARACTERS_MAX = 500


@router.post("/studies/{study_uid}/review")
def review(
    services: ServicesDep,
    principal: Annotated[Principal, Depends(require("studies:review"))],
    study_uid: str,
    form: Form,
) -> Response:
    """Accept findings, whose report becomes VERIFIED; or reject them, which retracts them and needs a reason."""
    institution = institution_of(principal)
    workitem_id = _own(services, institution, study_uid, form)
    reason = " ".join(form.get("reason", "").split())[:REASON_CHARACTERS_MAX]
    verdict = form.get("verdict")
    if verdict == "accept":
        services.reviews.accept(institution, workitem_id, principal.name, reason)
    elif verdict == "reject" and reason:
        services.reviews.reject(institution, workitem_id, principal.name, reason)
    else:
        raise BadInput("say whether to accept or to reject, and why")
    return _back(study_uid)


@router.post("/studies/{study_uid}/rerun")
def rerun(
    services: ServicesDep,
    principal: Annotated[Principal, Depends(require("studies:write"))],
    study_uid: str,
    form: Form,
) -> Response:
    """Ask for a failed analysis again: a new Workitem, at once."""
    institution = institution_of(principal)
    services.flow.rerun(institution, _own(services, institution, study_uid, form))
    services.wake()
    return _back(study_uid)


def _own(services: Services, institution: str, study_uid: str, form: dict[str, str]) -> str:
    """The Workitem that the form names, if it is one of this study. Raises `WorkitemAbsent`."""
    item = services.workitems.workitem(institution, form.get("workitem", ""))
    if item.study_uid != study_uid:
        raise WorkitemAbsent
    return item.workitem_id


def _back(study_uid: str) -> Response:
    return RedirectResponse(f"/studies/{study_uid}", 303, headers={"Cache-Control": "no-store"})
