"""`GET /metrics`: what a monitoring system reads, in Prometheus' text format."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from api.auth import Principal, require
from api.deps import ServicesDep
from api.metrics_now import now

router = APIRouter()


@router.get("/metrics", include_in_schema=False)
def metrics(services: ServicesDep, _principal: Annotated[Principal, Depends(require("metrics:read"))]) -> Response:
    """What was counted since this process began, and how things stand now."""
    text = generate_latest(services.metrics.registry) + generate_latest(now(services))
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)
