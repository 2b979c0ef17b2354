"""What routers ask FastAPI for: `services: ServicesDep`, and `principal: Annotated[Principal, Depends(require(...))]`."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request

from api.services import Services


def get_services(request: Request) -> Services:
    """The services of the application that this request came to."""
    return cast(Services, request.app.state.services)


ServicesDep = Annotated[Services, Depends(get_services)]
