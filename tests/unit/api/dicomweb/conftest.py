"""A clinical side, and clients of its DICOMweb services."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from tests.common.dicomweb import STORE_HEADERS, application, clinic_side, multipart


@pytest.fixture
def side(tmp_path):
    with clinic_side(tmp_path) as side:
        yield side


@pytest.fixture
def client(side):
    with TestClient(application(side), base_url="http://hub") as client:
        yield client


@pytest.fixture
def store(client):
    """Send instances, to a study when one is named."""

    def send(contents, study_uid=None, **headers):
        path = "/dicomweb/studies" + (f"/{study_uid}" if study_uid else "")
        return client.post(path, content=multipart(contents), headers=STORE_HEADERS | headers)

    return send
