from __future__ import annotations

import pytest

from bithive.log import configure


def _problem(response, status, code):
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    assert body["code"] == code
    assert body["type"] == f"/docs/errors/{code}"
    assert body["title"]
    assert body["detail"]
    return body


def test_our_error_with_context(client):
    body = _problem(client.get("/probe/refused"), 422, "refused")
    assert body["context"] == {"gap_mm": 3}
    assert body["instance"] == "/probe/refused"


def test_validation_names_place_and_rule_never_the_value(client):
    response = client.post("/probe/body", json={"patient_name": "DOE^JANE"})
    body = _problem(response, 400, "invalid-request")
    assert body["errors"] == [{"pointer": "/body/patient_name", "rule": "int_parsing"}]
    assert "DOE" not in response.text


def test_malformed_json_is_not_quoted(client):
    response = client.post("/probe/body", content=b'{"DOE^JANE"', headers={"Content-Type": "application/json"})
    _problem(response, 400, "invalid-request")
    assert "DOE" not in response.text


def test_no_such_address_and_no_such_method(client):
    _problem(client.get("/nowhere"), 404, "not-found")
    response = client.delete("/probe/refused")
    _problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "GET"


def test_status_without_an_error_of_ours(client):
    assert client.get("/probe/teapot").json()["code"] == "bad-input"


def test_a_bug_answers_a_fixed_sentence_and_logs_no_text(client, capsys):
    configure()
    response = client.get("/probe/bug")
    _problem(response, 500, "internal")
    said = capsys.readouterr()
    assert "DOE" not in response.text + said.out + said.err
    assert "ZeroDivisionError" in said.out + said.err
    assert response.headers["x-content-type-options"] == "nosniff"


def test_unauthenticated_says_how(client):
    response = client.get("/probe/read")
    _problem(response, 401, "unauthenticated")
    assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("code", ["../settings", "UPPER", "no-such-code", "a" * 65])
def test_error_pages_are_only_error_pages(client, code):
    assert client.get(f"/docs/errors/{code}").status_code == 404


def test_error_page(client):
    response = client.get("/docs/errors/internal")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/markdown")
