"""The page from which a person sends studies; `api.upload` takes them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from api.auth import Principal, require
from api.pages import words
from api.pages.faults import PageRoute
from api.pages.render import page
from bithive.limits import GIB, REQUEST_BYTES_MAX, REQUEST_INSTANCES_MAX

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/upload")
def upload_page(request: Request, _principal: Annotated[Principal, Depends(require("studies:write"))]) -> Response:
    """Drop a folder, files or a zip."""
    limits = {
        "bytes": REQUEST_BYTES_MAX,
        "instances": REQUEST_INSTANCES_MAX,
        "request_text": f"{REQUEST_BYTES_MAX // GIB} GiB",
        "instances_text": words.grouped(REQUEST_INSTANCES_MAX),
    }
    return page(request, "upload.html", here="upload", limits=limits)
