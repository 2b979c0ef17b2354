"""Whether the process lives, and whether it is ready for studies."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from api.deps import ServicesDep
from bithive import __version__

router = APIRouter(prefix="/health")


@router.get("/live")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "live", "version": __version__}


@router.get("/ready")
def ready(services: ServicesDep, response: Response) -> dict[str, Any]:
    """Each check by name; 503 while one fails. A missing cell is shown and is no failure: studies can be received."""
    checks, cells = services.vitals.read()
    is_ready = all(checks.values())
    response.status_code = 200 if is_ready else 503
    return {"status": "ready" if is_ready else "not ready", "checks": checks, "cells": cells}
