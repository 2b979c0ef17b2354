from __future__ import annotations

import pytest

from api.auth import SCOPES

OURS = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def clinician(accounts):
    return accounts.add("dr.roe", "clinician")


def _bearer(token):
    return {"Authorization": f"Bearer {token}"}


def test_roles_hold_what_the_contract_says():
    assert SCOPES["clinician"] == {"studies:read", "studies:write", "studies:review", "dicom:read", "dicom:write"}
    assert SCOPES["pacs"] == {"dicom:read", "dicom:write"}
    assert "studies:review" not in SCOPES["administrator"]
    assert SCOPES["cell"].isdisjoint(SCOPES["institution"])


def test_bearer_token(client, accounts, clinician):
    token = accounts.token(clinician)
    assert client.get("/probe/read", headers=_bearer(token)).json() == {"name": "dr.roe"}
    assert client.post("/probe/write", headers=_bearer(token)).status_code == 200


@pytest.mark.parametrize("header", ["Bearer nonsense", "Bearer ", "Basic YTpi", "Bearer " + "é" * 5, "x"])
def test_wrong_credentials(client, clinician, header):
    response = client.get("/probe/read", headers={"Authorization": header.encode("latin-1")})
    assert response.status_code == 401


def test_a_role_without_the_scope(client, accounts):
    token = accounts.token(accounts.add("pacs", "pacs"))
    response = client.get("/probe/read", headers=_bearer(token))
    assert response.status_code == 403
    assert response.json()["context"] == {"scope": "studies:read"}


def test_disabled_account_and_replaced_token(client, accounts, clinician):
    first = accounts.token(clinician)
    second = accounts.token(clinician)
    assert client.get("/probe/read", headers=_bearer(first)).status_code == 401
    assert client.get("/probe/read", headers=_bearer(second)).status_code == 200
    accounts.disable("dr.roe")
    assert client.get("/probe/read", headers=_bearer(second)).status_code == 401


def test_a_link_is_no_token_and_no_session(client, accounts, clinician):
    link = accounts.link(clinician)
    assert client.get("/probe/read", headers=_bearer(link)).status_code == 401
    client.cookies.set("bithive", link)
    assert client.get("/probe/read").status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (OURS, 200),
        ({"Origin": "http://127.0.0.1"}, 200),
        ({}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1.evil.example"}, 403),
    ],
)
def test_a_cookie_changes_nothing_from_another_origin(client, accounts, clinician, headers, status):
    client.post("/session", json={"token": accounts.link(clinician)})
    assert client.post("/probe/write", headers=headers).status_code == status
    assert client.get("/probe/read").status_code == 200
