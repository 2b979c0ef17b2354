from __future__ import annotations

import pytest

from api.pages.session import FORM_BYTES_MAX, own_path
from tests.common.page_house import OURS


def test_the_front_page_leads_each_role_to_its_work(browser):
    places = {None: "/sign-in", "clinician": "/studies", "auditor": "/access-log", "pacs": "/about"}
    for role, place in places.items():
        assert browser(role).get("/").headers["location"] == place


def test_a_page_sends_a_stranger_to_sign_in_and_back(browser):
    answer = browser(None).get("/studies/1.2.3.100")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/sign-in?next=/studies/1.2.3.100"


def test_signing_in_with_a_token_gives_a_session_and_not_the_token(house, browser):
    token = house.token("clinician")
    client = browser(None)
    answer = client.post("/sign-in", data={"token": f" {token} ", "next": "/about"}, headers=OURS)
    assert (answer.status_code, answer.headers["location"]) == (303, "/about")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert token not in cookie
    assert "clinician.one · clinician" in client.get("/studies").text
    assert house.accounts.by_token(token) is not None


@pytest.mark.parametrize("token", ["", "wrong", "x" * 5000, "\u00e9\ud83d".encode("utf-8", "replace").decode()])
def test_a_wrong_token_is_refused_in_words(browser, token):
    answer = browser(None).post("/sign-in", data={"token": token, "next": "/"}, headers=OURS)
    assert answer.status_code == 401
    assert "not valid here" in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [{}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}],
)
def test_another_page_cannot_sign_anyone_in_or_out(house, browser, headers):
    assert browser(None).post("/sign-in", data={"token": house.token("clinician")}, headers=headers).status_code == 403
    client = browser("administrator")
    assert client.post("/sign-out", headers=headers).status_code == 403
    assert client.get("/studies").status_code == 200


def test_signing_out_ends_the_session(browser):
    client = browser()
    kept = client.cookies["bithive"]
    assert client.post("/sign-out", headers=OURS).headers["location"] == "/sign-in"
    assert "bithive" not in client.cookies
    client.cookies.set("bithive", kept)
    assert client.get("/studies").status_code == 303


@pytest.mark.parametrize(
    "path", ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "/a?b=c", "/a\nb", ""]
)
def test_going_on_stays_on_this_host(path):
    assert own_path(path) == "/"


def test_going_on_keeps_a_page_of_ours():
    assert own_path("/studies/1.2.840.1") == "/studies/1.2.840.1"


def test_whoever_is_signed_in_is_not_asked_again(page):
    assert page.get("/sign-in?next=/about").headers["location"] == "/about"


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"{}", "application/json", 400),
        (b"token=" + b"x" * FORM_BYTES_MAX, "application/x-www-form-urlencoded", 413),
        (b"a=1&" * 40, "application/x-www-form-urlencoded", 400),
        ("token=ä".encode(), "application/x-www-form-urlencoded", 400),
        (b"token=%ff", "application/x-www-form-urlencoded", 400),
    ],
)
def test_forms_that_no_page_of_ours_sends(browser, content, media_type, status):
    answer = browser(None).post("/sign-in", content=content, headers=OURS | {"Content-Type": media_type})
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")


def test_the_page_of_a_link_is_dressed_and_spends_nothing(house, browser):
    account = house.accounts.add("guest", "clinician")
    link = house.accounts.link(account)
    client = browser(None)
    text = client.get("/enter").text
    assert "Not for diagnosis. Not a medical device." in text
    assert 'src="/enter.js"' in text
    assert client.get("/enter.js").headers["content-type"].startswith("text/javascript")
    assert client.post("/session", json={"token": link}, headers=OURS).status_code == 200
