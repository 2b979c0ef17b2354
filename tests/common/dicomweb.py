"""A clinical side with its DICOMweb services, for tests that speak to it as a PACS or a viewer would."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvicorn
from fastapi import FastAPI, Request

from api import problems
from api.auth import Principal
from api.dicomweb import routers
from api.dicomweb.deps import READ, WRITE
from bithive.blobs import Blobs, FileBlobs
from bithive.clock import ManualClock
from bithive.database_sql import Database
from bithive.ids import SeededIds
from bithive.log import configure
from bithive.settings import ClinicSettings, Mode, Settings
from clinic.access_log import AccessLog
from clinic.access_log_sql import SqlAccessStore
from clinic.archive import Archive
from clinic.archive_sql import SqlArchive
from clinic.intake import Intake
from clinic.metadata_sql import MIGRATIONS

OURS, THEIRS = "ins_00000000000000000000000001", "ins_00000000000000000000000002"
BOUNDARY = "the-boundary"
STORE_HEADERS = {
    "Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}',
    "Accept": "application/dicom+json",
}


@dataclass(frozen=True, slots=True)
class ClinicSide:
    """What `api.wiring` builds of the clinical side, without analyses."""

    settings: Settings
    clock: ManualClock
    archive: Archive
    blobs: Blobs
    intake: Intake
    access_log: AccessLog


@contextmanager
def clinic_side(folder: Path, free_bytes: Callable[[], int] | None = None, **clinic: Any) -> Generator[ClinicSide]:
    """A clinical side on SQLite and files in `folder`; by default it has disk enough."""
    configure("error")
    clock = ManualClock()
    settings = Settings(mode=Mode.DEMO, state=folder, clinic=ClinicSettings(**clinic))
    database = Database(f"sqlite:///{folder}/clinic.db")
    database.upgrade(MIGRATIONS)
    archive, blobs = SqlArchive(database), FileBlobs(folder / "blobs")
    intake = Intake(archive, blobs, settings, clock, SeededIds(4, clock), free_bytes or (lambda: 1 << 50))
    try:
        yield ClinicSide(settings, clock, archive, blobs, intake, AccessLog(SqlAccessStore(database), clock))
    finally:
        intake.close()
        database.close()


def application(side: ClinicSide) -> FastAPI:
    """The DICOMweb services; the header `Institution` says whose account asks (ours when absent)."""
    app = FastAPI()
    app.state.services = SimpleNamespace(
        settings=side.settings,
        clock=side.clock,
        archive=side.archive,
        blobs=side.blobs,
        intake=side.intake,
        access_log=side.access_log,
    )
    problems.install(app)
    for router in routers:
        app.include_router(router)

    def principal(request: Request) -> Principal:
        institution = request.headers.get("institution", OURS)
        return Principal("acc_1", "PACS", "pacs", frozenset(), None if institution == "none" else institution, None)

    app.dependency_overrides = {READ: principal, WRITE: principal}
    return app


@contextmanager
def serving(app: FastAPI) -> Generator[str]:
    """The address of a real server in a thread of its own."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


def multipart(contents: Iterable[bytes]) -> bytes:
    """Instances as the body of a STOW-RS request; goes with `STORE_HEADERS`."""
    head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return b"".join(head + content + b"\r\n" for content in contents) + f"--{BOUNDARY}--\r\n".encode()


def reasons(answer: Any) -> list[int]:
    """The failure reasons of a Store Instances Response, of named and unnamed failures."""
    items = [item for tag in ("00081198", "0008119A") for item in answer.get(tag, {}).get("Value", [])]
    return sorted(item["00081197"]["Value"][0] for item in items)
