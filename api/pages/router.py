"""Every page: `common` for any role, `ledger` and `network` for the network side, `router` for the clinical side."""

from __future__ import annotations

from fastapi import APIRouter

from api.pages import (
    about,
    access,
    downloads,
    judging,
    key_images,
    ledger_overview,
    ledger_statement,
    ledger_verifier,
    network_node,
    network_overview,
    session,
    static_files,
    studies,
    uploading,
    viewing,
)

common = APIRouter()
for part in (static_files, session, about):
    common.include_router(part.router)

ledger = APIRouter()
for part in (ledger_verifier, ledger_statement, ledger_overview):
    ledger.include_router(part.router)

network = APIRouter()
for part in (network_overview, network_node):
    network.include_router(part.router)

router = APIRouter()
for part in (studies, uploading, viewing, key_images, judging, downloads, access):
    router.include_router(part.router)
