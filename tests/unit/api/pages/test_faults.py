from __future__ import annotations

import pytest

from api.pages import faults, gather
from tests.common.page_house import OURS


def test_a_person_gets_pages_and_a_program_problems(page):
    shown = page.get("/nowhere")
    assert shown.status_code == 404
    assert "Nothing here" in shown.text
    assert "clinician.one" in shown.text
    told = page.get("/nowhere", headers={"Accept": "application/json"})
    assert told.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("address", ["/dicomweb/nowhere", "/api/nowhere", "/network/v1/nowhere", "/health/nowhere"])
def test_addresses_of_programs_answer_problems_even_to_a_browser(page, address):
    answer = page.get(address)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_what_is_not_allowed(browser):
    answer = browser("auditor").get("/studies")
    assert answer.status_code == 403
    assert "Not yours to see" in answer.text
    assert "not-found" not in answer.text


def test_a_wrong_method(page):
    answer = page.delete("/about", headers=OURS)
    assert answer.status_code == 405
    assert answer.headers["content-type"].startswith("text/html")


def test_a_bug_says_nothing_of_the_patient(page, monkeypatch, capsys):
    def broken(*_arguments):
        raise ZeroDivisionError("DOE^JANE")

    monkeypatch.setattr(gather, "studies", broken)
    answer = page.get("/studies")
    assert answer.status_code == 500
    assert "Something failed here" in answer.text
    said = capsys.readouterr()
    assert "DOE" not in answer.text + said.out + said.err
    assert "ZeroDivisionError" in said.err


def test_a_script_that_lost_its_session_is_told_so(browser):
    answer = browser(None).get("/studies/1.2.3/row", headers={"Sec-Fetch-Mode": "cors"})
    assert answer.status_code == 401
    assert "Sign in first" in answer.text


def test_an_invalid_token_in_a_header_is_a_page_too(browser):
    answer = browser(None).get("/studies", headers={"Authorization": "Bearer nonsense"})
    assert answer.status_code == 303


def test_errors_carry_a_link_to_their_explanation(page):
    assert 'href="/docs/errors/not-found"' in page.get("/nowhere").text


def test_every_page_of_an_error_keeps_the_strict_policy(page):
    for address in ("/nowhere", "/access-log"):
        headers = page.get(address).headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["cache-control"] == "no-store"


def test_unknown_exceptions_become_internal():
    assert faults.as_error(ValueError("DOE")).code == "internal"
    assert "DOE" not in str(faults.as_error(ValueError("DOE")))
