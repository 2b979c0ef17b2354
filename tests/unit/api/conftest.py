"""An application with accounts and no clinical or network side."""

from __future__ import annotations

from typing import Annotated

import pytest
import structlog
from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from api.accounts import Accounts, MemoryAccountStore
from api.app import create_app
from api.auth import Principal, require
from api.progress import Progress
from api.services import Services, Vitals, absent
from bithive.clock import ManualClock
from bithive.errors import Refused
from bithive.ids import SeededIds
from bithive.log import configure
from bithive.settings import Mode, Settings

router = APIRouter()


class Body(BaseModel):
    patient_name: int = Field(ge=3)


@router.get("/probe/read")
def probe_read(principal: Annotated[Principal, Depends(require("studies:read"))]) -> dict[str, str]:
    return {"name": principal.name}


@router.post("/probe/write")
def probe_write(principal: Annotated[Principal, Depends(require("studies:write"))]) -> dict[str, str]:
    return {"name": principal.name}


@router.post("/probe/body")
def probe_body(body: Body) -> dict[str, int]:
    return {"size": body.patient_name}


@router.get("/probe/bug")
def probe_bug() -> None:
    raise ZeroDivisionError("DOE^JANE")


@router.get("/probe/refused")
def probe_refused() -> None:
    raise Refused("the slices are unevenly spaced", gap_mm=3)


@router.get("/probe/teapot")
def probe_teapot() -> None:
    raise HTTPException(418)


@pytest.fixture(autouse=True)
def _logs():
    configure()
    yield
    structlog.reset_defaults()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def accounts(clock: ManualClock) -> Accounts:
    return Accounts(MemoryAccountStore(), clock, SeededIds(7, clock))


@pytest.fixture
def services(clock: ManualClock, accounts: Accounts) -> Services:
    ids = SeededIds(8, clock)
    none = absent()
    return Services(
        settings=Settings(mode=Mode.DEMO),
        clock=clock,
        ids=ids,
        institution=accounts.institution(),
        accounts=accounts,
        progress=Progress(),
        vitals=Vitals(),
        archive=none,
        blobs=none,
        intake=none,
        access_log=none,
        workitems=none,
        volumes=none,
        reviews=none,
        flow=none,
        broker=none,
        economy=none,
        ledger=none,
    )


@pytest.fixture
def client(services: Services):
    with TestClient(create_app(services, [router]), base_url="http://127.0.0.1") as client:
        yield client
