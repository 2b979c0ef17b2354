"""What the DICOMweb routes share: who asks, for which institution, and the addresses that answers name."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from api.auth import Principal, require
from api.deps import get_services
from api.dicomweb.errors import NoInstitution

ROOT = "/dicomweb"
READ = require("dicom:read")
WRITE = require("dicom:write")

Reader = Annotated[Principal, Depends(READ)]
Writer = Annotated[Principal, Depends(WRITE)]


def institution_of(principal: Principal) -> str:
    """Whose studies the principal works with. Raises `NoInstitution`."""
    if principal.institution is None:
        raise NoInstitution
    return principal.institution


def base_url(request: Request) -> str:
    """Address of the DICOMweb services as the client knows it, no slash at the end.

    Some clients leave the port out of their Host header; without a proxy in between it is the one they came to.
    """
    http = get_services(request).settings.http
    url, server = request.base_url, request.scope.get("server")
    if not http.trust_proxy and url.port is None and server and server[1] not in {None, 80, 443}:
        url = url.replace(port=server[1])
    return (http.public_url or str(url)).rstrip("/") + ROOT


def instance_url(base: str, study_uid: str, series_uid: str, sop_uid: str) -> str:
    """Address of an instance, no slash at the end."""
    return f"{base}/studies/{study_uid}/series/{series_uid}/instances/{sop_uid}"


def warning_header(*sentences: str) -> dict[str, str]:
    """A Warning header with code 299 (PS3.18 section 8.3.4.6), or none."""
    return {"Warning": ", ".join(f'299 bithive "{sentence}"' for sentence in sentences)} if sentences else {}
