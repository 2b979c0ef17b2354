"""The network protocol over HTTP, versions 1 and 2: what institutions and cells ask of the broker."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from api.network import attempts, attestation, cells, events, offers, rates, receipts, register, versions, work
from api.network.wire import speaks
from cluster.protocol import ROOTS

# The same address never belongs to two of a version's routers.
_SPOKEN = {
    "1": (offers, events, cells, attempts, receipts),
    "2": (offers, events, work, attempts, register, attestation, rates, receipts),
}

router = APIRouter(tags=["network"])
router.include_router(versions.router)
for _version, _modules in _SPOKEN.items():
    _versioned = APIRouter(prefix=ROOTS[_version], dependencies=[Depends(speaks)])
    for _module in _modules:
        _versioned.include_router(_module.router)
    router.include_router(_versioned)
