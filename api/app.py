"""The application: routers, errors, and what every request passes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext

from fastapi import APIRouter, FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.concurrency import run_in_threadpool

from api import health, ledger, metrics, problems, progress, public_sets, reviews, sessions, studies, upload
from api.dicomweb import routers as dicomweb_routers
from api.middleware import BodyLimit, Counted, SafeHeaders
from api.network import router as network_router
from api.pages import faults
from api.pages.router import common as common_pages
from api.pages.router import ledger as ledger_pages
from api.pages.router import network as network_pages
from api.pages.router import router as pages_router
from api.problems import CatchAll
from api.services import Services
from bithive import __version__
from bithive.settings import Role

UNTOLD: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
"""FastAPI's own telemetry is off, whatever the environment says: it would send addresses, which hold UIDs, and the texts
of exceptions. What we tell is in `bithive.tracing` and `api.instruments`."""


def create_app(
    services: Services,
    routers: Sequence[APIRouter] | None = None,
    background: AbstractContextManager[object] | None = None,
) -> FastAPI:
    """The ASGI application.

    Parameters
    ----------
    services
        From `api.wiring.wire`.
    routers
        What it answers beside signing in, health and live progress; by default all of the role's.
    background
        Entered when the application starts and left when it stops: the hub's threads. None in most tests.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        threads = background or nullcontext()
        await run_in_threadpool(threads.__enter__)
        try:
            yield
        finally:
            await run_in_threadpool(threads.__exit__, None, None, None)

    app = FastAPI(
        title="BitHive",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        telemetry=UNTOLD,
    )
    app.state.services = services
    problems.install(app)
    for router in role_routers(services) if routers is None else routers:
        app.include_router(router)
    for module in (health, metrics, sessions, progress):
        app.include_router(module.router)
    faults.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(CatchAll)
    app.add_middleware(Counted, answered=services.metrics.answered, clock=services.clock)
    app.add_middleware(SafeHeaders, tls=services.settings.http.tls_certificate is not None)
    return app


def role_routers(services: Services) -> list[APIRouter]:
    """The routers of the sides that this process serves."""
    role, routers = services.settings.role, [common_pages]
    if role is not Role.CLINICAL:
        routers += [network_router, ledger_pages, network_pages, ledger.router]
    if role is not Role.NETWORK:
        routers += [*dicomweb_routers, studies.router, upload.router, public_sets.router, reviews.router, pages_router]
    return routers
