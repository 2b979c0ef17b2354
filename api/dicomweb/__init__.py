"""DICOMweb (PS3.18): STOW-RS, QIDO-RS, WADO-RS. A file for each service; `routers` is what an application includes."""

from __future__ import annotations

from fastapi import APIRouter

from api.dicomweb import frames, qido, stow, wado

routers: tuple[APIRouter, ...] = (stow.router, qido.router, wado.router, frames.router)
