"""Which versions of the protocol are spoken here: open to everybody, so that a cell can choose before it signs in."""

from __future__ import annotations

from fastapi import APIRouter

from cluster.protocol import VERSIONS, VERSIONS_PATH

router = APIRouter()


@router.get(VERSIONS_PATH)
async def versions() -> dict[str, list[str]]:
    """The versions, the oldest first."""
    return {"versions": list(VERSIONS)}
