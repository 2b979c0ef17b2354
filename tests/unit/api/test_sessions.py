from __future__ import annotations

from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from api.sessions import enter_path
from bithive.limits import LINK_LIFETIME_S, SESSION_LIFETIME_S

OURS = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def clinician(accounts):
    return accounts.add("dr.roe", "clinician")


def test_the_secret_stands_where_no_server_sees_it():
    assert enter_path("abc", "/studies/1.2") == "/enter#token=abc&next=/studies/1.2"


def test_link_becomes_a_cookie_once(client, accounts, clinician):
    link = accounts.link(clinician)
    response = client.post("/session", json={"token": link}, headers=OURS)
    assert response.status_code == 200
    cookie = response.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie
    assert client.get("/probe/read").json() == {"name": "dr.roe"}
    client.cookies.clear()
    again = client.post("/session", json={"token": link}, headers=OURS)
    assert again.status_code == 401
    assert again.json()["code"] == "link-spent"
    assert client.get("/probe/read").status_code == 401


def test_link_and_session_end(client, accounts, clinician, clock):
    late = accounts.link(clinician)
    clock.advance_s(LINK_LIFETIME_S)
    assert client.post("/session", json={"token": late}).status_code == 401
    client.post("/session", json={"token": accounts.link(clinician)})
    clock.advance_s(SESSION_LIFETIME_S - 1)
    assert client.get("/probe/read").status_code == 200
    clock.advance_s(1)
    assert client.get("/probe/read").status_code == 401


def test_another_page_cannot_sign_somebody_in(client, accounts, clinician):
    link = accounts.link(clinician)
    response = client.post("/session", json={"token": link}, headers={"Origin": "https://evil.example"})
    assert response.status_code == 403
    assert client.post("/session", json={"token": link}, headers=OURS).status_code == 200


def test_signing_out(client, accounts, clinician):
    client.post("/session", json={"token": accounts.link(clinician)})
    kept = client.cookies["bithive"]
    assert client.get("/session").json()["role"] == "clinician"
    assert client.delete("/session").status_code == 403
    assert client.delete("/session", headers=OURS).status_code == 204
    client.cookies.set("bithive", kept)
    assert client.get("/session").status_code == 401


def test_the_page_of_a_link_shows_nothing_and_spends_nothing(client, accounts, clinician):
    link = accounts.link(clinician)
    page = client.get("/enter")
    assert page.status_code == 200
    assert page.headers["cache-control"] == "no-store"
    assert "<script>" not in page.text
    assert client.get("/enter.js").headers["content-type"].startswith("text/javascript")
    assert client.post("/session", json={"token": link}).status_code == 200


def test_behind_tls_the_cookie_is_bound_to_the_host(services, accounts, clinician):
    proxied = replace(
        services,
        settings=services.settings.model_copy(
            update={"http": services.settings.http.model_copy(update={"trust_proxy": True})}
        ),
    )
    with TestClient(create_app(proxied, []), base_url="https://hub.example") as client:
        cookie = client.post("/session", json={"token": accounts.link(clinician)}).headers["set-cookie"]
        assert cookie.startswith("__Host-bithive=")
        assert "Secure" in cookie
        assert "Domain" not in cookie
        assert client.get("/session").status_code == 200
