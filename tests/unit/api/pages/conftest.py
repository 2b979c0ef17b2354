"""Pages with real services in memory, and browsers signed in by cookie."""

from __future__ import annotations

import pytest
import structlog
from starlette.testclient import TestClient

from bithive.log import configure
from tests.common.page_house import OURS, PageHouse


@pytest.fixture(autouse=True)
def _logs():
    configure()
    yield
    structlog.reset_defaults()


@pytest.fixture
def house(tmp_path):
    made = PageHouse(tmp_path)
    yield made
    made.close()


@pytest.fixture
def browser(house):
    """A browser signed in with an account of that role."""
    opened = []

    def browse(role="clinician", **account):
        client = TestClient(
            house.app, base_url="http://127.0.0.1", headers={"Accept": "text/html"}, follow_redirects=False
        )
        opened.append(client)
        if role:
            token = house.token(role, **account)
            answer = client.post("/sign-in", data={"token": token, "next": "/"}, headers=OURS)
            assert answer.status_code == 303, answer.text
        return client

    yield browse
    for client in opened:
        client.close()


@pytest.fixture
def page(browser):
    """A clinician's browser."""
    return browser()
