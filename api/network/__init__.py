"""The network protocol over HTTP, version 1: what institutions and cells ask of the broker."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from api.network import attempts, cells, events, offers
from api.network.wire import speaks
from cluster.protocol import ROOT

router = APIRouter(prefix=ROOT, tags=["network"], dependencies=[Depends(speaks)])
for _module in (offers, events, cells, attempts):
    router.include_router(_module.router)
